#include "http/glimpse.hpp"

#include <algorithm>

namespace parlor::http {

namespace {

/// The next line that has come whole, without its end; false if there is none.
bool next_line(std::string_view& rest, std::string_view& line) {
  auto end = rest.find("\r\n");
  if (end == std::string_view::npos)
    return false;
  line = rest.substr(0, end);
  rest.remove_prefix(end + 2);
  return true;
}

bool visible(std::string_view s) {
  return !s.empty() &&
         std::all_of(s.begin(), s.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; });
}

std::string_view trimmed(std::string_view s) {
  auto from = s.find_first_not_of(" \t");
  if (from == std::string_view::npos)
    return {};
  return s.substr(from, s.find_last_not_of(" \t") - from + 1);
}

} // namespace

request glimpse(std::string_view bytes) {
  request r;
  std::string_view line;
  if (!next_line(bytes, line))
    return r;
  auto a = line.find(' '), b = line.rfind(' ');
  if (a == std::string_view::npos || a == b || line.substr(b + 1, 5) != "HTTP/")
    return r;
  auto method = line.substr(0, a), target = line.substr(a + 1, b - a - 1);
  if (!visible(method) || !visible(target))
    return r;
  r.method = method;
  set_target(r, target);
  while (next_line(bytes, line) && !line.empty()) {
    auto colon = line.find(':');
    if (colon != std::string_view::npos && visible(line.substr(0, colon)))
      r.headers.push_back(
          {std::string{line.substr(0, colon)}, std::string{trimmed(line.substr(colon + 1))}});
  }
  return r;
}

void set_target(request& r, std::string_view target) {
  r.target = target;
  auto question = target.find('?');
  r.path = target.substr(0, question);
  r.query = question == std::string_view::npos ? std::string_view{} : target.substr(question + 1);
}

} // namespace parlor::http
