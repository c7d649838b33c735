// Messages, both ways, and the clock.

#include "http/websocket_wire.hpp"
#include "protocol/notice.hpp"

#include <algorithm>

namespace parlor::http {

namespace ws = boost::beast::websocket;

namespace {

/// Written at a time: a peer that takes no such piece for the write timeout is stuck.
constexpr std::size_t fragment = 16 * 1024;
constexpr std::size_t idle_room = 1024; // for reading, while nothing comes
constexpr std::size_t most_room = 256 * 1024;
constexpr std::size_t bytes_per_second = 16 * 1024; // a message may take longer the larger it is
constexpr std::size_t max_idle_reads = 1000;        // of a message, that brought nothing
constexpr auto ping_window = std::chrono::seconds{10};

std::int64_t ticks(clock::time_point t) { return t.time_since_epoch().count(); }

} // namespace

// -- what comes ----------------------------------------------------------------------------------

void websocket_stream::read() {
  // Whoever does not read our answers is not asked for more, nor who has the last message still.
  if (phase_ != phase::open || reading_ || held_ || backlog() > high_water)
    return;
  if (got_ == 0)
    heard_ = clock::now();
  reading_ = true;
  in_.resize(got_ + (got_ == 0 ? idle_room : std::clamp(got_, 4 * idle_room, most_room)));
  wire_->stream.async_read_some(
      boost::asio::buffer(in_.data() + got_, in_.size() - got_),
      [me = shared_from_this()](error_code e, std::size_t n) { me->have_read(e, n); });
  soon(heard_ + options_.ping_every);
}

void websocket_stream::have_read(error_code e, std::size_t n) {
  reading_ = false;
  if (phase_ != phase::open)
    return std::string{}.swap(in_);
  if (e && e != ws::error::closed && e.category() == make_error_code(ws::error::closed).category())
    return await_end(); // Beast has said what is wrong
  if (e)
    return cut(); // gone, or Beast has answered its closing frame
  heard_ = clock::now();
  auto& s = wire_->stream;
  if (got_ == 0 && idle_reads_ == 0) {
    message_due_ = heard_ + options_.message_timeout;
    soon(message_due_);
  }
  got_ += n;
  if (s.got_binary())
    return fail(close_code::unsupported, "messages are text");
  if (s.is_message_done()) {
    idle_reads_ = 0;
    return deliver();
  }
  if (n == 0 && ++idle_reads_ > max_idle_reads)
    return fail(close_code::policy, "a message that never comes");
  message_due_ += std::chrono::microseconds{n * 1'000'000 / bytes_per_second};
  read();
}

void websocket_stream::deliver() {
  in_.resize(std::exchange(got_, 0));
  held_ = true;
  auto let_go = [me = shared_from_this()](const std::string* text) {
    delete text;
    boost::asio::post(me->strand_, [me] {
      me->held_ = false;
      me->read();
    });
  };
  chunk text{new std::string{std::move(in_)}, std::move(let_go)};
  in_ = {};
  if (sink_)
    sink_(std::move(text));
}

void websocket_stream::hear_ping() {
  if (heard_ - pings_since_ > ping_window) {
    pings_since_ = heard_;
    pings_ = 0;
  }
  if (++pings_ == options_.max_pings + 1)
    boost::asio::post(
        strand_, [me = shared_from_this()] { me->fail(close_code::policy, "too many pings"); });
}

// -- what goes -----------------------------------------------------------------------------------

void websocket_stream::flush() {
  if (phase_ >= phase::closing) { // nobody wants it any more
    std::lock_guard lock{mutex_};
    pending_.clear();
    flush_scheduled_ = false;
    backlog_ = 0;
    return;
  }
  if (phase_ != phase::open || writing_)
    return;
  if (sending_.empty()) {
    std::vector<chunk> more;
    {
      std::lock_guard lock{mutex_};
      more.swap(pending_);
      flush_scheduled_ = false;
    }
    if (more.empty())
      return ending_ ? begin_close(end_code_, end_reason_) : void();
    sending_.assign(std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  }
  auto piece = sending_.front();
  // Not what is compressed: Beast (1.81) forgets that a message has begun when its first fragment
  // is compressed to nothing yet, and sends the rest as a message of its own.
  auto n = deflating_ ? piece->size() - offset_ : std::min(piece->size() - offset_, fragment);
  auto whole = offset_ + n == piece->size();
  writing_ = true;
  write_due_ = clock::now() + server_->options.write_timeout;
  if (n > fragment)
    write_due_ += std::chrono::microseconds{n * 1'000'000 / bytes_per_second};
  soon(write_due_);
  wire_->stream.async_write_some(whole, boost::asio::buffer(piece->data() + offset_, n),
                                 [me = shared_from_this(), piece, whole,
                                  n](error_code e, std::size_t) { me->have_written(e, n, whole); });
}

void websocket_stream::have_written(error_code e, std::size_t n, bool whole) {
  writing_ = false;
  if (phase_ != phase::open)
    return;
  if (e) // the reader of what comes will see why
    return reading_ ? void() : cut();
  server_->stats.bytes_sent += n;
  offset_ += n;
  if (whole) {
    offset_ = 0;
    sending_.pop_front();
  }
  auto drained = false;
  {
    std::lock_guard lock{mutex_};
    drained = backlog_.fetch_sub(n, std::memory_order_relaxed) - n <= low_water &&
              std::exchange(above_high_, false);
  }
  if (drained)
    tell(signal::drained);
  read();
  flush();
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
  if (writing_) {
    if (now >= write_due_) {
      ++server_->stats.stalled_total;
      notice(log_level::warn, "stalled_reader_cut",
             {{"remote", remote_}, {"request_id", request_id_}});
      return abort();
    }
    soon(write_due_);
  }
  if (phase_ != phase::open || !reading_)
    return;
  if (got_ > 0 || idle_reads_ > 0) {
    if (now >= message_due_)
      return fail(close_code::policy, "a message takes too long");
    soon(message_due_);
  }
  if (now >= heard_ + options_.ping_every + options_.pong_timeout)
    return abort(); // nobody is there
  if (now < heard_ + options_.ping_every)
    return soon(heard_ + options_.ping_every);
  soon(heard_ + options_.ping_every + options_.pong_timeout);
  if (pinged_ >= heard_ || pinging_)
    return;
  pinged_ = now;
  pinging_ = true;
  wire_->stream.async_ping({}, [me = shared_from_this()](error_code) { me->pinging_ = false; });
}

} // namespace parlor::http
