#include "actors/asio_clock.hpp"

namespace parlor {

void asio_clock::arm() {
  if (stopped_ || schedule_.empty() || schedule_.begin()->first >= armed_for_)
    return;
  armed_for_ = schedule_.begin()->first;
  timer_.expires_at(armed_for_);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (error)
      return; // armed again for something earlier, or stopped
    std::lock_guard lock{mutex_};
    armed_for_ = time_point::max();
    if (stopped_)
      return;
    trigger_expired_timeouts();
    arm();
  });
}

void asio_clock::set_ordinary_timeout(time_point t, caf::abstract_actor* self, caf::atom_value type,
                                      std::uint64_t id) {
  std::lock_guard lock{mutex_};
  super::set_ordinary_timeout(t, self, type, id);
  arm();
}

void asio_clock::set_multi_timeout(time_point t, caf::abstract_actor* self, caf::atom_value type,
                                   std::uint64_t id) {
  std::lock_guard lock{mutex_};
  super::set_multi_timeout(t, self, type, id);
  arm();
}

void asio_clock::set_request_timeout(time_point t, caf::abstract_actor* self, caf::message_id id) {
  std::lock_guard lock{mutex_};
  super::set_request_timeout(t, self, id);
  arm();
}

void asio_clock::cancel_ordinary_timeout(caf::abstract_actor* self, caf::atom_value type) {
  std::lock_guard lock{mutex_};
  super::cancel_ordinary_timeout(self, type);
}

void asio_clock::cancel_request_timeout(caf::abstract_actor* self, caf::message_id id) {
  std::lock_guard lock{mutex_};
  super::cancel_request_timeout(self, id);
}

void asio_clock::cancel_timeouts(caf::abstract_actor* self) {
  std::lock_guard lock{mutex_};
  super::cancel_timeouts(self);
}

void asio_clock::schedule_message(time_point t, caf::strong_actor_ptr receiver,
                                  caf::mailbox_element_ptr content) {
  std::lock_guard lock{mutex_};
  super::schedule_message(t, std::move(receiver), std::move(content));
  arm();
}

void asio_clock::schedule_message(time_point t, caf::group target, caf::strong_actor_ptr sender,
                                  caf::message content) {
  std::lock_guard lock{mutex_};
  super::schedule_message(t, std::move(target), std::move(sender), std::move(content));
  arm();
}

void asio_clock::cancel_all() {
  std::lock_guard lock{mutex_};
  super::cancel_all();
}

void asio_clock::stop() {
  std::lock_guard lock{mutex_};
  stopped_ = true;
  timer_.cancel();
  super::cancel_all();
}

} // namespace parlor
