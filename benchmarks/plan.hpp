#pragma once
// What the upstream is asked to say, written in the model's name so that it passes unchanged
// through whatever stands between: "bench-<tokens>-<per second>-<first token, ms>[-<tokens a
// write>]". 0 tokens per second is as fast as they can be written.
//
// A token's text is "<stream>.<number>.<nanoseconds> ": which stream it belongs to, its place from
// 0 on, and CLOCK_MONOTONIC when it was written. So a reader can tell a lost, a repeated, a late
// and a foreign token, however the pieces were cut on the way, and how long each was under way.

#include <charconv>
#include <cstdint>
#include <ctime>
#include <optional>
#include <string_view>

namespace bench {

inline std::int64_t now_ns() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

struct plan {
  std::uint32_t tokens = 0;
  std::uint32_t per_second = 0;
  std::uint32_t first_ms = 0;
  std::uint32_t burst = 1; // tokens that leave in one write
};

/// Nothing when `model` is no plan.
inline std::optional<plan> parse_plan(std::string_view model) {
  if (!model.starts_with("bench-"))
    return {};
  model.remove_prefix(6);
  std::uint32_t fields[4] = {0, 0, 0, 1};
  int n = 0;
  for (;;) {
    auto [end, ec] = std::from_chars(model.data(), model.data() + model.size(), fields[n++]);
    if (ec != std::errc{})
      return {};
    model.remove_prefix(static_cast<std::size_t>(end - model.data()));
    if (model.empty())
      break;
    if (model.front() != '-' || n == 4)
      return {};
    model.remove_prefix(1);
  }
  if (n < 3 || fields[0] > 1'000'000 || fields[3] == 0)
    return {};
  return plan{fields[0], fields[1], fields[2], fields[3]};
}

/// What a request says to the model, before the number of its stream.
inline constexpr std::string_view stream_mark = "bench stream ";

} // namespace bench
