#include "http/router.hpp"

namespace parlor::http {

namespace {

std::vector<std::string_view> split(std::string_view path) {
  std::vector<std::string_view> out;
  while (!path.empty()) {
    path.remove_prefix(1); // the slash
    auto end = path.find('/');
    out.push_back(path.substr(0, end));
    if (end == std::string_view::npos)
      break;
    path.remove_prefix(end);
  }
  return out;
}

bool decode(std::string_view in, std::string& out) {
  auto hex = [](char c) {
    return c >= '0' && c <= '9'                 ? c - '0'
           : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                : -1;
  };
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (in[i] != '%') {
      out += in[i];
      continue;
    }
    if (i + 2 >= in.size() || hex(in[i + 1]) < 0 || hex(in[i + 2]) < 0)
      return false;
    auto c = static_cast<char>(hex(in[i + 1]) * 16 + hex(in[i + 2]));
    if (c == '\0' || c == '/')
      return false;
    out += c;
    i += 2;
  }
  return true;
}

} // namespace

void router::add(std::string method, std::string_view pattern, int id) {
  route r{std::move(method), {}, id};
  for (auto s : split(pattern))
    r.segments.emplace_back(s);
  routes_.push_back(std::move(r));
}

match router::find(std::string_view method, std::string_view path) const {
  auto parts = split(path);
  match out;
  out.error = errc::route_not_found;
  auto wanted = method == "HEAD" ? std::string_view{"GET"} : method;
  for (auto& r : routes_) {
    if (r.segments.size() != parts.size())
      continue;
    std::vector<std::pair<std::string, std::string>> params;
    auto fits = true, valid = true;
    for (std::size_t i = 0; fits && i < parts.size(); ++i) {
      auto& s = r.segments[i];
      if (s.size() > 2 && s.front() == '{') {
        std::string value;
        valid = decode(parts[i], value) && valid;
        fits = !parts[i].empty();
        params.emplace_back(s.substr(1, s.size() - 2), std::move(value));
      } else {
        fits = s == parts[i];
      }
    }
    if (!fits)
      continue;
    if (r.method == wanted) {
      if (!valid)
        return {-1, {}, errc::bad_framing, {}};
      return {r.id, std::move(params), errc::none, {}};
    }
    out.error = errc::method_not_allowed;
    out.allow += (out.allow.empty() ? "" : ", ") + r.method + (r.method == "GET" ? ", HEAD" : "");
  }
  return out;
}

} // namespace parlor::http
