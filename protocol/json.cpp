#include "protocol/json.hpp"

#include <boost/json.hpp>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <set>
#include <vector>

namespace parlor::json {

namespace {

/// Length of the valid UTF-8 sequence at the start (RFC 3629), 0 if there is none.
std::size_t sequence(std::string_view s) noexcept {
  auto at = [&](std::size_t i) -> unsigned {
    return i < s.size() ? static_cast<unsigned char>(s[i]) : 0U;
  };
  auto tail = [&](std::size_t i) { return (at(i) & 0xc0) == 0x80; };
  auto a = at(0);
  if (a < 0x80)
    return 1;
  if (a >= 0xc2 && a <= 0xdf)
    return tail(1) ? 2 : 0;
  if (a >= 0xe0 && a <= 0xef) {
    auto low = a == 0xe0 ? 0xa0U : 0x80U, high = a == 0xed ? 0x9fU : 0xbfU;
    return at(1) >= low && at(1) <= high && tail(2) ? 3 : 0;
  }
  if (a >= 0xf0 && a <= 0xf4) {
    auto low = a == 0xf0 ? 0x90U : 0x80U, high = a == 0xf4 ? 0x8fU : 0xbfU;
    return at(1) >= low && at(1) <= high && tail(2) && tail(3) ? 4 : 0;
  }
  return 0;
}

/// A pass over valid JSON text that knows strings and depth and nothing else.
struct scanner {
  std::string_view text;
  std::size_t i = 0;

  void space() {
    while (i < text.size() &&
           (text[i] == ' ' || text[i] == '\n' || text[i] == '\r' || text[i] == '\t'))
      ++i;
  }
  std::string_view string() { // with quotes
    auto from = i++;
    while (i < text.size() && text[i] != '"')
      i += text[i] == '\\' ? 2 : 1;
    ++i;
    return text.substr(from, i - from);
  }
  std::string_view value() {
    space();
    auto from = i;
    if (i < text.size() && text[i] == '"')
      return string();
    std::size_t depth = 0;
    while (i < text.size()) {
      char c = text[i];
      if (c == '"') {
        string();
        continue;
      }
      if (c == '{' || c == '[')
        ++depth;
      else if (c == '}' || c == ']') {
        if (depth == 0)
          break;
        if (--depth == 0) {
          ++i;
          break;
        }
      } else if (depth == 0 && (c == ',' || c == ' ' || c == '\n' || c == '\r' || c == '\t'))
        break;
      ++i;
    }
    return text.substr(from, i - from);
  }
  template <class F>
  void members(F f) {
    space();
    if (i >= text.size() || text[i] != '{')
      return;
    ++i;
    for (space(); i < text.size() && text[i] == '"'; space()) {
      auto key = string();
      space();
      ++i; // colon
      auto v = value();
      f(key, v);
      space();
      if (i < text.size() && text[i] == ',')
        ++i;
    }
  }
  template <class F>
  void elements(F f) {
    space();
    if (i >= text.size() || text[i] != '[')
      return;
    ++i;
    for (space(); i < text.size() && text[i] != ']'; space()) {
      auto from = i;
      f(value());
      space();
      if (i < text.size() && text[i] == ',')
        ++i;
      if (i == from)
        return; // not JSON
    }
  }
};

std::string plain_key(std::string_view quoted_key) {
  if (quoted_key.size() >= 2 && quoted_key.find('\\') == quoted_key.npos)
    return std::string{quoted_key.substr(1, quoted_key.size() - 2)};
  boost::system::error_code error;
  auto v = boost::json::parse({quoted_key.data(), quoted_key.size()}, error);
  return error || !v.is_string() ? std::string{} : std::string{v.get_string()};
}

/// How much of the text goes into a JSON string as it is. Eight bytes at a time where they are
/// ASCII: this is done for every piece that anybody is told.
std::size_t plain_run(std::string_view text) {
  constexpr std::uint64_t ones = 0x0101010101010101, tops = ones << 7;
  // A byte of `w` is zero exactly if the lowest byte of these that has its top bit set is that one.
  auto zero = [](std::uint64_t w) { return (w - ones) & ~w; };
  std::size_t at = 0;
  while (at < text.size()) {
    if (std::uint64_t w = 0; text.size() - at >= sizeof w) {
      std::memcpy(&w, text.data() + at, sizeof w);
      auto low = (w - ones * 0x20) & ~w; // below 0x20, as long as no top bit is set
      if (((w | low | zero(w ^ ones * '"') | zero(w ^ ones * '\\') | zero(w ^ ones * 0x7f)) &
           tops) == 0) {
        at += sizeof w;
        continue;
      }
    }
    auto c = static_cast<unsigned char>(text[at]);
    auto n = c < 0x80 ? std::size_t{c >= 0x20 && c != '"' && c != '\\' && c != 0x7f}
                      : sequence(text.substr(at));
    if (n == 0)
      break;
    at += n;
  }
  return at;
}

bool has_duplicates(std::string_view text, int levels) {
  std::set<std::string> seen;
  auto found = false;
  scanner{text}.members([&](std::string_view key, std::string_view v) {
    if (!seen.insert(plain_key(key)).second ||
        (levels > 1 && !v.empty() && v.front() == '{' && has_duplicates(v, levels - 1)))
      found = true;
  });
  return found;
}

} // namespace

bool valid_utf8(std::string_view text) noexcept {
  while (!text.empty()) {
    auto n = sequence(text);
    if (n == 0)
      return false;
    text.remove_prefix(n);
  }
  return true;
}

bool is_plain(std::string_view text) noexcept { return plain_run(text) == text.size(); }

void append_quoted(std::string& out, std::string_view text) {
  out.reserve(out.size() + text.size() + 2);
  out += '"';
  while (!text.empty()) {
    if (auto n = plain_run(text); n > 0) { // most of a text needs nothing
      out += text.substr(0, n);
      text.remove_prefix(n);
      continue;
    }
    auto c = static_cast<unsigned char>(text.front());
    if (c >= 0x80) { // no UTF-8
      out += "\xef\xbf\xbd";
      text.remove_prefix(1);
      continue;
    }
    text.remove_prefix(1);
    switch (c) {
    case '"':
      out += "\\\"";
      break;
    case '\\':
      out += "\\\\";
      break;
    case '\n':
      out += "\\n";
      break;
    case '\r':
      out += "\\r";
      break;
    case '\t':
      out += "\\t";
      break;
    default:
      if (c < 0x20 || c == 0x7f) {
        char code[8];
        std::snprintf(code, sizeof code, "\\u%04x", c);
        out += code;
      } else {
        out += static_cast<char>(c);
      }
    }
  }
  out += '"';
}

std::string quoted(std::string_view text) {
  std::string out;
  append_quoted(out, text);
  return out;
}

namespace {

/// The quote at `i`: behind an odd number of backslashes.
bool is_escaped(std::string_view text, std::size_t i) {
  auto before = text.find_last_not_of('\\', i - 1); // a quote at least
  return (i - before) % 2 == 0;
}

/// Before they are made. Counts what begins or separates them, which is a few too many.
bool has_too_many_values(std::string_view text) {
  if (text.size() <= max_values)
    return false;
  std::size_t n = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    auto c = text[i];
    if (c == '"') { // to its end, which most of a long document is
      do
        i = text.find('"', i + 1);
      while (i != text.npos && is_escaped(text, i));
      if (i == text.npos)
        return false; // the parser will say so
    } else if (c == ',' || c == ':' || c == '[' || c == '{') {
      ++n;
    }
  }
  return n > max_values;
}

} // namespace

