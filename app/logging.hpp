#pragma once
// The program's log: one line of JSON an entry, or plain text on a terminal, on standard output.
// Any thread. Prompts, answers and secrets never go into it.

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace parlor {

enum class log_level : unsigned char { trace, debug, info, warn, error, off };
using log_field = std::pair<std::string_view, std::string_view>;

/// Once, at the start, before other threads. `format`: auto (text on a terminal), text or json;
/// `level`: trace debug info warn error off.
void start_logging(std::string_view format, std::string_view level);
/// Writes out what is buffered; before the process ends.
void flush_logs();
bool logs(log_level level) noexcept;

void log(log_level level, std::string_view msg, std::initializer_list<log_field> fields = {});

/// One entry as it is written, without the newline. `ts_us`: microseconds since the epoch.
std::string log_line_json(std::int64_t ts_us, log_level level, std::string_view msg,
                          std::initializer_list<log_field> fields);
std::string log_line_text(std::int64_t ts_us, log_level level, std::string_view msg,
                          std::initializer_list<log_field> fields);

} // namespace parlor
