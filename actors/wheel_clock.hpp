#pragma once
// The clock of the actors: timeouts and delayed messages on a timer wheel, driven by one Asio timer
// that is armed only while something is due.
//
// Owner: the scheduler. Thread: any. Nothing fires early; late by at most one tick, plus what the
// pool is busy with. An actor that ends takes what was scheduled for it along, so a deadline does
// not keep a finished task in memory. CAF never cancels the timeout of a request that was answered;
// see actors/ask.hpp.

#include "actors/timer_wheel.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <caf/actor_clock.hpp>
#include <caf/all.hpp>

#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace parlor {

class wheel_clock final : public caf::actor_clock {
public:
  static constexpr std::chrono::milliseconds tick{10};

  explicit wheel_clock(boost::asio::io_context& io);
  ~wheel_clock() override;

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
  /// Timers that are waiting.
  std::size_t size();

private:
  struct entry; // one timer; knows how to fire
  struct message_entry;
  struct timeout_entry;
  struct request_entry;
  struct group_entry;
  using entry_ptr = std::unique_ptr<entry>;

  struct name { // of a timer that can be cancelled alone
    caf::actor_id owner;
    std::uint64_t kind; // an atom, or request_kind
    std::uint64_t id;
    bool operator==(const name&) const = default;
  };
  struct name_hash {
    std::size_t operator()(const name& n) const noexcept {
      return (n.owner * 0x9e3779b97f4a7c15ULL) ^ (n.kind * 0xc2b2ae3d27d4eb4fULL) ^ n.id;
    }
  };
  static constexpr std::uint64_t request_kind = 0;

  timer_wheel::tick tick_at_or_after(time_point t) const noexcept;
  timer_wheel::tick tick_before(time_point t) const noexcept;
  void schedule(time_point t, entry_ptr timer);
  void cancel(const name& which);
  entry_ptr take(entry& timer); // with the lock held
  void arm();                   // with the lock held
  void on_timer();

  // What is taken out under the lock dies outside of it: the last reference to an actor may go with
  // it, and the end of an actor cancels its timers.
  std::mutex mutex_;
  time_point origin_;
  boost::asio::steady_timer timer_;
  timer_wheel wheel_;
  std::unordered_map<caf::actor_id, entry*> owners_; // the first of a chain
  std::unordered_map<name, entry*, name_hash> names_;
  std::size_t count_ = 0;
  timer_wheel::tick armed_for_ = never;
  bool stopped_ = false;
  static constexpr timer_wheel::tick never = ~timer_wheel::tick{0};
};

} // namespace parlor
