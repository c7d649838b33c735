#pragma once
// The port through which everything above HTTP sees one request and gives its answer.
//
// Owner: shared between the connection and whoever answers. Thread: every method may be called from
// any thread and returns at once; the work is done on the connection's strand. Lifetime: outlives
// the connection; calls after the peer has gone do nothing. Errors: none are reported here; `gone`
// is.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace parlor::http {

struct header {
  std::string name;
  std::string value;
};

/// One request, complete. Immutable once handed over. The headers are those of the header section
/// alone (trailers never join them); they have passed the framing gate.
struct request {
  std::string id; // made by the server, or the client's X-Request-Id if it is fit to be repeated
  std::string method; // upper case
  std::string target; // as sent
  std::string path;   // the part before '?', as sent (not decoded)
  std::string query;  // the part after '?', without it
  std::vector<header> headers;
  std::string body;
  std::string remote; // the peer's address, no port
  /// The first header of that name, compared without case; empty if there is none.
  std::string_view get(std::string_view name) const noexcept;
};

/// Status and headers; `Content-Length`, `Date`, `Connection` and `Transfer-Encoding` are added by
/// the server.
struct response {
  unsigned status = 200;
  std::vector<header> headers;
  std::string body; // ignored by open()
};

using chunk = std::shared_ptr<const std::string>;

class websocket; // http/websocket.hpp
struct websocket_options;
using websocket_ptr = std::shared_ptr<websocket>;
/// Takes a message of the peer, on the connection's strand. Must only send messages or post. The
/// next message is read when the last reference to this one is gone.
using message_sink = std::function<void(chunk)>;

enum class signal : std::uint8_t {
  drained, // the backlog has fallen to low_water after having been above high_water
  gone,    // the peer has gone, was cut off, or the stream has been closed and written out; nothing
           // follows
};

/// What is sent piece by piece to one peer: the body of a stream, or the messages of a WebSocket.
class outbox {
public:
  virtual ~outbox() = default;

  /// A piece, shared between all who get it. Never blocks, never copies.
  virtual void push(chunk piece) = 0;

  /// The orderly end, after everything pushed has been written. What is pushed later is ignored. Of
  /// a stream it leaves with the last piece if that was pushed in the same turn of the loop, and
  /// the connection goes on with its next request, unless the peer is older than HTTP/1.1 or asked
  /// for it to be closed.
  virtual void close() = 0;

  /// Cuts the connection without an orderly end: the peer can tell that something is missing.
  virtual void abort() = 0;

  /// Bytes pushed and not yet taken by the kernel.
  virtual std::size_t backlog() const noexcept = 0;

  /// Calls `f` on the connection's strand for each signal from now on (at once with `gone` if that
  /// is past). `f` must only send messages or post. Set once.
  virtual void watch(std::function<void(signal)> f) = 0;

  static constexpr std::size_t high_water = 64 * 1024; // bytes; pushers should pause above this
  static constexpr std::size_t low_water = 16 * 1024;  // bytes
};

class exchange : public outbox {
public:
  /// The whole answer. At most once, and not together with open() or upgrade(). HEAD sends no body.
  virtual void respond(response r) = 0;

  /// Which route it is, for request_stats. Only from inside the handler.
  virtual void label(std::uint8_t) {}

  /// The head of an answer whose body follows by push(). Written at once, with what is pushed in
  /// the same turn of the loop: pieces pushed in one turn leave in one write. `keepalive`, when not
  /// empty, is written whenever nothing was for a while (server_options), never inside a pushed
  /// chunk.
  virtual void open(response head, std::string keepalive) = 0;

  /// Goes on as a WebSocket; this exchange is over with it. What comes back can be used at once. A
  /// request that is no sound handshake is answered with 400 or 426, and the WebSocket is `gone`.
  virtual websocket_ptr upgrade(const websocket_options&, message_sink) { return nullptr; }
};
using exchange_ptr = std::shared_ptr<exchange>;

} // namespace parlor::http
