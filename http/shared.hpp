#pragma once
// What a server and its connections have in common.
//
// Owner: the server and every connection; outlives the server object. Thread: as the members say.

#include "http/server.hpp"
#include "http/websocket.hpp"
#include "protocol/byte_room.hpp"

#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/intrusive/list.hpp>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <optional>
#include <unordered_map>

namespace parlor::http {

using tcp = boost::asio::ip::tcp;
using clock = std::chrono::steady_clock;
using connection_strand = boost::asio::strand<boost::asio::io_context::executor_type>;
// Knowing its executor's type it is half as large as tcp::socket, and there may be many.
using connection_socket = boost::asio::basic_stream_socket<tcp, connection_strand>;

constexpr std::uint64_t small_body = 16 * 1024; // bytes

/// The deadline of a body or message of which so many bytes have come by now: each buys a little
/// time, to be used at once. Whoever is slower than `rate` bytes a second is waiting for something
/// else, and runs out of `patience`.
constexpr clock::time_point bought_by(std::size_t bytes, std::uint64_t rate, clock::time_point due,
                                      clock::time_point now, std::chrono::milliseconds patience) {
  return std::min(due + std::chrono::microseconds{bytes * 1'000'000 / rate}, now + patience);
}

/// Whose a connection is.
struct counted_client {
  std::uint64_t number = 0; // client_of; 0: not counted
  bool over = false;        // it had as many as it may already
};

/// One that is connected, in the list of all of them: a connection, or the WebSocket that has taken
/// its place.
class listed : public boost::intrusive::list_base_hook<> {
public:
  /// From the sweep, which keeps it from being destroyed: is something due? Then a look on its
  /// strand.
  virtual void look_at_clock(clock::time_point now) = 0;
  /// The server stops. Any thread.
  virtual void shut() = 0;
  /// Writes what has been pushed. On its strand.
  virtual void flush() = 0;
  virtual const connection_strand& strand() = 0;
  /// Null if it is about to be destroyed.
  virtual std::shared_ptr<listed> hold() noexcept = 0;

protected:
  listed(std::shared_ptr<server::shared> s, counted_client client);
  ~listed();
  void enter();
  void take_place_of(listed& other);
  /// To be called by the destructor of whoever is in the list, before anything else.
  void leave();

  std::shared_ptr<server::shared> server_;
  counted_client client_;
};

struct server::shared {
  shared(boost::asio::io_context& context, server_options o, handler h, failure_body f,
         body_guard g)
      : io{context}, options{std::move(o)}, handle{std::move(h)}, failure{std::move(f)},
        guard{std::move(g)}, acceptor{boost::asio::make_strand(context)},
        pause{acceptor.get_executor()}, sweep_timer{acceptor.get_executor()} {}
  /// One copy of a text that every stream has; none if it is empty. Any thread.
  chunk shared_text(std::string text);
  /// One copy of options that many WebSockets have. Any thread.
  std::shared_ptr<const websocket_options> shared_options(const websocket_options& o);
  /// Counts one connection more from there; none if there are far too many. Any thread.
  std::optional<counted_client> count_from(const boost::asio::ip::address& a);

  boost::asio::io_context& io;
  server_options options;
  handler handle;
  failure_body failure;
  body_guard guard; // may be null
  server_stats stats;
  /// Of bodies and messages, from their first byte until somebody has made something of them.
  byte_room bodies{options.body_memory, stats.body_bytes, small_body};
  tcp::acceptor acceptor;
  tcp::endpoint peer;              // of who is being accepted
  boost::asio::steady_timer pause; // of accepting
  boost::asio::steady_timer sweep_timer;
  std::mutex mutex;
  boost::intrusive::list<listed> open; // guarded; whoever is in it takes itself out before it dies
  std::vector<chunk> texts;            // guarded; few
  std::vector<std::shared_ptr<const websocket_options>> sockets; // guarded; few
  std::unordered_map<std::uint64_t, std::size_t> clients;        // guarded; connections of each
  bool waiting_for_room = false; // guarded; accepting goes on when a connection has gone
  bool sweeping = false;         // guarded
  bool stopped = false;          // guarded
};

/// Accepts the next connection, and the ones after it. On the acceptor's strand.
void accept_next(const std::shared_ptr<server::shared>& s);

} // namespace parlor::http
