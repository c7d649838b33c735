#include "http/connection.hpp"

#include "http/framing.hpp"
#include "protocol/ids.hpp"

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdio>
#include <ctime>

namespace parlor::http {

namespace beast = boost::beast;
using error_code = boost::system::error_code;

namespace {

constexpr std::size_t read_size = 16 * 1024;
constexpr std::uint64_t body_bytes_per_second =
    16 * 1024; // a body may take longer the larger it is
constexpr auto linger_time = std::chrono::seconds{2};

std::int64_t ticks(clock::time_point t) { return t.time_since_epoch().count(); }

bool fit_to_repeat(std::string_view id) {
  return !id.empty() && id.size() <= 64 && std::all_of(id.begin(), id.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '.' || c == '-';
  });
}

void append_header(std::string& out, std::string_view name, std::string_view value) {
  out.append(name).append(": ");
  for (char c : value) // a value cannot start another header
    if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f)
      out += c;
  out += "\r\n";
}

} // namespace

std::string_view request::get(std::string_view name) const noexcept {
  for (auto& h : headers)
    if (beast::iequals({h.name.data(), h.name.size()}, {name.data(), name.size()}))
      return h.value;
  return {};
}

struct connection::parser {
  beast::http::request_parser<beast::http::string_body> p;
};

/// The exchange of one request.
class answer final : public exchange {
public:
  answer(std::shared_ptr<connection> c, std::uint64_t turn) : c_{std::move(c)}, turn_{turn} {}

  void respond(response r) override {
    boost::asio::post(c_->socket_.get_executor(), [c = c_, t = turn_, r = std::move(r)]() mutable {
      c->respond(std::move(r), t);
    });
  }
  void open(response head, std::string keepalive) override {
    boost::asio::dispatch(c_->socket_.get_executor(), [c = c_, t = turn_, h = std::move(head),
                                                       k = std::move(keepalive)]() mutable {
      c->open(std::move(h), std::move(k), t);
    });
  }
  void push(chunk piece) override {
    if (!piece || piece->empty())
      return;
    {
      std::lock_guard lock{c_->mutex_};
      // Noted here and not when writing: one write may take all that the pusher saw.
      if (c_->backlog_.fetch_add(piece->size(), std::memory_order_relaxed) + piece->size() >
          high_water)
        c_->above_high_ = true;
      c_->pending_.push_back(std::move(piece));
      if (std::exchange(c_->flush_scheduled_, true))
        return;
    }
    c_->schedule_flush();
  }
  void close() override {
    boost::asio::post(c_->socket_.get_executor(), [c = c_, t = turn_] { c->end_stream(t); });
  }
  void abort() override {
    boost::asio::post(c_->socket_.get_executor(), [c = c_, t = turn_] {
      if (c->turn_ != t)
        return;
      error_code ignored;
      c->socket_.set_option(boost::asio::socket_base::linger{true, 0}, ignored);
      c->close();
    });
  }
  std::size_t backlog() const noexcept override {
    return c_->backlog_.load(std::memory_order_relaxed);
  }
  void watch(std::function<void(signal)> f) override {
    boost::asio::post(c_->socket_.get_executor(), [c = c_, t = turn_, f = std::move(f)] {
      if (c->closed_ || c->turn_ != t)
        return f(signal::gone);
      c->watcher_ = f;
    });
  }

private:
  std::shared_ptr<connection> c_;
  std::uint64_t turn_;
};

connection::connection(tcp::socket socket, std::shared_ptr<server::shared> server)
    : socket_{std::move(socket)}, server_{std::move(server)} {
  error_code e;
  auto peer = socket_.remote_endpoint(e);
  if (!e)
    remote_ = peer.address().to_string();
  socket_.non_blocking(true, e);
  socket_.set_option(tcp::no_delay{true}, e);
  auto fd = socket_.native_handle();
  // A peer that has vanished is noticed though nothing is being said (reliability.md S5).
  int on = 1, idle = 10, every = 5, probes = 3;
  unsigned unacked_ms = 30'000;
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof every);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
  setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacked_ms, sizeof unacked_ms);
  std::lock_guard lock{server_->mutex};
  server_->open.insert(this);
  ++server_->stats.connections_open;
  ++server_->stats.connections_total;
}

connection::~connection() {
  std::lock_guard lock{server_->mutex};
  server_->open.erase(this);
  --server_->stats.connections_open;
}

void connection::start() {
  set_deadline(server_->options.header_timeout);
  phase_ = phase::head;
  read();
}

void connection::set_deadline(std::chrono::milliseconds from_now) {
  deadline_ = from_now.count() == 0 ? 0 : ticks(clock::now() + from_now);
}

// -- reading
// ------------------------------------------------------------------------------------------

