// The life of a WebSocket, from the handshake to the last word, and its clock.

#include "http/cork.hpp"
#include "http/frame_writer.hpp"
#include "http/websocket_incoming.hpp"
#include "protocol/notice.hpp"

#include <boost/asio/post.hpp>

namespace parlor::http {

namespace {

std::int64_t ticks(clock::time_point t) { return t.time_since_epoch().count(); }

} // namespace

websocket_stream::websocket_stream(connection_strand strand, std::shared_ptr<server::shared> server,
                                   const websocket_options& options, message_sink sink)
    : listed{std::move(server), {}}, strand_{std::move(strand)}, socket_{strand_},
      options_{server_->shared_options(options)}, sink_{std::move(sink)} {}

websocket_stream::~websocket_stream() { leave(); }

// -- the port ------------------------------------------------------------------------------------

void websocket_stream::push(chunk piece) {
  if (!piece || piece->empty())
    return;
  auto overflows = false;
  {
    std::lock_guard lock{mutex_};
    overflows = backlog_.push(piece->size()) > options_->max_backlog;
    pending_.push_back(std::move(piece));
    if (std::exchange(flush_scheduled_, true) && !overflows)
      return;
  }
  if (!overflows)
    return cork::flush_soon(shared_from_this());
  boost::asio::post(strand_, [me = shared_from_this()] {
    me->fail(close_code::policy, "reads too slowly");
    me->flush();
  });
}

void websocket_stream::close(close_code code, std::string reason) {
  boost::asio::post(strand_, [me = shared_from_this(), code, reason = std::move(reason)]() mutable {
    if (me->end_ || me->phase_ >= phase::closing)
      return;
    me->end_ = std::make_unique<std::pair<close_code, std::string>>(code, std::move(reason));
    me->flush();
  });
}

void websocket_stream::abort() {
  boost::asio::post(strand_, [me = shared_from_this()] {
    error_code ignored;
    me->socket_.set_option(boost::asio::socket_base::linger{true, 0}, ignored);
    me->cut();
  });
}

void websocket_stream::watch(std::function<void(signal)> f) {
  boost::asio::post(strand_, [me = shared_from_this(), f = std::move(f)]() mutable {
    if (me->phase_ == phase::closed)
      return f(signal::gone);
    me->watcher_ = std::move(f);
  });
}

// -- its life ------------------------------------------------------------------------------------

void websocket_stream::attach(connection_socket socket, listed& was, const handshake& h,
                              std::string remote, std::string request_id) {
  if (phase_ != phase::waiting)
    return; // aborted before it began; the socket closes
  socket_ = std::move(socket);
  take_place_of(was);
  remote_ = std::move(remote);
  request_id_ = std::move(request_id);
  phase_ = phase::open;
  heard_ = clock::now();
  counted_ = true;
  ++server_->stats.websockets_open;
  std::string extensions;
  if (options_->deflate)
    if (auto terms = agree_on_deflate(h.extensions)) {
      window_bits_ = static_cast<std::uint8_t>(terms->window_bits);
      extensions = std::move(terms->answer);
    }
  out().interject(switching_head(h.key, request_id_, options_->protocol, extensions));
  if (backlog() > options_->max_backlog) // pushed before there was anybody
    fail(close_code::policy, "reads too slowly");
  flush();
  read();
}

void websocket_stream::fail(close_code code, std::string_view reason) {
  if (phase_ != phase::open)
    return;
  if (out_)
    out_->drop_messages();
  begin_close(code, reason);
}

void websocket_stream::begin_close(close_code code, std::string_view reason) {
  phase_ = phase::closing;
  close_due_ = clock::now() + options_->close_timeout;
  soon(close_due_);
  out().interject(close_frame(code, reason));
}

/// The closing frame has gone.
void websocket_stream::last_word_said() {
  if (phase_ != phase::closing || !answered_)
    return; // until the peer has closed, too
  // A socket closed with bytes unread is reset, and our last frame may be lost with it.
  phase_ = phase::leaving;
  in_.reset();
  error_code ignored;
  socket_.shutdown(tcp::socket::shutdown_send, ignored);
  read();
}

void websocket_stream::cut() {
  if (phase_ == phase::closed)
    return;
  phase_ = phase::closed;
  due_ = 0;
  if (std::exchange(counted_, false))
    --server_->stats.websockets_open;
  leave();
  error_code ignored;
  socket_.close(ignored);
  sink_ = nullptr;
  in_.reset();
  out_.reset();
  {
    std::lock_guard lock{mutex_};
    std::vector<chunk>{}.swap(pending_);
    backlog_.clear();
  }
  tell(signal::gone);
  watcher_ = nullptr;
}

void websocket_stream::tell(signal s) {
  if (watcher_)
    watcher_(s);
}

// -- the clock -----------------------------------------------------------------------------------

void websocket_stream::soon(clock::time_point t) {
  auto due = due_.load(std::memory_order_relaxed);
  if (due == 0 || ticks(t) < due)
    due_.store(ticks(t), std::memory_order_relaxed);
}

void websocket_stream::look_at_clock(clock::time_point now) {
  auto due = due_.load(std::memory_order_relaxed);
  if (due == 0 || ticks(now) < due)
    return;
  boost::asio::post(strand_, [weak = weak_from_this()] {
    if (auto me = weak.lock())
      me->look();
  });
}

void websocket_stream::look() {
  if (phase_ == phase::closed)
    return;
  auto now = clock::now();
  due_ = 0;
  if (close_due_ != clock::time_point{}) {
    if (now >= close_due_)
      return abort();
    soon(close_due_);
  }
  if (waiting_write_) {
    if (now >= write_due_) {
      auto again = progress_.look(socket_.native_handle(), server_->options.write_timeout);
      if (again == again.zero()) {
        ++server_->stats.stalled_total;
        notice(log_level::warn, "stalled_reader_cut",
               {{"remote", remote_}, {"request_id", request_id_}});
        return abort();
      }
      write_due_ = now + again;
    }
    soon(write_due_);
  }
  if (phase_ != phase::open || !reading_)
    return;
  if (in_) {
    if (now >= in_->due) {
      fail(close_code::policy, "a message takes too long");
      return flush();
    }
    soon(in_->due);
  }
  if (waiting_write_)
    return; // it cannot answer what it has not been asked yet
  if (now >= heard_ + options_->ping_every + options_->pong_timeout)
    return abort(); // nobody is there
  if (now < heard_ + options_->ping_every)
    return soon(heard_ + options_->ping_every);
  soon(heard_ + options_->ping_every + options_->pong_timeout);
  if (pinged_ >= heard_)
    return;
  pinged_ = now;
  out().interject(control_frame(opcode::ping, {}));
  flush();
}

} // namespace parlor::http
