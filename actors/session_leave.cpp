#include "actors/session.hpp"

// When a session comes to rest, when it leaves memory, and when it expires: one alarm for all.

#include "actors/ask.hpp"

#include <algorithm>

namespace parlor {

void session_state::arm() {
  if (alarm_out || loading || (talk && !talk->idle()))
    return;
  alarm_out = true;
  auto wait = caf::timespan{0};
  if (talk && talk->exists()) {
    auto idle = self->clock().now() - last_active;
    auto rests = std::min(world->rest_after, world->memory_for);
    if (listeners.empty() || (idle < rests && !talk->recent().empty()))
      wait = rests - idle;
    else // whoever listens may leave at any time: look again, but not too often
      wait = std::max(world->memory_for, std::chrono::milliseconds{1000});
    if (world->idle_expiry.count() > 0) {
      auto left = caf::timespan{world->idle_expiry} - idle;
      wait = left > caf::timespan{0} ? std::min(wait, left)
                                     : std::chrono::seconds{1}; // overdue: the disk is full
    }
    wait = std::max(wait, caf::timespan{std::chrono::milliseconds{1}});
  }
  self->delayed_send(self, wait, session_alarm{++alarm_generation});
}

void session_state::on_alarm(std::uint64_t generation) {
  if (generation != alarm_generation)
    return;
  alarm_out = false;
  if (loading)
    return;
  if (!talk || !talk->exists())
    return try_leave();
  if (!talk->idle() || talk->removed())
    return; // armed again when it becomes idle
  auto idle = self->clock().now() - last_active;
  if (world->idle_expiry.count() > 0 && idle >= world->idle_expiry) {
    notice(log_level::info, "sessions_expired", {{"count", "1"}});
    return perform(talk->remove(true, 0, world->wall()));
  }
  if (listeners.empty() && idle >= world->memory_for)
    return try_leave();
  if (idle >= world->rest_after) {
    if (listeners.empty())
      return try_leave(std::make_shared<const conversation_at_rest>(talk->at_rest()));
    talk->forget_events(); // whoever comes back from here on asks the disk
  }
  arm();
}

/// `rest`: what the lobby is to keep of it until it leaves memory, or expires.
void session_state::try_leave(conversation_at_rest_ptr rest) {
  if (leaving)
    return;
  leaving = true;
  auto until = world->memory_for;
  if (world->idle_expiry.count() > 0)
    until = std::min(until, world->idle_expiry);
  auto idle =
      std::chrono::duration_cast<std::chrono::milliseconds>(self->clock().now() - last_active);
  parlor::ask(
      self, lobby, session_world::store_timeout,
      leave{*key, received, std::move(rest), until - idle},
      [this](bool yes) {
        leaving = false;
        if (yes)
          self->quit();
        else
          arm(); // something is, or was, on its way
      },
      [this](caf::error& e) {
        leaving = false;
        if (e == caf::sec::request_timeout)
          arm(); // the lobby is busy; what was asked meanwhile may be under way
        else
          self->quit(); // it has gone
      });
}

} // namespace parlor
