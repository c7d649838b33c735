#include "http/framing.hpp"

#include <algorithm>

namespace parlor::http {

namespace {

bool token_char(unsigned char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view{"!#$%&'*+-.^_`|~"}.find(static_cast<char>(c)) != std::string_view::npos;
}

bool token(std::string_view s) noexcept {
  return !s.empty() && std::all_of(s.begin(), s.end(), token_char);
}

bool same(std::string_view a, std::string_view b) noexcept {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    auto low = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
    return low(x) == low(y);
  });
}

std::string_view trim(std::string_view s) noexcept {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t'))
    s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t'))
    s.remove_suffix(1);
  return s;
}

bool digits(std::string_view s) noexcept {
  return !s.empty() && s.size() <= 18 &&
         s.find_first_not_of("0123456789") == std::string_view::npos;
}

errc request_line(std::string_view line, const framing_limits& limits, bool& http11) noexcept {
  auto a = line.find(' ');
  auto b = line.rfind(' ');
  if (a == std::string_view::npos || a == b || !token(line.substr(0, a)))
    return errc::bad_framing;
  auto target = line.substr(a + 1, b - a - 1);
  auto version = line.substr(b + 1);
  if (target.size() > limits.max_target)
    return errc::uri_too_long;
  if (target.front() != '/' || std::any_of(target.begin(), target.end(),
                                           [](unsigned char c) { return c <= 0x20 || c >= 0x7f; }))
    return errc::bad_framing; // origin form only
  http11 = version == "HTTP/1.1";
  if (http11 || version == "HTTP/1.0")
    return errc::none;
  return version.substr(0, 5) == "HTTP/" && version.size() == 8 ? errc::version_not_supported
                                                                : errc::bad_framing;
}

} // namespace

framing_verdict inspect(std::string_view bytes, const framing_limits& limits) noexcept {
  if (bytes.size() > 3 && bytes.substr(0, 3) == "\x16\x03\x01")
    return {errc::bad_framing, 0}; // TLS on a plain port
  auto end = bytes.find("\r\n\r\n");
  auto head = bytes.substr(0, std::min(end, limits.max_header + 1));
  for (std::size_t i = 0; i < head.size(); ++i) {
    auto c = static_cast<unsigned char>(head[i]);
    if (c == 0 || c == 0x7f || (c < 0x20 && c != '\t' && c != '\r' && c != '\n') ||
        (c == '\n' && (i == 0 || head[i - 1] != '\r')) ||
        (c == '\r' && i + 1 < bytes.size() && bytes[i + 1] != '\n'))
      return {errc::bad_framing, 0};
  }
  if (end == std::string_view::npos || end + 4 > limits.max_header) {
    if (end == std::string_view::npos && bytes.size() <= limits.max_header)
      return {};
    auto line = bytes.substr(0, bytes.find("\r\n"));
    return {line.size() > limits.max_target ? errc::uri_too_long : errc::headers_too_large, 0};
  }
  auto rest = bytes.substr(0, end + 2);
  auto next = [&rest] {
    auto n = rest.find("\r\n");
    auto line = rest.substr(0, n);
    rest.remove_prefix(n + 2);
    return line;
  };
  bool http11 = false;
  if (auto bad = request_line(next(), limits, http11); bad != errc::none)
    return {bad, 0};
  std::size_t fields = 0, hosts = 0, lengths = 0, codings = 0;
  auto unknown_coding = false;
  while (!rest.empty()) {
    auto line = next();
    auto colon = line.find(':');
    if (colon == std::string_view::npos || !token(line.substr(0, colon)))
      return {errc::bad_framing, 0}; // obs-fold, a space before the colon, a name that is none
    if (++fields > limits.max_fields || line.size() > limits.max_field)
      return {errc::headers_too_large, 0};
    auto name = line.substr(0, colon);
    auto raw = line.substr(colon + 1);
    auto value = trim(raw);
    if (same(name, "Host")) {
      ++hosts;
      if (value.find_first_of(" \t,/@") != std::string_view::npos)
        return {errc::bad_framing, 0};
    } else if (same(name, "Content-Length")) {
      if (++lengths > 1 || !digits(value))
        return {errc::bad_framing, 0};
    } else if (same(name, "Transfer-Encoding")) {
      if (++codings > 1 || raw.find('\t') != std::string_view::npos)
        return {errc::bad_framing, 0};
      if (same(value, "gzip, chunked") || same(value, "deflate, chunked"))
        unknown_coding = true;
      else if (!same(value, "chunked"))
        return {errc::bad_framing, 0};
    } else if (same(name, "Trailer") || same(name, "Transfer_Encoding") ||
               same(name, "Content_Length")) {
      return {errc::bad_framing, 0};
    }
  }
  if ((http11 && hosts != 1) || hosts > 1 || (codings > 0 && (lengths > 0 || !http11)))
    return {errc::bad_framing, 0};
  if (unknown_coding)
    return {errc::not_implemented, 0};
  return {errc::none, end + 4};
}

} // namespace parlor::http
