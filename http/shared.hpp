#pragma once
// What a server and its connections have in common.
//
// Owner: the server and every connection; outlives the server object. Thread: as the members say.

#include "http/server.hpp"

#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/intrusive/list.hpp>

#include <mutex>
#include <optional>
#include <unordered_map>

namespace parlor::http {

using tcp = boost::asio::ip::tcp;
using clock = std::chrono::steady_clock;
using connection_strand = boost::asio::strand<boost::asio::io_context::executor_type>;
// Knowing its executor's type it is half as large as tcp::socket, and there may be many.
using connection_socket = boost::asio::basic_stream_socket<tcp, connection_strand>;

/// What the list of all connections holds of each.
using listed = boost::intrusive::list_base_hook<>;

/// Whose a connection is.
struct counted_client {
  std::uint64_t number = 0; // client_of; 0: not counted
  bool over = false;        // it had as many as it may already
};

struct server::shared {
  shared(boost::asio::io_context& context, server_options o, handler h, failure_body f)
      : io{context}, options{std::move(o)}, handle{std::move(h)}, failure{std::move(f)},
        acceptor{boost::asio::make_strand(context)}, pause{acceptor.get_executor()},
        sweep_timer{acceptor.get_executor()} {}
  /// One copy of a text that every stream has; none if it is empty. Any thread.
  chunk shared_text(std::string text);
  /// Counts one connection more from there; none if there are far too many. Any thread.
  std::optional<counted_client> count_from(const boost::asio::ip::address& a);

  boost::asio::io_context& io;
  server_options options;
  handler handle;
  failure_body failure;
  server_stats stats;
  tcp::acceptor acceptor;
  tcp::endpoint peer;              // of who is being accepted
  boost::asio::steady_timer pause; // of accepting
  boost::asio::steady_timer sweep_timer;
  std::mutex mutex;
  boost::intrusive::list<listed> open; // guarded; a connection takes itself out before it dies
  std::vector<chunk> texts;            // guarded; few
  std::unordered_map<std::uint64_t, std::size_t> clients; // guarded; connections of each
  bool waiting_for_room = false; // guarded; accepting goes on when a connection has gone
  bool sweeping = false;         // guarded
  bool stopped = false;          // guarded
};

/// Accepts the next connection, and the ones after it. On the acceptor's strand.
void accept_next(const std::shared_ptr<server::shared>& s);

} // namespace parlor::http
