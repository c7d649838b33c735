#pragma once
// Past what the machine can do, a turn more only makes all of them wait: it is refused while that
// is cheap, so that those who came before get their answers.
//
// How long it would wait is known at the door: so many are inside, and so many are accepted a
// second (Little's law). Nobody has to be late first. A crowd is stopped before it is inside, the
// queue never runs empty, and a crowd that can be accepted in time is let in.
//
// Owner: shared by the API and the edges. Thread: any. Pure: the time is given.

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

namespace parlor {

class turn_gate : public std::enable_shared_from_this<turn_gate> {
public:
  using clock = std::chrono::steady_clock;

  /// One turn inside: until it is accepted or, as it has been refused or lost on its way, nobody
  /// holds this any longer. Thread: one at a time.
  class ticket {
  public:
    explicit ticket(std::shared_ptr<turn_gate> gate) : gate_{std::move(gate)} {}
    ticket(const ticket&) = delete;
    ticket& operator=(const ticket&) = delete;
    ~ticket() {
      if (gate_)
        gate_->left();
    }
    void accepted(clock::time_point now) {
      if (auto gate = std::exchange(gate_, nullptr))
        gate->accepted(now);
    }

  private:
    std::shared_ptr<turn_gate> gate_; // null: accepted
  };
  using ticket_ptr = std::shared_ptr<ticket>;

  /// `longest` is how long a turn may wait to be accepted. 0: the gate is never shut.
  explicit turn_gate(std::chrono::milliseconds longest) : longest_{longest} {}

  /// For one more turn; null: it would wait too long.
  ticket_ptr enter(clock::time_point now) { return come(now, false); }
  /// For one whose client is told again and again that it waits: it comes in, and counts.
  ticket_ptr enter_in_any_case(clock::time_point now) { return come(now, true); }

  /// Fewer come in whatever they wait: a slow sync of the disk is no crowd, and one serves many.
  static constexpr std::int64_t few = 64;
  /// From so many on it is measured how fast they are accepted; fewer may be all that come.
  static constexpr std::int64_t crowd = 32;
  /// It is measured for so long; a crowd is not known to be too large before.
  static constexpr std::chrono::milliseconds window{100};

private:
  ticket_ptr come(clock::time_point now, bool in_any_case) {
    {
      std::lock_guard lock{mutex_};
      if (inside_ >= crowd)
        measure(now);
      if (!in_any_case && inside_ >= few && shut())
        return nullptr;
      if (++inside_ == crowd)
        start(now);
    }
    return std::make_shared<ticket>(shared_from_this());
  }

  // With mutex_ held.
  bool shut() const {
    return longest_.count() != 0 && inside_ * over_.count() > done_ * longest_.count();
  }
  void start(clock::time_point now) {
    since_ = now;
    counted_ = done_ = 0;
    over_ = {};
  }
  void measure(clock::time_point now) {
    if (now - since_ < window)
      return;
    done_ = std::exchange(counted_, 0);
    over_ = now - std::exchange(since_, now);
  }

  /// Only these are counted: who is refused by a full session is so at once, and would make the
  /// others seem quick.
  void accepted(clock::time_point now) {
    std::lock_guard lock{mutex_};
    ++counted_;
    if (inside_-- >= crowd)
      measure(now);
  }
  void left() {
    std::lock_guard lock{mutex_};
    --inside_;
  }

  const clock::duration longest_;
  std::mutex mutex_;
  std::int64_t inside_ = 0;
  // Since there is a crowd:
  clock::time_point since_;  // when the counting began
  std::int64_t counted_ = 0; // accepted since then
  std::int64_t done_ = 0;    // accepted in the time before that,
  clock::duration over_{0};  // which was so long; 0: there is none yet
};

} // namespace parlor
