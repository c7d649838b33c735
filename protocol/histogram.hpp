#pragma once
// How often, how long, how much: numbers for operators, counted where things happen, read by
// whoever shows them.
//
// Owner: whoever counts, usually for as long as the process lives. Thread: any, without locks. Once
// a turn or a request, never once a piece: a count is an atomic addition on a line that is shared.

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace parlor {

using counter = std::atomic<std::uint64_t>;

/// Counts values by fixed bounds.
class histogram {
public:
  static constexpr std::size_t max_bounds = 16;

  /// `bounds`: upper ends, inclusive, ascending, at most max_bounds; they must outlive the
  /// histogram.
  explicit constexpr histogram(std::span<const double> bounds) noexcept : bounds_{bounds} {}

  /// `times`: as if called as often.
  void observe(double value, std::uint64_t times = 1) noexcept {
    std::size_t i = 0;
    while (i < bounds_.size() && value > bounds_[i])
      ++i;
    counts_[i].fetch_add(times, std::memory_order_relaxed);
    sum_.fetch_add(value * static_cast<double>(times), std::memory_order_relaxed);
  }

  std::span<const double> bounds() const noexcept { return bounds_; }
  /// How many were in the bucket that ends at bounds()[i]; i == bounds().size(): above all.
  std::uint64_t count(std::size_t i) const noexcept {
    return counts_[i].load(std::memory_order_relaxed);
  }
  double sum() const noexcept { return sum_.load(std::memory_order_relaxed); }

private:
  std::span<const double> bounds_;
  std::array<std::atomic<std::uint64_t>, max_bounds + 1> counts_{};
  std::atomic<double> sum_{0};
};

namespace bounds {
// Seconds, by the semantic conventions of OpenTelemetry for HTTP servers and for calls to models.
inline constexpr double request_seconds[] = {.005, .01, .025, .05, .075, .1,  .25,
                                             .5,   .75, 1,    2.5, 5,    7.5, 10};
inline constexpr double call_seconds[] = {.01,  .02,  .04,  .08,   .16,   .32,   .64,
                                          1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92};
inline constexpr double call_tokens[] = {
    1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864};
// Seconds until a stream begins, and until it says something.
inline constexpr double first_seconds[] = {.001, .005, .01, .02, .04, .06, .08, .1,
                                           .25,  .5,   .75, 1,   2.5, 5,   7.5, 10};
inline constexpr double turn_seconds[] = {.01, .05, .1, .25, .5,  1,   2.5, 5,
                                          10,  20,  30, 60,  120, 300, 600};
inline constexpr double commit_seconds[] = {.0001, .00025, .0005, .001, .0025, .005, .01, .025,
                                            .05,   .1,     .25,   .5,   1,     2.5,  5,   10};
inline constexpr double batch[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512};
} // namespace bounds

} // namespace parlor
