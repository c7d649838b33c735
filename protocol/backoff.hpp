#pragma once
// When to try again. A pure machine: time and randomness come in as values.

#include <chrono>
#include <cstdint>
#include <optional>

namespace parlor {

struct backoff_policy {
  std::uint32_t attempts = 3;            // in all
  std::chrono::milliseconds first{1000}; // before the second attempt; doubles with each one after
  double jitter = 0.2;                   // up to this share is added, never taken away
  std::chrono::milliseconds retry_after_cap{
      30'000}; // a provider that asks for more is obeyed up to this
};

/// The wait after attempt `ended` (1, 2, …) failed in a way that can pass; nothing if attempts are
/// spent. `retry_after` wins over the schedule when it is longer. `random` is in [0, 1).
std::optional<std::chrono::milliseconds>
next_delay(const backoff_policy& policy, std::uint32_t ended,
           std::optional<std::chrono::milliseconds> retry_after, double random) noexcept;

} // namespace parlor
