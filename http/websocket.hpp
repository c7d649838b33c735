#pragma once
// The port through which everything above HTTP sees one WebSocket: an outbox whose pieces are text
// messages, and a sink for those of the peer.
//
// Owner: shared between the connection and whoever upgraded it. Thread: every method may be called
// from any thread and returns at once; the work is done on the connection's strand. Lifetime:
// outlives the connection; calls after the peer has gone do nothing. Errors: none are reported
// here; `gone` is.

#include "http/exchange.hpp"

#include <chrono>

namespace parlor::http {

/// RFC 6455 section 7.4. The layer itself closes with protocol, unsupported, bad_text, policy
/// (pings without end, reading or writing too slowly) and too_big.
enum class close_code : std::uint16_t {
  normal = 1000,
  going_away = 1001, // the session has ended, or the client has nothing more to wait for
  protocol = 1002,
  unsupported = 1003, // a binary message
  bad_text = 1007,
  policy = 1008,
  too_big = 1009,
  internal = 1011,
  restart = 1012,   // the client should come back
  saturated = 1013, // the same, but not at once
};

struct websocket_options {
  std::size_t max_message = 64 * 1024;          // bytes, inflated
  std::size_t max_backlog = 8 * 1024 * 1024;    // bytes; a peer that is further behind is cut
  bool deflate = true;                          // when the peer offers it
  std::size_t deflate_from = 1024;              // bytes; smaller messages are not worth it
  std::string protocol;                         // Sec-WebSocket-Protocol of the answer; empty: none
  std::chrono::milliseconds ping_every{20'000}; // of silence of the peer
  std::chrono::milliseconds pong_timeout{10'000};
  std::chrono::milliseconds close_timeout{5'000};    // for the peer's part of the closing handshake
  std::chrono::milliseconds message_timeout{30'000}; // for one to arrive, and longer if it is large
  std::size_t max_pings = 100;                       // of the peer, in ten seconds
  bool operator==(const websocket_options&) const = default;
};

class websocket : public outbox {
public:
  using outbox::close;
  /// As close(), which is `normal`. `reason`: for people, shortened to 123 bytes.
  virtual void close(close_code code, std::string reason) = 0;
};

} // namespace parlor::http
