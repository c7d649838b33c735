#include "http/head.hpp"

#include <boost/beast/http/status.hpp>

#include <ctime>

namespace parlor::http {

namespace {

void append_header(std::string& out, std::string_view name, std::string_view value) {
  out.append(name).append(": ");
  for (char c : value) // a value cannot start another header
    if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f)
      out += c;
  out += "\r\n";
}

} // namespace

std::string head_text(const response& r, const head_facts& facts) {
  namespace beast = boost::beast;
  std::string out = "HTTP/1.1 " + std::to_string(r.status) + ' ';
  out += std::string{beast::http::obsolete_reason(static_cast<beast::http::status>(r.status))};
  out += "\r\n";
  char date[40];
  auto now = std::time(nullptr);
  std::tm t{};
  gmtime_r(&now, &t);
  std::strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &t);
  append_header(out, "Date", date);
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
