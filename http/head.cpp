#include "http/head.hpp"

#include <boost/beast/http/status.hpp>

#include <algorithm>
#include <array>
#include <ctime>
#include <iterator>

namespace parlor::http {

namespace {

constexpr std::size_t room = 512; // most heads fit, with the body of a refusal

bool fit_for_value(char c) { return static_cast<unsigned char>(c) >= 0x20 && c != 0x7f; }

void append_header(std::string& out, std::string_view name, std::string_view value) {
  out.append(name).append(": ");
  if (std::all_of(value.begin(), value.end(), fit_for_value))
    out.append(value);
  else // a value cannot start another header
    std::copy_if(value.begin(), value.end(), std::back_inserter(out), fit_for_value);
  out += "\r\n";
}

/// As the field Date has it; made once a second.
std::string_view date() {
  thread_local std::time_t second = 0;
  thread_local std::array<char, 40> text{};
  thread_local std::size_t length = 0;
  if (auto now = std::time(nullptr); now != second || length == 0) {
    std::tm t{};
    gmtime_r(&now, &t);
    length = std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &t);
    second = now;
  }
  return {text.data(), length};
}

} // namespace

std::string head_text(const response& r, const head_facts& facts) {
  namespace beast = boost::beast;
  auto reason = beast::http::obsolete_reason(static_cast<beast::http::status>(r.status));
  std::string out;
  out.reserve(room);
  out.append("HTTP/1.1 ").append(std::to_string(r.status)).append(" ");
  out.append(reason.data(), reason.size()).append("\r\n");
  append_header(out, "Date", date());
  for (auto& h : r.headers)
    append_header(out, h.name, h.value);
  if (facts.chunked)
    append_header(out, "Transfer-Encoding", "chunked");
  if (!facts.stream && r.status != 204 && r.status != 304)
    append_header(out, "Content-Length", std::to_string(r.body.size()));
  append_header(out, "Connection", facts.keep_alive ? "keep-alive" : "close");
  append_header(out, "X-Request-Id", facts.request_id);
  out += "\r\n";
  return out;
}

} // namespace parlor::http
