#pragma once
// Timeouts and delayed messages of actors, fired by one Asio timer that is armed only while
// something is due. Any thread.

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <caf/detail/simple_actor_clock.hpp>

#include <mutex>

namespace parlor {

class asio_clock final : public caf::detail::simple_actor_clock {
public:
  explicit asio_clock(boost::asio::io_context& io) : timer_{io} {}

  void set_ordinary_timeout(time_point t, caf::abstract_actor* self, caf::atom_value type,
                            std::uint64_t id) override;
  void set_multi_timeout(time_point t, caf::abstract_actor* self, caf::atom_value type,
                         std::uint64_t id) override;
  void set_request_timeout(time_point t, caf::abstract_actor* self, caf::message_id id) override;
  void cancel_ordinary_timeout(caf::abstract_actor* self, caf::atom_value type) override;
  void cancel_request_timeout(caf::abstract_actor* self, caf::message_id id) override;
  void cancel_timeouts(caf::abstract_actor* self) override;
  void schedule_message(time_point t, caf::strong_actor_ptr receiver,
                        caf::mailbox_element_ptr content) override;
  void schedule_message(time_point t, caf::group target, caf::strong_actor_ptr sender,
                        caf::message content) override;
  void cancel_all() override;
  /// Nothing fires after this.
  void stop();

private:
  using super = caf::detail::simple_actor_clock;
  void arm(); // with the lock held
  // Recursive: firing may destroy the last reference to an actor, which cancels its timeouts.
  std::recursive_mutex mutex_;
  boost::asio::steady_timer timer_;
  time_point armed_for_ = time_point::max();
  bool stopped_ = false;
};

} // namespace parlor
