#include "app/access.hpp"

#include "protocol/notice.hpp"

namespace parlor {

void turned_away(access_stats::reason why, const http::request& request) {
  all_access.refused[why].fetch_add(1, std::memory_order_relaxed);
  static seldom said{1000}; // whoever guesses keys must not fill the disk
  if (auto held = said.pass(steady_ms()); held >= 0)
    notice(log_level::warn, "access_refused",
           {{"reason", access_stats::reason_names[why]},
            {"remote", request.remote},
            {"request_id", request.id},
            {"not_shown", held == 0 ? std::string{} : std::to_string(held)}});
}

} // namespace parlor
