#pragma once
// What operators should read, from rooms that do not know the log. The program installs where it
// goes (app/logging.hpp); without that it goes nowhere.
//
// Thread: any. Never a prompt, an answer or a key; the log escapes and shortens what it is given,
// so ids and names may hold anything.

#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <utility>

namespace parlor {

enum class log_level : unsigned char { trace, debug, info, warn, error, off };
using log_field = std::pair<std::string_view, std::string_view>;
using notice_sink = void (*)(log_level level, std::string_view msg,
                             std::initializer_list<log_field> fields);

/// Once, at the start. Null: nobody reads.
void set_notice_sink(notice_sink sink) noexcept;
void notice(log_level level, std::string_view msg, std::initializer_list<log_field> fields = {});

/// Lets one through every `period`, and says how many it has held back since. Any thread.
class seldom {
public:
  explicit constexpr seldom(std::int64_t period_ms) noexcept : period_{period_ms} {}
  /// `now`: any clock that does not go back, ms. Negative: hold this one back; else how many were.
  std::int64_t pass(std::int64_t now) noexcept;
  /// As if nothing had passed yet.
  void forget() noexcept {
    next_ = INT64_MIN;
    held_ = 0;
  }

private:
  std::int64_t period_;
  std::atomic<std::int64_t> next_{INT64_MIN};
  std::atomic<std::int64_t> held_{0};
};
/// Of a clock that does not go back.
std::int64_t steady_ms() noexcept;

} // namespace parlor
