#pragma once
// How long requests take and how they end, by route.
//
// The counts: any thread. A timer: its connection's strand.

#include "protocol/histogram.hpp"

#include <array>
#include <chrono>
#include <cstdint>

namespace parlor::http {

struct route_stats {
  histogram seconds{bounds::request_seconds};
  /// By the first digit of the status; 0: the peer went before there was an answer.
  std::array<counter, 6> by_class{};
};

/// What exchange::label() says is an index here; 0 is what never got one.
inline constexpr std::size_t max_labels = 32;

struct request_stats {
  std::array<route_stats, max_labels> by_label;
  std::atomic<std::int64_t> active{0};
};

/// Measures one request at a time: from the end of its header section to the end of its answer.
class request_timer {
public:
  explicit request_timer(request_stats& stats) noexcept : stats_{stats} {}
  request_timer(const request_timer&) = delete;
  request_timer& operator=(const request_timer&) = delete;

  /// Nothing, if one is being measured already.
  void begin() noexcept {
    if (active_)
      return;
    active_ = true;
    label_ = 0;
    status_ = 0;
    from_ = std::chrono::steady_clock::now();
    stats_.active.fetch_add(1, std::memory_order_relaxed);
  }
  void label(std::uint8_t route) noexcept { label_ = route < max_labels ? route : 0; }
  void answered(unsigned status) noexcept { status_ = status; }
  /// Nothing, if none is being measured.
  void end() noexcept {
    if (!active_)
      return;
    active_ = false;
    stats_.active.fetch_sub(1, std::memory_order_relaxed);
    auto& r = stats_.by_label[label_];
    auto digit = status_ / 100;
    r.by_class[digit < r.by_class.size() ? digit : 0].fetch_add(1, std::memory_order_relaxed);
    r.seconds.observe(
        std::chrono::duration<double>{std::chrono::steady_clock::now() - from_}.count());
  }

private:
  request_stats& stats_;
  bool active_ = false;
  std::uint8_t label_ = 0;
  unsigned status_ = 0;
  std::chrono::steady_clock::time_point from_;
};

} // namespace parlor::http
