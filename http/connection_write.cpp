// Answers and streams: what is to be said, in as few writes as possible, and what comes after.

#include "http/chunk_frame.hpp"
#include "http/connection.hpp"
#include "http/cork.hpp"
#include "http/head.hpp"

#include <boost/asio/post.hpp>

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>

namespace parlor::http {

using error_code = boost::system::error_code;

namespace {

constexpr auto linger_time = std::chrono::seconds{2};
constexpr std::size_t kept_room = 8; // pieces; a burst's room is given back

bool has_body(unsigned status) { return status != 204 && status != 304; }

} // namespace

void connection::respond(response r, std::uint64_t turn) {
  if (closed_ || turn != turn_ || answered_ || phase_ != phase::handling)
    return;
  answered_ = true;
  body_room_.give_back();
  timer_.answered(r.status);
  auto text = head_text(r, {false, false, keep_alive_, request_id_});
  if (!head_only_ && has_body(r.status))
    text += r.body;
  if (out_.empty())
    out_ = std::move(text);
  else
    out_ += text; // after a 100 Continue that has not left yet
  ending_ = true;
  set_deadline(server_->options.write_timeout);
  flush();
}

void connection::open(response head, std::string keepalive, std::uint64_t turn) {
  if (closed_ || turn != turn_ || answered_ || phase_ != phase::handling)
    return;
  answered_ = true;
  body_room_.give_back();
  keep_alive_ = keep_alive_ && http11_; // an older peer sees the end of the connection only
  chunked_ = http11_;
  timer_.answered(head.status);
  phase_ = phase::streaming;
  out_ += head_text(head, {true, chunked_, keep_alive_, request_id_});
  keepalive_ = server_->shared_text(std::move(keepalive));
  if (in_.empty())
    std::string{}.swap(in_);
  deadline_ = 0;
  read(); // it had stopped if a lot was pipelined
  std::lock_guard lock{mutex_};
  if (head_only_)
    end_asked_ = true;
  if (!std::exchange(flush_scheduled_, true))
    cork::flush_soon(shared_from_this()); // with what is pushed in this turn of the loop
}

void connection::flush() {
  for (;;) {
    auto took = gather();
    if (closed_ || waiting_write_ || !write())
      return;
    if (took && !ending_ && sending_.empty() && tail_.empty() && out_.empty())
      return; // what has been pushed since has asked for a flush of its own
  }
}

/// Frames what has been pushed and, where it has been asked for, the end. True if nothing that was
/// pushed is left to be taken.
bool connection::gather() {
  std::lock_guard lock{mutex_};
  flush_scheduled_ = false;
  if (phase_ != phase::streaming || ending_ || !sending_.empty() || !tail_.empty())
    return false;
  if (head_only_)
    pending_.clear();
  sending_.swap(pending_);
  ending_ = end_asked_;
  auto last = ending_ && chunked_ && !head_only_;
  if (sending_.empty()) {
    if (last)
      out_ += "0\r\n\r\n";
    return true;
  }
  if (!chunked_)
    return true;
  if (sending_.size() == 1 && !last)
    if (auto framed = framed_for_many(sending_.front())) {
      backlog_.add(framed->size() - sending_.front()->size());
      sending_.front() = std::move(framed);
      return true;
    }
  std::size_t size = 0;
  for (auto& c : sending_)
    size += c->size();
  append_chunk_head(out_, size);
  tail_ = last ? "\r\n0\r\n\r\n" : "\r\n";
  return true;
}

/// One write of what there is. True if it is worth to go on.
bool connection::write() {
  std::array<iovec, 64> parts;
  std::size_t count = 0;
  auto skip = offset_;
  auto add = [&](std::string_view s) {
    auto n = std::min(skip, s.size());
    skip -= n;
    if (s.size() > n && count < parts.size())
      parts[count++] = {const_cast<char*>(s.data()) + n, s.size() - n};
  };
  add(out_);
  for (auto i = sent_; i < sending_.size() && count < parts.size(); ++i)
    add(*sending_[i]);
  add(tail_);
  if (count == 0) {
    answered();
    return false;
  }
  constexpr int flags = MSG_DONTWAIT | MSG_NOSIGNAL;
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = count;
  auto n = count == 1 // the kernel is told less, and does less
               ? ::send(socket_.native_handle(), parts[0].iov_base, parts[0].iov_len, flags)
               : ::sendmsg(socket_.native_handle(), &message, flags);
  if (n < 0 && errno == EINTR)
    return true;
  if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
    waiting_write_ = true;
    if (answered_) // else what is waited for is the request's
      set_deadline(progress_.begin(socket_.native_handle(), server_->options.write_timeout));
    socket_.async_wait(tcp::socket::wait_write, [me = shared_from_this()](error_code failed) {
      me->waiting_write_ = false;
      if (failed)
        return me->close();
      me->flush();
    });
    return false;
  }
  if (n < 0) {
    close();
    return false;
  }
  wrote(static_cast<std::size_t>(n));
  return true;
}

void connection::wrote(std::size_t n) {
  server_->stats.bytes_sent += n;
  if (phase_ == phase::streaming) {
    deadline_ = 0;
    auto& every = server_->options.keepalive_every;
    keepalive_at_ = keepalive_ ? as_ticks(clock::now() + every * 2 / 3) : 0;
  } else if (answered_) {
    set_deadline(server_->options.write_timeout);
  }
  offset_ += n;
  if (offset_ < out_.size())
    return;
  offset_ -= out_.size();
  std::string{}.swap(out_);
  std::size_t done = 0; // bytes of whole pieces
  for (; sent_ < sending_.size() && offset_ >= sending_[sent_]->size(); sending_[sent_++].reset()) {
    offset_ -= sending_[sent_]->size();
    done += sending_[sent_]->size();
  }
  if (sent_ == sending_.size()) {
    sent_ = 0;
    sending_.clear();
    if (sending_.capacity() > kept_room)
      sending_.shrink_to_fit();
    if (offset_ >= tail_.size()) {
      offset_ = 0;
      tail_ = {};
    }
  }
  if (done > 0 && backlog_.took(done, mutex_))
    tell(signal::drained);
}

/// Nothing is left to be written. Was that the end of an answer?
void connection::answered() {
  if (!std::exchange(ending_, false))
    return;
  timer_.end();
  if (keep_alive_)
    return next_request();
  if (!ignoring_ && in_.empty())
    return close();
  // A socket closed with bytes unread is reset, and the answer may be lost with it.
  error_code ignored;
  socket_.shutdown(tcp::socket::shutdown_send, ignored);
  phase_ = phase::closing;
  keepalive_at_ = 0;
  set_deadline(linger_time);
  in_.clear();
  read();
}

void connection::next_request() {
  {
    std::lock_guard lock{mutex_};
    open_turn_ = 0;
    end_asked_ = false;
    pending_.clear();
    backlog_.clear();
  }
  tell(signal::gone);
  watcher_ = nullptr;
  ++turn_;
  request_id_.clear();
  keepalive_.reset();
  keepalive_at_ = 0;
  head_only_ = chunked_ = false;
  phase_ = phase::idle;
  set_deadline(server_->options.idle_timeout);
  if (in_.empty())
    return read();
  boost::asio::post(socket_.get_executor(), [me = shared_from_this()] { me->consume(); });
}

} // namespace parlor::http
