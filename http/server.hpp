#pragma once
// The HTTP/1.1 server: accepts, guards, and hands each request to one handler.
//
// Owner: the program. Thread: methods from any; the handler is called on connections' strands, one
// request of a connection at a time, so that pipelined requests are answered in order.

#include "http/exchange.hpp"
#include "http/network.hpp"
#include "http/request_timer.hpp"
#include "protocol/errc.hpp"

#include <boost/asio/io_context.hpp>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace parlor::http {

struct server_options {
  std::string address = "127.0.0.1";
  unsigned short port = 8080;         // 0: any free one
  std::size_t max_header = 16 * 1024; // request line and headers, bytes
  std::size_t max_target = 8 * 1024;
  std::uint64_t max_body = 25 * 1024 * 1024;
  // Of bodies and of messages of WebSockets, all together, that are not answered yet. Who sends
  // more is told to come again.
  std::uint64_t body_memory = 256 * 1024 * 1024;
  std::chrono::milliseconds header_timeout{10'000}; // for all of them, however slowly they drip
  // A body has this long, and longer the more of it has come; the whole of it is late after
  // body_timeout + its size / body_rate, and never after body_timeout of silence.
  std::chrono::milliseconds body_timeout{10'000};
  std::uint64_t body_rate = 16 * 1024;               // bytes a second; not 0
  std::chrono::milliseconds idle_timeout{75'000};    // between requests
  std::chrono::milliseconds write_timeout{30'000};   // without the peer taking a byte
  std::chrono::milliseconds keepalive_every{15'000}; // of silence on a stream, at most
  std::size_t max_connections = 10'000;
  // Of one client (http/network.hpp). Who has more is answered with too_many_connections, and with
  // nothing from twice as many on.
  std::size_t max_connections_per_client = 64;
  std::vector<network> many_clients;  // come from these, which are not counted
  std::uint32_t max_requests = 1'000; // on one connection; it is closed with the last one's answer
  std::chrono::milliseconds max_age{3'600'000}; // of a connection; the same
};

struct server_stats {
  std::atomic<std::uint64_t> connections_open{0};
  std::atomic<std::uint64_t> connections_total{0};
  std::atomic<std::uint64_t> turned_away_total{0}; // closed at once: too many of one client
  std::atomic<std::uint64_t> websockets_open{0};
  std::atomic<std::uint64_t> requests_total{0}; // that passed the gate
  std::atomic<std::uint64_t> refused_total{0};  // that did not
  std::atomic<std::uint64_t> bytes_sent{0};
  std::atomic<std::uint64_t> body_bytes{0};    // held, of body_memory
  std::atomic<std::uint64_t> stalled_total{0}; // cut, for they took no byte for write_timeout
  request_stats requests;
};

using handler = std::function<void(request&&, exchange_ptr)>;
/// The answer to what never reaches the handler. The request is what was read of it: `id` always;
/// method, target and headers as far as they came whole. If it was refused for its framing they are
/// not to be trusted with more than the looks of the answer.
using failure_body = std::function<response(errc, const request&)>;

/// The answer to a request whose body nobody will want, when its header section has come: the rest
/// is not read. Nothing: the body may come. It is asked before a body of more than 16 KiB.
using body_guard = std::function<std::optional<response>(const request&)>;

class server {
public:
  server(boost::asio::io_context& io, server_options options, handler handle, failure_body failure,
         body_guard guard = {});
  ~server();
  server(const server&) = delete;
  server& operator=(const server&) = delete;

  /// Throws std::system_error naming the address if it cannot be listened on.
  void start();
  unsigned short port() const;
  void stop_accepting();
  void close_all();
  const server_stats& stats() const;

  struct shared; // with the connections, which may outlive the server object
private:
  std::shared_ptr<shared> state_;
};

} // namespace parlor::http
