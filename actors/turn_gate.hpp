#pragma once
// Past what the machine can do, a turn more only makes all of them wait: it is refused while that
// is cheap, so that those who came before get their answers.
//
// Owner: shared by the API, which asks, and the edges, which tell. Thread: any; lock-free. Pure:
// the time is given.

#include <atomic>
#include <chrono>

namespace parlor {

class turn_gate {
public:
  using clock = std::chrono::steady_clock;

  /// Turns that take longer than `longest` to be accepted, as so many in a row have, are a sign of
  /// too many. 0: the gate is never shut.
  explicit turn_gate(std::chrono::milliseconds longest) : longest_{longest} {}

  /// A turn was accepted, or refused by its session, so long after it was read.
  void answered(clock::duration took, clock::time_point now) noexcept {
    if (longest_.count() == 0)
      return;
    if (took <= longest_)
      slow_ = 0;
    else if (++slow_ >= in_a_row)
      shut_until_ = (now + shut_for).time_since_epoch().count();
  }

  /// While it is shut those behind it go on, and each slow one keeps it shut; when none is left
  /// nothing does.
  bool open(clock::time_point now) const noexcept {
    return now.time_since_epoch().count() >= shut_until_;
  }

  static constexpr int in_a_row = 16; // one slow sync of the disk is no crowd
  static constexpr std::chrono::milliseconds shut_for{100};

private:
  const std::chrono::milliseconds longest_;
  std::atomic<int> slow_{0};
  std::atomic<clock::rep> shut_until_{0};
};

} // namespace parlor