void connection::read() {
  if (closed_ || reading_)
    return;
  reading_ = true;
  // Nothing is buffered for a connection that says nothing: wait, then read.
  socket_.async_wait(tcp::socket::wait_read, [me = shared_from_this()](error_code e) {
    me->reading_ = false;
    if (e || me->closed_)
      return me->close();
    char buffer[read_size];
    auto n = me->socket_.read_some(boost::asio::buffer(buffer), e);
    if (e == boost::asio::error::would_block)
      return me->read();
    if (e)
      return me->close();
    me->in_.append(buffer, n);
    me->consume();
  });
}

void connection::consume() {
  if (phase_ == phase::closing) {
    in_.clear();
    return read();
  }
  if (phase_ == phase::body)
    return parse_body();
  if (phase_ == phase::idle && !in_.empty()) {
    phase_ = phase::head;
    set_deadline(server_->options.header_timeout);
  }
  if (phase_ != phase::head)
    return;              // pipelined: looked at once the present request is answered
  std::size_t blank = 0; // RFC 9112 section 2.2
  while (in_.compare(blank, 2, "\r\n") == 0)
    blank += 2;
  in_.erase(0, blank);
  framing_limits limits;
  limits.max_header = server_->options.max_header;
  limits.max_target = server_->options.max_target;
  auto verdict = inspect(in_, limits);
  if (verdict.error != errc::none)
    return fail(verdict.error);
  if (verdict.length == 0)
    return read();

  parser_ = std::make_unique<parser>();
  auto& p = parser_->p;
  p.header_limit(static_cast<std::uint32_t>(server_->options.max_header + 1));
  p.body_limit(server_->options.max_body);
  error_code e;
  auto used = p.put(boost::asio::buffer(in_.data(), verdict.length), e);
  if ((e && e != beast::http::error::need_more) || !p.is_header_done())
    return fail(e == beast::http::error::body_limit ? errc::body_too_large : errc::bad_framing);
  in_.erase(0, used);
  // Who asks for what is decided here, from the header section: trailers come too late.
  auto& m = p.get();
  request_ = {};
  request_.method = std::string{m.method_string()};
  request_.target = std::string{m.target()};
  auto question = request_.target.find('?');
  request_.path = request_.target.substr(0, question);
  if (question != std::string::npos)
    request_.query = request_.target.substr(question + 1);
  for (auto& f : m)
    request_.headers.push_back({std::string{f.name_string()}, std::string{f.value()}});
  request_.remote = remote_;
  auto given = request_.get("X-Request-Id");
  request_id_ = request_.id = fit_to_repeat(given) ? std::string{given} : make_request_id();
  http11_ = m.version() == 11;
  keep_alive_ = p.keep_alive();
  head_only_ = request_.method == "HEAD";
  answered_ = false;
  ++turn_;
  static constexpr std::string_view known[] = {"GET",   "HEAD",   "POST",   "PUT",
                                               "PATCH", "DELETE", "OPTIONS"};
  if (std::find(std::begin(known), std::end(known), request_.method) == std::end(known))
    return fail(errc::not_implemented);
  auto length = p.content_length();
  if (length && *length > server_->options.max_body)
    return fail(errc::body_too_large);
  auto expect = request_.get("Expect");
  if (!expect.empty()) {
    if (!beast::iequals({expect.data(), expect.size()}, "100-continue"))
      return fail(errc::expectation_failed);
    if (http11_ && !p.is_done() && in_.empty()) {
      out_ += "HTTP/1.1 100 Continue\r\n\r\n";
      flush();
    }
  }
  if (p.is_done())
    return dispatch();
  phase_ = phase::body;
  p.eager(true);
  set_deadline(server_->options.header_timeout +
               std::chrono::seconds{server_->options.max_body / body_bytes_per_second / 16 + 1});
  parse_body();
}

void connection::parse_body() {
  auto& p = parser_->p;
  error_code e;
  while (!in_.empty() && !p.is_done()) {
    auto used = p.put(boost::asio::buffer(in_), e);
    in_.erase(0, used);
    if (e == beast::http::error::need_more || (!e && used == 0))
      break;
    if (e == beast::http::error::body_limit)
      return fail(errc::body_too_large);
    if (e)
      return fail(errc::bad_framing);
  }
  if (p.is_done())
    return dispatch();
  if (in_.size() > read_size)
    return fail(errc::bad_framing); // a chunk extension or trailer without end
  read();
}

void connection::dispatch() {
  request_.body = std::move(parser_->p.get().body());
  parser_.reset();
  if (in_.empty())
    in_.shrink_to_fit();
  phase_ = phase::handling;
  set_deadline(std::chrono::milliseconds{0}); // whoever handles it has deadlines of its own
  ++server_->stats.requests_total;
  auto e = std::make_shared<answer>(shared_from_this(), turn_);
  server_->handle(std::move(request_), std::move(e));
  request_ = {};
  watch_peer();
}

