#include "http/handshake.hpp"

#include <boost/beast/http/rfc7230.hpp>

#include <openssl/evp.h>
#include <openssl/sha.h>

#include <algorithm>
#include <cctype>

namespace parlor::http {

namespace beast = boost::beast;

namespace {

/// Whether a list in one of the headers of that name has the token.
bool lists(const request& r, std::string_view name, std::string_view token) {
  return std::any_of(r.headers.begin(), r.headers.end(), [&](const header& h) {
    return beast::iequals(h.name, {name.data(), name.size()}) &&
           beast::http::token_list{h.value}.exists({token.data(), token.size()});
  });
}

std::size_t count(const request& r, std::string_view name) {
  return static_cast<std::size_t>(
      std::count_if(r.headers.begin(), r.headers.end(), [&](const header& h) {
        return beast::iequals(h.name, {name.data(), name.size()});
      }));
}

/// Sixteen bytes in base64.
bool sound_key(std::string_view key) {
  return key.size() == 24 && key.substr(22) == "==" &&
         std::all_of(key.begin(), key.begin() + 22,
                     [](unsigned char c) { return std::isalnum(c) != 0 || c == '+' || c == '/'; });
}

/// Section 4.2.2, item 5.4.
std::string proof_of(std::string_view key) {
  auto text = std::string{key} + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  unsigned char hash[SHA_DIGEST_LENGTH], base64[29]; // with the zero that EVP adds
  SHA1(reinterpret_cast<const unsigned char*>(text.data()), text.size(), hash);
  auto n = EVP_EncodeBlock(base64, hash, sizeof hash);
  return {reinterpret_cast<char*>(base64), static_cast<std::size_t>(n)};
}

} // namespace

bool asks_for_websocket(const request& r) noexcept { return !r.get("Upgrade").empty(); }

handshake read_handshake(const request& r) {
  handshake out;
  if (r.method != "GET" || !lists(r, "Connection", "upgrade") ||
      !lists(r, "Upgrade", "websocket") || r.get("Sec-WebSocket-Version") != "13" ||
      count(r, "Sec-WebSocket-Version") != 1) {
    out.fault = errc::upgrade_required;
    return out;
  }
  out.key = r.get("Sec-WebSocket-Key");
  if (!sound_key(out.key) || count(r, "Sec-WebSocket-Key") != 1 || !r.body.empty()) {
    out.fault = errc::bad_framing;
    return out;
  }
  for (auto& h : r.headers)
    if (beast::iequals(h.name, "Sec-WebSocket-Extensions"))
      out.extensions += (out.extensions.empty() ? "" : ", ") + h.value;
  return out;
}

std::string switching_head(std::string_view key, std::string_view request_id,
                           std::string_view protocol, std::string_view extensions) {
  auto out = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Accept: " +
             proof_of(key) + "\r\n";
  auto add = [&out](std::string_view name, std::string_view value) {
    if (!value.empty())
      out.append(name).append(": ").append(value).append("\r\n");
  };
  add("Sec-WebSocket-Protocol", protocol);
  add("Sec-WebSocket-Extensions", extensions);
  add("Server", "parlor");
  add("X-Request-Id", request_id);
  return out += "\r\n";
}

} // namespace parlor::http
