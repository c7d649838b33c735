// What goes to the peer of a WebSocket: in as few writes as possible.

#include "http/frame_writer.hpp"
#include "http/websocket_incoming.hpp"

#include <sys/socket.h>

#include <cerrno>

namespace parlor::http {

frame_writer& websocket_stream::out() {
  if (!out_)
    out_ = std::make_unique<frame_writer>(window_bits_, options_->deflate_from);
  return *out_;
}

void websocket_stream::flush() {
  if (phase_ == phase::waiting)
    return;
  do
    collect();
  while (out_ && !waiting_write_ && write());
  if (!out_)
    last_word_said();
}

/// Takes what has been pushed when all before it has gone, and then the end if it has been asked
/// for.
void websocket_stream::collect() {
  if (phase_ == phase::open && out_ && out_->has_messages())
    return;
  std::vector<chunk> more;
  {
    std::lock_guard lock{mutex_};
    more.swap(pending_);
    flush_scheduled_ = false;
    if (phase_ != phase::open)
      backlog_.clear();
  }
  if (phase_ != phase::open)
    return;
  if (!more.empty())
    out().load(std::move(more));
  else if (end_)
    begin_close(end_->first, end_->second);
}

/// One write of what there is. True if it is worth to go on.
bool websocket_stream::write() {
  frame_writer::gathered g;
  out_->gather(g);
  msghdr message{};
  message.msg_iov = g.parts.data();
  message.msg_iovlen = g.count;
  auto n = ::sendmsg(socket_.native_handle(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (n < 0 && errno == EINTR)
    return true;
  if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
    waiting_write_ = true;
    write_due_ =
        clock::now() + progress_.begin(socket_.native_handle(), server_->options.write_timeout);
    soon(write_due_);
    socket_.async_wait(tcp::socket::wait_write, [me = shared_from_this()](error_code failed) {
      me->waiting_write_ = false;
      if (failed)
        return me->cut();
      me->heard_ = clock::now(); // its kernel has taken something: somebody is there
      me->flush();
    });
    return false;
  }
  if (n < 0) {
    cut();
    return false;
  }
  wrote(static_cast<std::size_t>(n));
  return out_ || phase_ == phase::open;
}

void websocket_stream::wrote(std::size_t n) {
  server_->stats.bytes_sent += n;
  auto done = out_->took(n);
  if (out_->empty())
    out_.reset();
  if (phase_ != phase::open)
    return;
  if (done > 0 && backlog_.took(done, mutex_))
    tell(signal::drained);
  if (paused_)
    read();
}

} // namespace parlor::http
