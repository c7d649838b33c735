// From a request to a WebSocket.

#include "http/answer.hpp"
#include "http/websocket_stream.hpp"

#include <boost/asio/post.hpp>

namespace parlor::http {

websocket_ptr answer::upgrade(const websocket_options& options, message_sink sink) {
  auto to = std::make_shared<websocket_stream>(c_->socket_.get_executor(), c_->server_, options,
                                               std::move(sink));
  boost::asio::post(c_->socket_.get_executor(), [c = c_, t = turn_, to] { c->upgrade(to, t); });
  return to;
}

void connection::upgrade(const std::shared_ptr<websocket_stream>& to, std::uint64_t turn) {
  if (closed_ || turn != turn_ || answered_ || phase_ != phase::handling)
    return to->cut();
  auto fault = !handshake_ || !http11_ ? errc::upgrade_required : handshake_->fault;
  if (!in_.empty() || !out_.empty())
    fault = errc::bad_framing; // frames before the answer, or the answer to Expect under way
  if (fault != errc::none) {
    to->cut();
    request nameless; // asked for nothing of the kind
    nameless.id = request_id_;
    auto r = server_->failure(fault, handshake_ ? handshake_->asked : nameless);
    if (fault == errc::upgrade_required) {
      r.headers.push_back({"Upgrade", "websocket"});
      r.headers.push_back({"Connection", "Upgrade"}); // RFC 9110 section 7.8
      r.headers.push_back({"Sec-WebSocket-Version", "13"});
    } else {
      keep_alive_ = false;
      ignoring_ = true;
    }
    return respond(std::move(r), turn);
  }
  answered_ = true;
  phase_ = phase::upgraded;
  timer_.answered(101);
  timer_.end();
  watcher_ = nullptr;
  boost::system::error_code ignored;
  socket_.cancel(ignored); // of watching the peer
  to->attach(std::move(socket_), *this, *std::exchange(handshake_, nullptr), std::move(remote_),
             std::move(request_id_));
}

} // namespace parlor::http
