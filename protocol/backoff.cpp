#include "protocol/backoff.hpp"

#include <algorithm>

namespace parlor {

std::optional<std::chrono::milliseconds>
next_delay(const backoff_policy& policy, std::uint32_t ended,
           std::optional<std::chrono::milliseconds> retry_after, double random) noexcept {
  if (ended == 0 || ended >= policy.attempts)
    return std::nullopt;
  auto step = policy.first * (std::int64_t{1} << std::min<std::uint32_t>(ended - 1, 16));
  if (retry_after && retry_after->count() > 0)
    step = std::max(step, std::min(*retry_after, policy.retry_after_cap));
  auto extra =
      static_cast<std::int64_t>(static_cast<double>(step.count()) * policy.jitter * random);
  return step + std::chrono::milliseconds{extra};
}

} // namespace parlor
