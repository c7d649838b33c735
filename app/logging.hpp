#pragma once
// The program's log: one line of JSON an entry, or plain text on a terminal, on standard output.
// Any thread. Prompts, answers and secrets never go into it.

#include "protocol/notice.hpp"

#include <string>

namespace parlor {

/// Once, at the start, before other threads; from then on every notice() is logged, too. `format`:
/// auto (text on a terminal), text or json; `level`: trace debug info warn error off.
void start_logging(std::string_view format, std::string_view level);
/// As start_logging() decided.
bool logs_as_text() noexcept;
/// Writes out what is buffered; before the process ends.
void flush_logs();
bool logs(log_level level) noexcept;

void log(log_level level, std::string_view msg, std::initializer_list<log_field> fields = {});

/// One entry as it is written, without the newline: valid UTF-8 whatever it is given, and nothing
/// in it is another line, another field, or acts on a terminal. A value is cut after
/// max_log_value bytes; fields without a value are left out. `ts_us`: microseconds since the epoch.
inline constexpr std::size_t max_log_value = 256;
std::string log_line_json(std::int64_t ts_us, log_level level, std::string_view msg,
                          std::initializer_list<log_field> fields);
std::string log_line_text(std::int64_t ts_us, log_level level, std::string_view msg,
                          std::initializer_list<log_field> fields);

} // namespace parlor
