#include "actors/session.hpp"

// When a session leaves memory, and when it expires: one alarm for both.

#include "actors/ask.hpp"

#include <algorithm>

namespace parlor {

void session_state::arm() {
  if (alarm_out || loading || (talk && !talk->idle()))
    return;
  alarm_out = true;
  auto wait = world->memory_for;
  if (!talk || !talk->exists())
    wait = std::chrono::milliseconds{0};
  else if (!listeners.empty() && world->idle_expiry.count() > 0)
    wait = world->idle_expiry;
  self->delayed_send(self, caf::timespan{wait}, session_alarm{++alarm_generation});
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
  auto now = self->clock().now();
  auto idle = now - last_active;
  if (world->idle_expiry.count() > 0 && idle >= world->idle_expiry)
    return perform(talk->remove(true, 0, world->wall()));
  if (listeners.empty() && idle >= world->memory_for)
    return try_leave();
  auto due =
      listeners.empty() || world->idle_expiry.count() == 0 ? world->memory_for : world->idle_expiry;
  alarm_out = true;
  auto wait = std::max<caf::timespan>(caf::timespan{due} - idle, std::chrono::milliseconds{1});
  self->delayed_send(self,
                     listeners.empty()           ? wait
                     : caf::timespan{due} > idle ? wait
                                                 : caf::timespan{due},
                     session_alarm{++alarm_generation});
}

void session_state::try_leave() {
  if (leaving)
    return;
  leaving = true;
  auto asked_at = touched;
  parlor::ask(
      self, lobby, session_world::store_timeout, leave{*key, received},
      [this, asked_at](bool yes) {
        leaving = false;
        if (yes)
          self->quit();
        else if (touched == asked_at)
          arm(); // something is on its way
      },
      [this](caf::error&) { self->quit(); });
}

} // namespace parlor
