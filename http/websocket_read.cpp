// What comes from the peer of a WebSocket.

#include "http/frame_writer.hpp"
#include "http/websocket_incoming.hpp"

#include <boost/asio/post.hpp>

#include <sys/socket.h>

#include <array>
#include <cerrno>

namespace parlor::http {

namespace {

constexpr std::size_t read_size = 16 * 1024;
constexpr int reads_per_turn = 16;
constexpr std::size_t bytes_per_second = 16 * 1024; // a message may take longer the larger it is
constexpr std::size_t max_interjected = 4 * 1024;   // answers to pings that it has not read
constexpr auto ping_window = std::chrono::seconds{10};

} // namespace

/// Whoever does not read our answers is not asked for more.
bool websocket_stream::behind() const {
  return backlog() > high_water || (out_ && out_->interjected() > max_interjected);
}

/// Goes on reading, if it may. To be called whenever what has kept it from that may be over.
void websocket_stream::read() {
  if (phase_ == phase::waiting || phase_ == phase::closed || reading_)
    return;
  if (phase_ == phase::closing && answered_)
    return; // until our closing frame has gone
  if (phase_ == phase::open && (held_ || behind())) {
    paused_ = true;
    return;
  }
  if (std::exchange(paused_, false)) { // it was not silent, and it was we who kept it waiting
    heard_ = clock::now();
    if (in_)
      in_->due = heard_ + options_->message_timeout;
  }
  if (in_ && !in_->rest.empty()) {
    auto rest = std::exchange(in_->rest, {});
    auto more = hear(rest.data(), rest.size());
    flush();
    return more ? read() : void();
  }
  reading_ = true;
  // Nothing is buffered for a peer that says nothing: wait, then read.
  socket_.async_wait(tcp::socket::wait_read, [me = shared_from_this()](error_code e) {
    me->reading_ = false;
    if (me->phase_ == phase::closed)
      return;
    if (e)
      return me->cut();
    me->readable();
  });
  if (in_)
    soon(in_->due);
  if (phase_ == phase::open)
    soon(heard_ + options_->ping_every);
}

void websocket_stream::readable() {
  std::array<char, read_size> buffer;
  auto more = true;
  for (int i = 0; more && i < reads_per_turn && !(phase_ == phase::open && (held_ || behind()));
       ++i) {
    auto n = ::recv(socket_.native_handle(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
      break;
    if (n <= 0)
      return cut();
    more = hear(buffer.data(), static_cast<std::size_t>(n));
    if (static_cast<std::size_t>(n) < buffer.size())
      break;
  }
  flush();
  if (more)
    read();
}

/// False if it is not to be read on now; whoever knows when it is calls read(). Sends nothing by
/// itself: flush() is to follow.
bool websocket_stream::hear(char* bytes, std::size_t n) {
  using heard = frame_reader::heard;
  if (phase_ == phase::leaving)
    return true;
  heard_ = clock::now();
  if (!in_)
    in_ = std::make_unique<incoming>(frame_reader::rules{options_->max_message, window_bits_ != 0},
                                     heard_ + options_->message_timeout, server_->bodies);
  in_->due = bought_by(n, bytes_per_second, in_->due, heard_, options_->message_timeout);
  for (std::span<char> rest{bytes, n}; !rest.empty();) {
    auto what = in_->frames.take(rest);
    if (!in_->room.resize(in_->frames.text_bytes()))
      return no_room();
    switch (what) {
    case heard::nothing:
    case heard::pong:
      break;
    case heard::ping:
      hear_ping(in_->frames.control());
      break;
    case heard::text: {
      auto room = std::move(in_->room);
      auto text = in_->frames.take_text();
      in_->due = heard_ + options_->message_timeout; // of the next
      if (phase_ != phase::open)
        break;
      in_->rest.assign(rest.data(), rest.size());
      if (in_->rest.empty())
        in_.reset();
      deliver(std::move(text), std::move(room));
      return false;
    }
    case heard::close:
      hear_close(in_->frames.goodbye());
      return false;
    case heard::fault:
      fail(in_->frames.why(), in_->frames.excuse());
      answered_ = true; // what follows cannot be understood
      return false;
    }
  }
  if (in_->frames.at_rest())
    in_.reset();
  return true;
}

/// As hear(): false.
bool websocket_stream::no_room() {
  fail(close_code::saturated, "too much is going on");
  answered_ = true; // what follows is the rest of it
  in_.reset();
  return false;
}

void websocket_stream::deliver(std::string text, byte_room::part room) {
  held_ = paused_ = true;
  auto held = std::make_shared<byte_room::part>(std::move(room));
  auto let_go = [me = shared_from_this(), held](const std::string* done) {
    delete done;
    held->give_back();
    boost::asio::post(me->strand_, [me] {
      me->held_ = false;
      me->read();
    });
  };
  chunk message{new std::string{std::move(text)}, std::move(let_go)};
  if (sink_)
    sink_(std::move(message));
}

void websocket_stream::hear_ping(std::string_view payload) {
  if (phase_ != phase::open)
    return;
  out().interject(control_frame(opcode::pong, payload));
  if (heard_ - pings_since_ > ping_window) {
    pings_since_ = heard_;
    pings_ = 0;
  }
  if (++pings_ > options_->max_pings)
    fail(close_code::policy, "too many pings");
}

void websocket_stream::hear_close(close_code code) {
  if (phase_ == phase::closing && !out_) // it has answered ours
    return cut();
  answered_ = true;
  if (phase_ != phase::open)
    return;
  if (out_)
    out_->drop_messages();
  begin_close(code, {});
}

} // namespace parlor::http
