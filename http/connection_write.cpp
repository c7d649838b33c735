// Answers and streams: what is to be said, in as few writes as possible, and what comes after.

#include "http/connection.hpp"
#include "http/head.hpp"

#include <boost/asio/post.hpp>

#include <array>
#include <cstdio>

namespace parlor::http {

using error_code = boost::system::error_code;

namespace {

constexpr auto linger_time = std::chrono::seconds{2};

} // namespace

void connection::respond(response r, std::uint64_t turn) {
  if (closed_ || turn != turn_ || answered_ || phase_ != phase::handling)
    return;
  answered_ = true;
  timer_.answered(r.status);
  auto text = head_text(r, {false, false, keep_alive_, request_id_});
  if (!head_only_ && r.status != 204 && r.status != 304)
    text += r.body;
  out_ += text;
  ending_ = true;
  set_deadline(server_->options.write_timeout);
  flush();
}

void connection::open(response head, std::string keepalive, std::uint64_t turn) {
  if (closed_ || turn != turn_ || answered_ || phase_ != phase::handling)
    return;
  answered_ = true;
  keep_alive_ = false;
  chunked_ = http11_;
  timer_.answered(head.status);
  phase_ = phase::streaming;
  out_ += head_text(head, {true, chunked_, keep_alive_, request_id_});
  request_ = {};
  std::string{}.swap(in_);
  keepalive_ = std::move(keepalive);
  if (head_only_) {
    ending_ = true;
    chunked_ = false;
  }
  watch_peer(); // it had stopped if a lot was pipelined
  std::lock_guard lock{mutex_};
  if (!std::exchange(flush_scheduled_, true))
    schedule_flush(); // with what is pushed in this turn of the loop
}

void connection::end_stream(std::uint64_t turn) {
  if (closed_ || turn != turn_ || phase_ != phase::streaming || ending_)
    return;
  ending_ = true;
  flush();
}

void connection::schedule_flush() {
  boost::asio::post(socket_.get_executor(), [me = shared_from_this()] { me->flush(); });
}

void connection::flush() {
  if (closed_)
    return;
  if (waiting_write_)
    return;
  for (;;) {
    if (offset_ == 0 && out_.empty() && sending_.empty() &&
        tail_.empty()) { // frame what has been pushed
      std::vector<chunk> more;
      if (phase_ == phase::streaming && !head_only_) {
        std::lock_guard lock{mutex_};
        more.swap(pending_);
        flush_scheduled_ = false;
      }
      if (more.empty())
        return wrote_all();
      std::size_t size = 0;
      for (auto& c : more)
        size += c->size();
      if (chunked_) {
        char frame[24];
        std::snprintf(frame, sizeof frame, "%zx\r\n", size);
        out_ = frame;
        tail_ = "\r\n";
      }
      sending_.assign(std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
    }
    // One write for everything there is.
    std::array<boost::asio::const_buffer, 64> buffers;
    std::size_t count = 0;
    auto skip = offset_;
    auto add = [&](std::string_view s) {
      auto n = std::min(skip, s.size());
      skip -= n;
      if (s.size() > n && count < buffers.size())
        buffers[count++] = boost::asio::buffer(s.data() + n, s.size() - n);
    };
    add(out_);
    for (auto& c : sending_) {
      if (count + 1 >= buffers.size())
        break;
      add(*c);
    }
    add(tail_);
    error_code e;
    auto all_in = count < buffers.size() - 1;
    auto n = socket_.write_some(
        std::vector<boost::asio::const_buffer>(
            buffers.begin(),
            buffers.begin() +
                static_cast<std::ptrdiff_t>(all_in ? count : count - (tail_.empty() ? 0 : 1))),
        e);
    if (e == boost::asio::error::would_block) {
      waiting_write_ = true;
      if (deadline_ == 0)
        set_deadline(server_->options.write_timeout);
      socket_.async_wait(tcp::socket::wait_write, [me = shared_from_this()](error_code failed) {
        me->waiting_write_ = false;
        if (failed)
          return me->close();
        me->flush();
      });
      return;
    }
    if (e)
      return close();
    server_->stats.bytes_sent += n;
    if (phase_ == phase::streaming) {
      set_deadline(std::chrono::milliseconds{0});
      keepalive_at_ = keepalive_.empty()
                          ? 0
                          : as_ticks(clock::now() + server_->options.keepalive_every * 2 / 3);
    } else if (answered_) {
      set_deadline(server_->options.write_timeout);
    }
    offset_ += n;
    if (offset_ >= out_.size()) { // drop what is done, piece by piece
      offset_ -= out_.size();
      std::string{}.swap(out_);
      while (!sending_.empty() && offset_ >= sending_.front()->size()) {
        offset_ -= sending_.front()->size();
        backlog_.fetch_sub(sending_.front()->size(), std::memory_order_relaxed);
        sending_.pop_front();
      }
      if (sending_.empty() && offset_ >= tail_.size()) {
        offset_ = 0;
        tail_.clear();
      }
    }
    auto drained = false;
    {
      std::lock_guard lock{mutex_};
      drained = backlog_.load(std::memory_order_relaxed) <= exchange::low_water &&
                std::exchange(above_high_, false);
    }
    if (drained)
      tell(signal::drained);
  }
}

void connection::wrote_all() {
  if (!ending_)
    return;
  if (phase_ == phase::streaming) {
    if (chunked_) {
      chunked_ = false;
      out_ = "0\r\n\r\n";
      return flush();
    }
    return close();
  }
  ending_ = false;
  timer_.end();
  if (!keep_alive_) {
    error_code ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
    if (!refused_ && in_.empty())
      return close();
    // A socket closed with bytes unread is reset, and the answer may be lost with it.
    phase_ = phase::closing;
    set_deadline(linger_time);
    return consume();
  }
  if (phase_ == phase::handling && answered_)
    next_request();
}

void connection::next_request() {
  tell(signal::gone);
  watcher_ = nullptr;
  ++turn_;
  request_ = {};
  request_id_.clear();
  head_only_ = false;
  phase_ = phase::idle;
  set_deadline(server_->options.idle_timeout);
  if (in_.empty())
    return read();
  boost::asio::post(socket_.get_executor(), [me = shared_from_this()] { me->consume(); });
}

} // namespace parlor::http