boost::json::value parse(std::string_view text, fault& why) {
  why = fault::too_many_values;
  if (has_too_many_values(text))
    return nullptr;
  boost::json::parse_options options;
  options.max_depth = 64;
  boost::system::error_code error;
  auto v = boost::json::parse({text.data(), text.size()}, error, {}, options);
  why = fault::none;
  if (error) {
    why = error == boost::json::error::too_deep ? fault::depth : fault::syntax;
    return nullptr;
  }
  if (v.is_object() && has_duplicates(text, 2)) {
    why = fault::duplicate_key;
    return nullptr;
  }
  return v;
}

std::string iso8601(std::int64_t ms) {
  auto seconds = static_cast<std::time_t>(ms / 1000);
  auto rest = static_cast<int>(ms % 1000);
  if (rest < 0) {
    rest += 1000;
    --seconds;
  }
  std::tm t{};
  gmtime_r(&seconds, &t);
  char text[40];
  auto n = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &t);
  if (rest != 0)
    std::snprintf(text + n, sizeof text - n, ".%03dZ", rest);
  else
    std::snprintf(text + n, sizeof text - n, "Z");
  return text;
}

std::optional<std::string_view> only_document(std::string_view text) {
  auto trim = [](std::string_view s) {
    while (!s.empty() &&
           (s.front() == ' ' || s.front() == '\n' || s.front() == '\r' || s.front() == '\t'))
      s.remove_prefix(1);
    while (!s.empty() &&
           (s.back() == ' ' || s.back() == '\n' || s.back() == '\r' || s.back() == '\t'))
      s.remove_suffix(1);
    return s;
  };
  text = trim(text);
  if (text.size() > 6 && text.substr(0, 3) == "```" && text.substr(text.size() - 3) == "```") {
    text = text.substr(3, text.size() - 6);
    if (text.substr(0, 4) == "json")
      text.remove_prefix(4);
    text = trim(text);
  }
  if (text.empty() || (text.front() != '{' && text.front() != '['))
    return std::nullopt; // a bare number or string is an answer in words
  fault why{};
  parse(text, why);
  return why == fault::none ? std::optional{text} : std::nullopt;
}

std::string_view raw_member(std::string_view object, std::string_view key) {
  std::string_view found;
  scanner{object}.members([&](std::string_view k, std::string_view v) {
    if (plain_key(k) == key)
      found = v;
  });
  return found;
}

std::size_t offset_of(std::string_view document, std::string_view pointer) {
  auto at = document; // the value reached so far
  std::size_t offset = 0;
  while (pointer.starts_with('/')) {
    pointer.remove_prefix(1);
    auto end = std::min(pointer.find('/'), pointer.size());
    std::string token;
    for (std::size_t i = 0; i < end; ++i) {
      auto escaped = pointer[i] == '~' && i + 1 < end;
      token += !escaped ? pointer[i] : pointer[++i] == '1' ? '/' : '~';
    }
    pointer.remove_prefix(end);
    std::string_view next;
    auto reach = [&](std::string_view place, std::string_view value) {
      offset = static_cast<std::size_t>(place.data() - document.data());
      next = value;
    };
    scanner{at}.members([&](std::string_view key, std::string_view value) {
      if (plain_key(key) == token)
        reach(key, value);
    });
    std::size_t index = 0;
    scanner{at}.elements([&](std::string_view value) {
      if (std::to_string(index++) == token)
        reach(value, value);
    });
    if (next.empty())
      break;
    at = next;
  }
  return offset;
}

} // namespace parlor::json
