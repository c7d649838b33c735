#include "app/api.hpp"

#include <algorithm>

namespace parlor {

// As forms are written (WHATWG URL, section 5.1): what is not well-formed stands for itself, so
// that it is not taken for absent.
std::string query_value(std::string_view query, std::string_view name) {
  auto digit = [](char c) {
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 87 : -1;
  };
  auto decoded = [&digit](std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
      auto escape = text[i] == '%' && i + 2 < text.size() && digit(text[i + 1]) >= 0 &&
                    digit(text[i + 2]) >= 0;
      out += escape           ? static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2]))
             : text[i] == '+' ? ' '
                              : text[i];
      i += escape ? 2 : 0;
    }
    return out;
  };
  while (!query.empty()) {
    auto end = std::min(query.find('&'), query.size());
    auto one = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    auto equals = std::min(one.find('='), one.size());
    if (decoded(one.substr(0, equals)) == name)
      return decoded(one.substr(std::min(equals + 1, one.size())));
  }
  return {};
}

} // namespace parlor
