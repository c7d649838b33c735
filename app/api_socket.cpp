// The door of the WebSockets: which page may open one, by which key, in which session.

#include "app/api.hpp"
#include "app/api_context.hpp"
#include "http/handshake.hpp"
#include "http/websocket.hpp"

#include <openssl/evp.h>

#include <algorithm>

namespace parlor {

namespace {

constexpr std::string_view protocol = "learning"; // the only one that is ever agreed on

/// Calls `f` with each subprotocol that is offered, until it returns true; whether it has.
template <class F>
bool any_offered(const http::request& r, F f) {
  for (std::string_view rest = r.get("Sec-WebSocket-Protocol"); !rest.empty();) {
    auto comma = std::min(rest.find(','), rest.size());
    auto one = rest.substr(0, comma);
    rest.remove_prefix(std::min(comma + 1, rest.size()));
    auto from = one.find_first_not_of(" \t");
    if (from == one.npos)
      continue;
    if (f(one.substr(from, one.find_last_not_of(" \t") + 1 - from)))
      return true;
  }
  return false;
}

/// Of base64url without padding; empty if it is not that.
std::string from_base64url(std::string_view text) {
  std::string padded{text.substr(0, 1024)};
  for (auto& c : padded) {
    if (c == '=' || c == '+' || c == '/')
      return {};
    c = c == '-' ? '+' : c == '_' ? '/' : c;
  }
  auto missing = (4 - padded.size() % 4) % 4;
  padded.append(missing, '=');
  std::string out(padded.size() / 4 * 3, '\0');
  auto n = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                           reinterpret_cast<const unsigned char*>(padded.data()),
                           static_cast<int>(padded.size()));
  if (n < 0 || missing > 2)
    return {};
  out.resize(static_cast<std::size_t>(n) - missing);
  return out;
}

} // namespace

errc api::foreign_page(const context& c) const {
  std::string_view origin = c.request.get("Origin"), host = c.request.get("Host");
  auto& known = options_.cors_origins;
  if (origin.empty() || std::find(known.begin(), known.end(), origin) != known.end())
    return errc::none;
  // Its own pages; behind a proxy that has taken the TLS off, too.
  for (std::string_view scheme : {"http://", "https://"})
    if (origin.starts_with(scheme) && origin.substr(scheme.size()) == host)
      return errc::none;
  return errc::forbidden_origin;
}

bool api::offers_key(context& c) const {
  constexpr std::string_view bearer = "bearer.";
  auto right = any_offered(c.request, [&](std::string_view p) {
    return p.starts_with(bearer) && is_key(from_base64url(p.substr(bearer.size())));
  });
  if (right) // no longer needed
    std::erase_if(c.headers, [](const http::header& h) { return h.name == "WWW-Authenticate"; });
  return right;
}

void api::socket(context& c) const {
  if (http::read_handshake(c.request).fault != errc::none) {
    c.exchange->upgrade({}, [](const http::chunk&) {}); // answers what is wrong
    return;
  }
  visit v;
  v.what = visit::kind::socket;
  v.key.id = query_value(c.request.query, "session_id");
  if (!valid_session_id(v.key.id))
    return refuse(c,
                  {errc::invalid_field, "session_id", "must be 1 to 128 of A-Z a-z 0-9 _ - . : @"});
  if (any_offered(c.request, [](std::string_view p) { return p == protocol; }))
    v.protocol = protocol;
  send(c, std::move(v));
}

} // namespace parlor
