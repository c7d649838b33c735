// The log, by spdlog: this file only, for it is slow to compile.

#include "app/logging.hpp"

#include "protocol/json.hpp"

#include <chrono>
#include <cstdio>
#include <ctime>
#include <memory>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

namespace parlor {

namespace {

struct sink {
  std::shared_ptr<spdlog::logger> logger;
  bool text;
};

spdlog::level::level_enum native(log_level l) noexcept {
  switch (l) {
  case log_level::trace:
    return spdlog::level::trace;
  case log_level::debug:
    return spdlog::level::debug;
  case log_level::info:
    return spdlog::level::info;
  case log_level::warn:
    return spdlog::level::warn;
  case log_level::error:
    return spdlog::level::err;
  case log_level::off:
    break;
  }
  return spdlog::level::off;
}

// Lines are composed here, so the sink writes them as they are.
std::shared_ptr<spdlog::logger> make_logger() {
  auto out =
      std::make_shared<spdlog::logger>("parlor", std::make_shared<spdlog::sinks::stdout_sink_mt>());
  out->set_pattern("%v");
  out->flush_on(spdlog::level::info);
  return out;
}

sink& the_sink() {
  static sink s{make_logger(), isatty(STDOUT_FILENO) == 1};
  return s;
}

std::string_view name_of(log_level l) noexcept {
  constexpr std::string_view names[] = {"trace", "debug", "info", "warn", "error", "off"};
  return names[static_cast<std::size_t>(l)];
}

std::string timestamp(std::int64_t us) {
  auto seconds = static_cast<std::time_t>(us / 1'000'000);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char head[32], out[48];
  std::strftime(head, sizeof head, "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(out, sizeof out, "%s.%06dZ", head, static_cast<int>(us % 1'000'000));
  return out;
}

// Controls beyond ASCII, line ends of Unicode and marks that turn the direction of writing: two or
// three bytes each, valid UTF-8. Shown as a question mark.
std::size_t unseen(std::string_view at) noexcept {
  auto b = [&](std::size_t i) { return i < at.size() ? static_cast<unsigned char>(at[i]) : 0U; };
  if (b(0) == 0xc2 && b(1) < 0xa0)
    return 2;
  if (b(0) == 0xe2 &&
      ((b(1) == 0x80 && ((b(2) >= 0xa8 && b(2) <= 0xae) || b(2) == 0x8e || b(2) == 0x8f)) ||
       (b(1) == 0x81 && b(2) >= 0xa6 && b(2) <= 0xa9)))
    return 3;
  return 0;
}

/// In quotes, as JSON writes it, no longer than is shown.
std::string quoted(std::string_view text) {
  std::string whole;
  if (text.size() > max_log_value) {
    auto end = max_log_value;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80)
      --end; // no half of a character
    whole.append(text.substr(0, end)).append("...");
    text = whole;
  }
  std::string escaped, out;
  json::append_quoted(escaped, text);
  for (std::size_t i = 0; i < escaped.size(); ++i) {
    auto n = unseen(std::string_view{escaped}.substr(i));
    out += n == 0 ? escaped[i] : '?';
    i += n == 0 ? 0 : n - 1;
  }
  return out;
}

/// Without quotes where it is one word.
std::string plain(std::string_view text) {
  auto out = quoted(text);
  auto word = out.size() > 2 && out.substr(1, out.size() - 2).find_first_of("\"\\ =") == out.npos;
  return word ? out.substr(1, out.size() - 2) : out;
}

} // namespace

void start_logging(std::string_view format, std::string_view level) {
  auto& s = the_sink();
  s.text = format == "text" || (format != "json" && isatty(STDOUT_FILENO) == 1);
  for (auto l : {log_level::trace, log_level::debug, log_level::info, log_level::warn,
                 log_level::error, log_level::off})
    if (name_of(l) == level)
      s.logger->set_level(native(l));
  set_notice_sink(&log);
}

bool logs_as_text() noexcept { return the_sink().text; }

void flush_logs() { the_sink().logger->flush(); }

bool logs(log_level level) noexcept {
  return level != log_level::off && the_sink().logger->should_log(native(level));
}

void log(log_level level, std::string_view msg, std::initializer_list<log_field> fields) {
  if (!logs(level))
    return;
  auto us = std::chrono::duration_cast<std::chrono::microseconds>(
                std::chrono::system_clock::now().time_since_epoch())
                .count();
  auto& s = the_sink();
  auto line =
      s.text ? log_line_text(us, level, msg, fields) : log_line_json(us, level, msg, fields);
  s.logger->log(native(level), spdlog::string_view_t{line.data(), line.size()});
}

std::string log_line_json(std::int64_t ts_us, log_level level, std::string_view msg,
                          std::initializer_list<log_field> fields) {
  std::string out = "{\"ts\":\"" + timestamp(ts_us) + "\",\"level\":\"";
  out += name_of(level);
  out += "\",\"logger\":\"parlor\",\"msg\":";
  out += quoted(msg);
  for (auto& [name, value] : fields) {
    if (value.empty())
      continue;
    out += ',';
    out += quoted(name);
    out += ':';
    out += quoted(value);
  }
  return out + '}';
}

std::string log_line_text(std::int64_t ts_us, log_level level, std::string_view msg,
                          std::initializer_list<log_field> fields) {
  auto out = timestamp(ts_us) + " ";
  out += name_of(level);
  out.append(6 - name_of(level).size(), ' ');
  out += plain(msg);
  for (auto& [name, value] : fields) {
    if (value.empty())
      continue;
    out += ' ';
    out += plain(name);
    out += '=';
    out += plain(value);
  }
  return out;
}

} // namespace parlor
