// From text to values and back, and which known name is nearest to an unknown one.

#include "app/options.hpp"

#include <algorithm>
#include <charconv>
#include <limits>

namespace parlor {

namespace {

struct unit {
  std::string_view name;
  std::int64_t factor;
};

// -1 unless the text is `<digits><unit>`.
std::int64_t with_unit(std::string_view text, std::initializer_list<unit> units) {
  std::int64_t n = 0;
  auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (fault != std::errc{} || n < 0)
    return -1;
  std::string_view rest{end, static_cast<std::size_t>(text.data() + text.size() - end)};
  if (rest.empty() && n == 0)
    return 0;
  for (auto& u : units)
    if (rest == u.name)
      return n > std::numeric_limits<std::int64_t>::max() / 1'000'000 / u.factor ? -1
                                                                                 : n * u.factor;
  return -1;
}

constexpr std::int64_t kib = 1024;

} // namespace

std::chrono::milliseconds parse_duration(std::string_view text) {
  auto ms = with_unit(text, {{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}});
  if (ms < 0)
    throw config_error("must be a duration like 250ms, 10s, 5m or 24h");
  return std::chrono::milliseconds{ms};
}

std::uint64_t parse_size(std::string_view text) {
  auto bytes = with_unit(
      text, {{"", 1}, {"B", 1}, {"KiB", kib}, {"MiB", kib * kib}, {"GiB", kib * kib * kib}});
  if (bytes < 0)
    throw config_error("must be a size like 65536, 64KiB or 25MiB");
  return static_cast<std::uint64_t>(bytes);
}

std::int64_t parse_integer(std::string_view text) {
  std::int64_t n = 0;
  auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (fault != std::errc{} || end != text.data() + text.size())
    throw config_error("must be a whole number");
  return n;
}

bool parse_boolean(std::string_view text) {
  if (text == "true" || text == "1" || text == "yes" || text == "on")
    return true;
  if (text == "false" || text == "0" || text == "no" || text == "off")
    return false;
  throw config_error("must be true or false");
}

std::vector<std::string> parse_list(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    auto comma = std::min(text.find(','), text.size());
    auto item = text.substr(0, comma);
    while (!item.empty() && item.front() == ' ')
      item.remove_prefix(1);
    while (!item.empty() && item.back() == ' ')
      item.remove_suffix(1);
    if (!item.empty())
      out.emplace_back(item);
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return out;
}

std::string format_duration(std::chrono::milliseconds d) {
  auto ms = d.count();
  for (auto& u : {unit{"h", 3'600'000}, unit{"m", 60'000}, unit{"s", 1000}})
    if (ms != 0 && ms % u.factor == 0)
      return std::to_string(ms / u.factor) + std::string{u.name};
  return std::to_string(ms) + "ms";
}

std::string format_size(std::uint64_t bytes) {
  for (auto& u : {unit{"GiB", kib * kib * kib}, unit{"MiB", kib * kib}, unit{"KiB", kib}})
    if (bytes != 0 && bytes % static_cast<std::uint64_t>(u.factor) == 0)
      return std::to_string(bytes / static_cast<std::uint64_t>(u.factor)) + std::string{u.name};
  return std::to_string(bytes);
}

std::string nearest(std::string_view name, const std::vector<std::string>& names) {
  std::string best;
  std::size_t least = std::max<std::size_t>(2, name.size() / 3) + 1;
  for (auto& candidate : names) {
    // Levenshtein distance, one row at a time.
    std::vector<std::size_t> row(candidate.size() + 1);
    for (std::size_t j = 0; j < row.size(); ++j)
      row[j] = j;
    for (std::size_t i = 0; i < name.size(); ++i) {
      auto diagonal = row[0];
      row[0] = i + 1;
      for (std::size_t j = 0; j < candidate.size(); ++j) {
        auto change = diagonal + (name[i] == candidate[j] ? 0 : 1);
        diagonal = row[j + 1];
        row[j + 1] = std::min({row[j + 1] + 1, row[j] + 1, change});
      }
    }
    if (row.back() < least) {
      least = row.back();
      best = candidate;
    }
  }
  return best;
}

std::string service_address(const std::string& text) {
  auto host = text.find("://");
  if (!text.empty() && ((!text.starts_with("http://") && !text.starts_with("https://")) ||
                        host + 3 >= text.size() || text[host + 3] == '/'))
    throw config_error("must begin with http:// or https:// and name a host");
  return text;
}

} // namespace parlor
