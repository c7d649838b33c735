#include "actors/edge.hpp"

// How long a watcher waits when its session has been asked to take a turn or to let it listen. The
// question itself has no deadline: an answer that comes when it has been given up is still heard,
// so that what it began, a listener that nobody would ever take away, is undone. Questions that
// begin nothing have CAF's deadline (actors/ask.hpp).

namespace parlor {

/// Null: it has been answered, or has gone.
watcher* edge_state::still_waits(const awaited& a) {
  auto i = watchers.find(a.watcher);
  return i != watchers.end() && i->second.asked && i->second.round == a.round ? &i->second
                                                                              : nullptr;
}

/// Returns the round that the answer has to be of.
std::uint32_t edge_state::await(watcher& w) {
  w.asked = true;
  ++w.round;
  // All have the same time, so what is over is nearly always at the front.
  while (!answers.empty() && still_waits(answers.front()) == nullptr)
    answers.pop_front();
  answers.push_back({self->clock().now() + ask_timeout, w.id, w.round});
  if (!std::exchange(answers_out, true))
    self->delayed_send(self, caf::timespan{ask_timeout}, give_up{});
  return w.round;
}

void edge_state::stop_waiting() {
  auto now = self->clock().now();
  for (; !answers.empty(); answers.pop_front()) {
    auto* w = still_waits(answers.front());
    if (w != nullptr && answers.front().due > now)
      break;
    if (w != nullptr)
      unanswered(*w);
  }
  answers_out = !answers.empty();
  if (answers_out)
    self->delayed_send(self, caf::timespan{answers.front().due - now}, give_up{});
}

void edge_state::unanswered(watcher& w) {
  if (!w.open)
    refuse(*w.request, {errc::internal});
  lose(w);
}

} // namespace parlor
