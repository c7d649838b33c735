#pragma once
// The request that asks for a WebSocket, and the answer to it (RFC 6455 section 4.2). Pure; any
// thread.

#include "http/exchange.hpp"
#include "protocol/errc.hpp"

namespace parlor::http {

struct handshake {
  errc fault = errc::none; // bad_framing; upgrade_required: no handshake, or of another version
  std::string key;
  std::string extensions; // of all such lines
  request asked;          // for the looks of a refusal; without its body
};

/// Whether it asks for a WebSocket at all, soundly or not.
bool asks_for_websocket(const request& r) noexcept;
handshake read_handshake(const request& r);

/// The head that agrees, with the empty line. Of the last three each may be empty: it is left out.
std::string switching_head(std::string_view key, std::string_view request_id,
                           std::string_view protocol, std::string_view extensions);

} // namespace parlor::http
