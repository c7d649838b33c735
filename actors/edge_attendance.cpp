#include "actors/edge.hpp"

// Turns that are stopped when nobody attends them any more (actors/attendance.hpp).

#include "actors/ask.hpp"

namespace parlor {

void edge_state::attend(watcher& w, const std::string& task) {
  options.attended->ask(w.key, task);
  if (!w.attends)
    w.attends = std::make_unique<std::vector<std::string>>();
  w.attends->push_back(task);
}

/// To be called for each watcher that ends, whatever the reason: one that was cut, by whomever, has
/// some time to come back. While the server drains nobody can.
void edge_state::leave(const watcher& w) {
  if (!w.attends || options.draining())
    return;
  for (auto& task : *w.attends)
    if (auto number = options.attended->leave(w.key, task); number != 0) {
      unattended what{std::make_shared<const session_key>(w.key), task, number};
      if (options.disconnect_grace.count() == 0)
        stop_unattended(what);
      else
        self->delayed_send(self, caf::timespan{options.disconnect_grace}, std::move(what));
    }
}

void edge_state::stop_unattended(const unattended& what) {
  if (options.draining() || !options.attended->expire(*what.key, what.task, what.number))
    return;
  auto a = std::make_shared<session_ask>();
  a->what = session_ask::kind::cancel;
  a->key = *what.key;
  a->task = what.task;
  parlor::ask(
      self, options.door(a->key), ask_timeout, session_ask_ptr{a}, [](const session_answer_ptr&) {},
      [](caf::error&) { /* it has ended */ });
}

} // namespace parlor