void connection::fail(errc code) {
  ++server_->stats.refused_total;
  keep_alive_ = false; // what follows on this connection cannot be trusted
  refused_ = true;
  in_.clear();
  parser_.reset();
  phase_ = phase::handling;
  answered_ = false;
  if (request_id_.empty())
    request_id_ = make_request_id();
  auto r = server_->failure(code, request_id_);
  respond(std::move(r), turn_);
}

void connection::watch_peer() {
  if (closed_ || reading_ || (phase_ != phase::handling && phase_ != phase::streaming) ||
      in_.size() >= read_size)
    return;
  reading_ = true;
  socket_.async_wait(tcp::socket::wait_read, [me = shared_from_this()](error_code e) {
    me->reading_ = false;
    if (e || me->closed_)
      return;
    char buffer[1024];
    auto n = me->socket_.read_some(boost::asio::buffer(buffer), e);
    if (e && e != boost::asio::error::would_block)
      return me->close();
    if (!e && me->phase_ != phase::streaming)
      me->in_.append(buffer, n); // pipelined; a stream is the last answer of its connection
    if (me->phase_ == phase::handling || me->phase_ == phase::streaming)
      me->watch_peer();
    else // the answer was given meanwhile, and this belongs to the next request
      me->consume();
  });
}

// -- writing
// ------------------------------------------------------------------------------------------

std::string connection::head_text(const response& r, bool stream) const {
  std::string out = "HTTP/1.1 " + std::to_string(r.status) + ' ';
  out += std::string{beast::http::obsolete_reason(static_cast<beast::http::status>(r.status))};
  out += "\r\n";
  char date[40];
  auto now = std::time(nullptr);
  std::tm t{};
  gmtime_r(&now, &t);
  std::strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &t);
  append_header(out, "Date", date);
  for (auto& h : r.headers)
    append_header(out, h.name, h.value);
  if (stream) {
    if (http11_)
      append_header(out, "Transfer-Encoding", "chunked");
    append_header(out, "Connection", "close");
  } else {
    if (r.status != 204 && r.status != 304)
      append_header(out, "Content-Length", std::to_string(r.body.size()));
    append_header(out, "Connection", keep_alive_ ? "keep-alive" : "close");
  }
  return out;
}

void connection::respond(response r, std::uint64_t turn) {
  if (closed_ || turn != turn_ || answered_ || phase_ != phase::handling)
    return;
  answered_ = true;
  auto text = head_text(r, false);
  append_header(text, "X-Request-Id", request_id_);
  text += "\r\n";
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
  phase_ = phase::streaming;
  out_ += head_text(head, true);
  append_header(out_, "X-Request-Id", request_id_);
  out_ += "\r\n";
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
      keepalive_at_ =
          keepalive_.empty() ? 0 : ticks(clock::now() + server_->options.keepalive_every * 2 / 3);
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

// -- the clock and the end
// ----------------------------------------------------------------------------

void connection::look_at_clock(clock::time_point now) {
  auto due = deadline_.load(), ka = keepalive_at_.load();
  auto late = due != 0 && ticks(now) >= due;
  auto quiet = ka != 0 && ticks(now) >= ka;
  if (!late && !quiet)
    return;
  boost::asio::post(socket_.get_executor(), [weak = weak_from_this(), late] {
    auto me = weak.lock();
    if (!me || me->closed_)
      return;
    if (late) {
      auto still_due = me->deadline_.load();
      if (still_due == 0 || ticks(clock::now()) < still_due)
        return;
      if ((me->phase_ == phase::head && (!me->in_.empty() || me->turn_ == 0)) ||
          me->phase_ == phase::body) {
        me->set_deadline(me->server_->options.write_timeout);
        return me->fail(errc::request_timeout);
      }
      return me->close();
    }
    if (me->phase_ == phase::streaming && !me->ending_ && me->backlog_.load() == 0 &&
        !me->waiting_write_) {
      me->keepalive_at_ = 0;
      auto piece = std::make_shared<const std::string>(me->keepalive_);
      me->backlog_.fetch_add(piece->size(), std::memory_order_relaxed);
      {
        std::lock_guard lock{me->mutex_};
        me->pending_.push_back(std::move(piece));
      }
      me->flush();
    }
  });
}

void connection::tell(signal s) {
  if (watcher_)
    watcher_(s);
}

void connection::shut() {
  boost::asio::post(socket_.get_executor(), [me = shared_from_this()] {
    if (me->phase_ == phase::streaming && !me->closed_) {
      me->ending_ = true;
      me->flush();
    } else {
      me->close();
    }
  });
}

void connection::close() {
  if (std::exchange(closed_, true))
    return;
  deadline_ = 0;
  keepalive_at_ = 0;
  error_code ignored;
  socket_.close(ignored);
  tell(signal::gone);
  watcher_ = nullptr;
  sending_.clear();
  std::lock_guard lock{mutex_};
  pending_.clear();
  backlog_ = 0;
}

} // namespace parlor::http
