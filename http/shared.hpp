#pragma once
// What a server and its connections have in common.
//
// Owner: the server and every connection; outlives the server object. Thread: as the members say.

#include "http/server.hpp"

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>

#include <mutex>
#include <set>

namespace parlor::http {

using tcp = boost::asio::ip::tcp;
using clock = std::chrono::steady_clock;

class connection;

struct server::shared {
  shared(boost::asio::io_context& context, server_options o, handler h, failure_body f)
      : io{context}, options{std::move(o)}, handle{std::move(h)}, failure{std::move(f)},
        acceptor{boost::asio::make_strand(context)}, pause{acceptor.get_executor()},
        sweep_timer{acceptor.get_executor()} {}
  boost::asio::io_context& io;
  server_options options;
  handler handle;
  failure_body failure;
  server_stats stats;
  tcp::acceptor acceptor;
  boost::asio::steady_timer pause; // of accepting
  boost::asio::steady_timer sweep_timer;
  std::mutex mutex;
  std::set<connection*> open; // guarded; a connection takes itself out before it dies
  bool sweeping = false;      // guarded
  bool stopped = false;       // guarded
};

} // namespace parlor::http
