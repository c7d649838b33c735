#include "actors/edge.hpp"

// What becomes of turns whose askers go away.

#include "actors/ask.hpp"

namespace parlor {

/// Disconnecting is not stopping, unless the request said so; and then not at once, as a connection
/// that was only cut comes back.
void edge_state::leave(const watcher& w) {
  auto leave_task = [this, &w](const std::string& task) {
    if (options.disconnect_grace.count() == 0)
      return stop(w.key, task);
    auto number = options.absent->left(w.key, task);
    self->delayed_send(self, caf::timespan{options.disconnect_grace},
                       absence{std::make_shared<const session_key>(w.key), task, number});
  };
  if (w.socket)
    w.socket->tasks.each_to_stop(leave_task);
  if (w.stops)
    for (auto& task : *w.stops)
      leave_task(task);
}

void edge_state::still_absent(const absence& a) {
  if (options.absent->give_up(*a.key, a.number))
    stop(*a.key, a.task);
}

/// Whoever asks anew does not come back for the old.
void edge_state::stop_absent(const session_key& key) {
  for (auto& task : options.absent->take_over(key, {}))
    stop(key, task);
}

void edge_state::stop(const session_key& key, const std::string& task) {
  auto a = std::make_shared<session_ask>();
  a->what = session_ask::kind::cancel;
  a->key = key;
  a->task = task;
  parlor::ask(
      self, options.door(key), ask_timeout, session_ask_ptr{a}, [](const session_answer_ptr&) {},
      [](caf::error&) { /* it has ended */ });
}

} // namespace parlor
