#include "protocol/notice.hpp"

#include <chrono>

namespace parlor {

namespace {
std::atomic<notice_sink> the_sink{nullptr};
}

void set_notice_sink(notice_sink sink) noexcept { the_sink.store(sink); }

void notice(log_level level, std::string_view msg, std::initializer_list<log_field> fields) {
  if (auto* sink = the_sink.load(std::memory_order_relaxed))
    sink(level, msg, fields);
}

std::int64_t seldom::pass(std::int64_t now) noexcept {
  auto due = next_.load(std::memory_order_relaxed);
  if (now < due || !next_.compare_exchange_strong(due, now + period_)) {
    held_.fetch_add(1, std::memory_order_relaxed);
    return -1;
  }
  return held_.exchange(0);
}

std::int64_t steady_ms() noexcept {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

} // namespace parlor
