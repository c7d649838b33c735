#pragma once
// Who was turned away at the door: counted always, said seldom. Thread: any.

#include "http/exchange.hpp"
#include "protocol/histogram.hpp"

namespace parlor {

struct access_stats {
  enum reason : std::uint8_t { no_key, wrong_key, host, origin };
  static constexpr std::array<const char*, 4> reason_names{"no_key", "wrong_key", "forbidden_host",
                                                           "forbidden_origin"};
  std::array<counter, reason_names.size()> refused{};
};
inline access_stats all_access;

void turned_away(access_stats::reason why, const http::request& request);

} // namespace parlor
