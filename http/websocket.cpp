// The life of a WebSocket: from the handshake to the last word.

#include "http/websocket_wire.hpp"

#include <boost/beast/http/empty_body.hpp>

namespace parlor::http {

namespace beast = boost::beast;
namespace ws = boost::beast::websocket;

namespace {

constexpr std::size_t max_reason = 123; // bytes

} // namespace

websocket_stream::websocket_stream(tcp::socket::executor_type strand,
                                   std::shared_ptr<server::shared> server,
                                   websocket_options options, message_sink sink, std::string remote)
    : strand_{std::move(strand)}, server_{std::move(server)}, options_{std::move(options)},
      remote_{std::move(remote)}, sink_{std::move(sink)} {}

websocket_stream::~websocket_stream() = default;

// -- the port ------------------------------------------------------------------------------------

void websocket_stream::push(chunk piece) {
  if (!piece || piece->empty())
    return;
  auto overflows = false;
  {
    std::lock_guard lock{mutex_};
    // Noted here and not when writing: one write may take all that the pusher saw.
    auto behind = backlog_.fetch_add(piece->size(), std::memory_order_relaxed) + piece->size();
    above_high_ = above_high_ || behind > high_water;
    overflows = behind > options_.max_backlog;
    pending_.push_back(std::move(piece));
    if (std::exchange(flush_scheduled_, true) && !overflows)
      return;
  }
  boost::asio::post(strand_, [me = shared_from_this(), overflows] {
    if (overflows)
      me->fail(close_code::policy, "reads too slowly");
    me->flush();
  });
}

void websocket_stream::close(close_code code, std::string reason) {
  boost::asio::post(strand_, [me = shared_from_this(), code, reason = std::move(reason)]() mutable {
    if (me->ending_ || me->phase_ >= phase::closing)
      return;
    me->ending_ = true;
    me->end_code_ = code;
    me->end_reason_ = std::move(reason);
    me->flush();
  });
}

void websocket_stream::abort() {
  boost::asio::post(strand_, [me = shared_from_this()] {
    if (me->wire_) {
      error_code ignored;
      me->wire_->stream.next_layer().set_option(boost::asio::socket_base::linger{true, 0}, ignored);
    }
    me->cut();
  });
}

void websocket_stream::watch(std::function<void(signal)> f) {
  boost::asio::post(strand_, [me = shared_from_this(), f = std::move(f)] {
    if (me->phase_ == phase::closed)
      return f(signal::gone);
    me->watcher_ = f;
  });
}

// -- its life ------------------------------------------------------------------------------------

void websocket_stream::attach(tcp::socket socket, const handshake& h, std::string request_id,
                              std::shared_ptr<void> keeper) {
  if (phase_ != phase::waiting)
    return; // aborted before it began; the socket closes
  keeper_ = std::move(keeper);
  request_id_ = std::move(request_id);
  phase_ = phase::handshake;
  wire_ = std::make_unique<wire>(std::move(socket));
  auto& s = wire_->stream;
  s.read_message_max(options_.max_message);
  s.auto_fragment(false);
  s.text(true);
  s.control_callback([this](ws::frame_type kind, beast::string_view) { // only while reading
    heard_ = clock::now();
    if (kind == ws::frame_type::ping)
      hear_ping();
  });
  ws::permessage_deflate deflate;
  deflate.server_enable = options_.deflate;
  deflate.msg_size_threshold = options_.deflate_from;
  deflate.server_max_window_bits = 12; // 24 KiB for each that sends something large, not 136
  deflate.memLevel = 4;
  deflate.compLevel = 6;
  s.set_option(deflate);
  s.set_option(ws::stream_base::decorator{[this](ws::response_type& r) {
    r.set(beast::http::field::server, "parlor");
    if (!request_id_.empty())
      r.set("X-Request-Id", request_id_);
    if (!options_.protocol.empty())
      r.set(beast::http::field::sec_websocket_protocol, options_.protocol);
  }});
  beast::http::request<beast::http::empty_body> r{beast::http::verb::get, "/", 11};
  r.set(beast::http::field::host, "-"); // the gate has seen the real one
  r.set(beast::http::field::connection, "upgrade");
  r.set(beast::http::field::upgrade, "websocket");
  r.set(beast::http::field::sec_websocket_version, "13");
  r.set(beast::http::field::sec_websocket_key, h.key);
  if (!h.extensions.empty())
    r.set(beast::http::field::sec_websocket_extensions, h.extensions);
  deflating_ = options_.deflate && !h.extensions.empty();
  close_due_ = clock::now() + server_->options.write_timeout;
  soon(close_due_);
  s.async_accept(r, [me = shared_from_this()](error_code e) {
    if (me->phase_ != phase::handshake)
      return;
    if (e)
      return me->cut();
    me->opened();
  });
}

void websocket_stream::opened() {
  wire_->stream.set_option(ws::stream_base::decorator{[](ws::response_type&) {}});
  phase_ = phase::open;
  counted_ = true;
  ++server_->stats.websockets_open;
  close_due_ = {};
  if (backlog() > options_.max_backlog) // pushed before there was anybody
    fail(close_code::policy, "reads too slowly");
  read();
  flush();
}

void websocket_stream::fail(close_code code, std::string_view reason) {
  if (phase_ != phase::open)
    return;
  sending_.clear(); // a piece that is being written is kept by that
  begin_close(code, reason);
}

void websocket_stream::begin_close(close_code code, std::string_view reason) {
  phase_ = phase::closing;
  close_due_ = clock::now() + options_.close_timeout;
  soon(close_due_);
  ws::close_reason why{static_cast<ws::close_code>(code)};
  reason = reason.substr(0, max_reason);
  why.reason.assign(reason.data(), reason.size());
  // Beast reads on until the peer has answered.
  wire_->stream.async_close(why, [me = shared_from_this()](error_code e) {
    if (e)
      me->await_end();
    else
      me->cut();
  });
}

void websocket_stream::await_end() {
  if (phase_ == phase::closed)
    return;
  if (phase_ != phase::closing) { // Beast has closed it
    phase_ = phase::closing;
    close_due_ = clock::now() + options_.close_timeout;
    soon(close_due_);
  }
  // A socket closed with bytes unread is reset, and our last frame may be lost with it.
  auto& socket = wire_->stream.next_layer();
  if (!socket.is_open())
    return cut();
  socket.async_wait(tcp::socket::wait_read, [me = shared_from_this()](error_code e) {
    if (me->phase_ == phase::closed)
      return;
    char scrap[4096];
    if (!e)
      me->wire_->stream.next_layer().read_some(boost::asio::buffer(scrap), e);
    if (e && e != boost::asio::error::would_block)
      return me->cut();
    me->await_end();
  });
}

void websocket_stream::cut() {
  if (phase_ == phase::closed)
    return;
  phase_ = phase::closed;
  due_ = 0;
  if (std::exchange(counted_, false))
    --server_->stats.websockets_open;
  if (wire_) {
    error_code ignored;
    wire_->stream.next_layer().close(ignored);
  }
  sink_ = nullptr;
  sending_.clear();
  if (!reading_) // Beast may yet touch it
    std::string{}.swap(in_);
  {
    std::lock_guard lock{mutex_};
    pending_.clear();
    backlog_ = 0;
  }
  tell(signal::gone);
  watcher_ = nullptr;
  keeper_.reset();
}

void websocket_stream::tell(signal s) {
  if (watcher_)
    watcher_(s);
}

} // namespace parlor::http
