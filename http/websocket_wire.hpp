#pragma once
// Beast, below a WebSocket. Only what reads, writes or ends one includes this.

#include "http/websocket_stream.hpp"

#include <boost/asio/post.hpp>
#include <boost/beast/core/bind_handler.hpp>
#include <boost/beast/websocket.hpp>

namespace parlor::http {

/// The socket, but when Beast has said its last word it gives the connection back to us: its own
/// teardown would wait for the peer without end.
struct link : tcp::socket {
  explicit link(tcp::socket s) : tcp::socket{std::move(s)} {}
};

template <class Handler>
void async_teardown(boost::beast::role_type, link& l, Handler&& h) {
  boost::system::error_code e;
  l.shutdown(tcp::socket::shutdown_send, e);
  boost::asio::post(l.get_executor(), boost::beast::bind_front_handler(
                                          std::forward<Handler>(h), boost::system::error_code{}));
}

struct websocket_stream::wire {
  explicit wire(tcp::socket s) : stream{std::move(s)} {}
  boost::beast::websocket::stream<link> stream;
};

} // namespace parlor::http
