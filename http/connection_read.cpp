// Requests: through the gate, into the parser, to the handler.

#include "http/answer.hpp"
#include "http/framing.hpp"
#include "http/glimpse.hpp"
#include "http/incoming.hpp"
#include "protocol/ids.hpp"

#include <boost/asio/post.hpp>

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <iterator>

namespace parlor::http {

namespace beast = boost::beast;
using error_code = boost::system::error_code;

namespace {

constexpr std::size_t read_size = 16 * 1024;

/// What chunks may have around them: as much as chunks of a byte have (5 bytes), and some more.
bool too_much_framing(std::size_t taken, std::size_t body) {
  return taken - body > 4 * read_size + 8 * body;
}

bool fit_to_repeat(std::string_view id) {
  return !id.empty() && id.size() <= 64 && std::all_of(id.begin(), id.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '.' || c == '-';
  });
}

std::string id_of(const request& r) {
  auto given = r.get("X-Request-Id");
  return fit_to_repeat(given) ? std::string{given} : make_request_id();
}

bool known(std::string_view method) {
  static constexpr std::string_view all[] = {"GET",   "HEAD",   "POST",   "PUT",
                                             "PATCH", "DELETE", "OPTIONS"};
  return std::find(std::begin(all), std::end(all), method) != std::end(all);
}

/// Elsewhere a body means nothing, and others may take it for the next request.
bool may_have_body(std::string_view method) {
  return method == "POST" || method == "PUT" || method == "PATCH";
}

} // namespace

void connection::read() {
  // A peer that is being answered is read from, too: to notice when it goes. What it pipelines
  // meanwhile waits here up to a limit, and beyond it in the kernel.
  if (closed_ || reading_)
    return;
  if (phase_ == phase::handling && in_.size() >= read_size) {
    if (!answered_)
      set_deadline(glance_every);
    return;
  }
  reading_ = true;
  // Nothing is buffered for a connection that says nothing: wait, then read.
  socket_.async_wait(tcp::socket::wait_read, [me = shared_from_this()](error_code e) {
    me->reading_ = false;
    if (me->closed_ || me->phase_ == phase::upgraded)
      return; // another reads now
    if (e)
      return me->close();
    std::array<char, read_size> buffer;
    auto n = ::recv(me->socket_.native_handle(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
      return me->read();
    if (n <= 0)
      return me->close();
    me->took({buffer.data(), static_cast<std::size_t>(n)});
  });
}

void connection::took(std::string_view bytes) {
  // A stream is watched to its end, so nothing can wait in the kernel meanwhile.
  if (phase_ == phase::streaming && in_.size() + bytes.size() > read_size) {
    ignoring_ = true;
    keep_alive_ = false;
    in_.clear();
  }
  if (phase_ == phase::closing || ignoring_)
    return read();
  in_ += bytes;
  if (answering())
    return read();
  consume();
}

void connection::consume() {
  if (phase_ == phase::body)
    return parse_body();
  if (phase_ == phase::idle && !in_.empty()) {
    phase_ = phase::head;
    set_deadline(server_->options.header_timeout);
  }
  if (phase_ != phase::head)
    return;
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
  begin(verdict.length);
}

/// The header section is whole and cannot be misunderstood. Who asks for what is decided here:
/// trailers come too late.
void connection::begin(std::size_t head_length) {
  timer_.begin();
  ++turn_;
  answered_ = false;
  incoming_ = std::make_unique<incoming>();
  incoming_->since = clock::now();
  auto& p = incoming_->parser;
  p.header_limit(static_cast<std::uint32_t>(server_->options.max_header + 1));
  p.body_limit(server_->options.max_body);
  error_code e;
  auto used = p.put(boost::asio::buffer(in_.data(), head_length), e);
  if ((e && e != beast::http::error::need_more) || !p.is_header_done())
    return fail(e == beast::http::error::body_limit ? errc::body_too_large : errc::bad_framing);
  in_.erase(0, used);
  auto& r = incoming_->head;
  r.method = std::string{p.get().method_string()};
  set_target(r, {p.get().target().data(), p.get().target().size()});
  r.headers.reserve(static_cast<std::size_t>(std::distance(p.get().begin(), p.get().end())));
  for (auto& f : p.get())
    r.headers.push_back({std::string{f.name_string()}, std::string{f.value()}});
  r.remote = remote_;
  request_id_ = r.id = id_of(r);
  http11_ = p.get().version() == 11;
  auto& o = server_->options;
  auto worn = ++requests_ >= o.max_requests || incoming_->since - since_ >= o.max_age;
  keep_alive_ = p.keep_alive() && !worn;
  head_only_ = r.method == "HEAD";
  if (requests_ == 1 && one_too_many())
    return fail(errc::too_many_connections);
  if (!known(r.method))
    return fail(errc::not_implemented);
  if (!p.is_done() && !may_have_body(r.method))
    return fail(errc::bad_framing);
  auto length = p.content_length();
  if (length && *length > server_->options.max_body)
    return fail(errc::body_too_large);
  if (length && !server_->bodies.fits(*length)) // before it is sent in vain
    return fail(errc::saturated);
  // Who may not come in shall not fill the room for bodies.
  if (server_->guard && !p.is_done() && (!length || *length > small_body))
    if (auto answer = server_->guard(r)) {
      ++server_->stats.requests_total;
      return end_with(std::move(*answer));
    }
  auto waits = false;
  for (auto& f : r.headers) {
    if (f.value.empty() || !beast::iequals(f.name, "Expect"))
      continue;
    if (!beast::iequals(f.value, "100-continue"))
      return fail(errc::expectation_failed);
    waits = true;
  }
  if (waits && http11_ && !p.is_done() && in_.empty()) {
    out_ += "HTTP/1.1 100 Continue\r\n\r\n";
    flush();
  }
  if (p.is_done())
    return dispatch();
  phase_ = phase::body;
  incoming_->due = incoming_->since + server_->options.body_timeout;
  p.eager(true);
  parse_body();
}

void connection::parse_body() {
  auto& p = incoming_->parser;
  error_code e;
  auto before = p.get().body().size();
  while (!in_.empty() && !p.is_done()) {
    auto used = p.put(boost::asio::buffer(in_), e);
    in_.erase(0, used);
    incoming_->body_taken += used;
    if (too_much_framing(incoming_->body_taken, p.get().body().size()))
      return fail(errc::bad_framing);
    if (e == beast::http::error::need_more || (!e && used == 0))
      break;
    if (e == beast::http::error::body_limit)
      return fail(errc::body_too_large);
    if (e)
      return fail(errc::bad_framing);
  }
  if (!body_room_.resize(p.get().body().size()))
    return fail(errc::saturated);
  if (p.is_done())
    return dispatch();
  if (in_.size() > read_size)
    return fail(errc::bad_framing); // a chunk extension or trailer without end
  auto& o = server_->options;
  incoming_->due = bought_by(p.get().body().size() - before, o.body_rate, incoming_->due,
                             clock::now(), o.body_timeout);
  deadline_ = as_ticks(incoming_->due);
  read();
}

void connection::dispatch() {
  auto r = std::move(incoming_->head);
  handshake_.reset();
  auto upgrading = asks_for_websocket(r);
  auto asked = upgrading ? r : request{};
  r.body = std::move(incoming_->parser.get().body());
  if (upgrading) {
    handshake_ = std::make_unique<handshake>(read_handshake(r));
    handshake_->asked = std::move(asked);
  }
  incoming_.reset();
  if (in_.empty())
    in_.shrink_to_fit();
  phase_ = phase::handling;
  deadline_ = 0; // whoever handles it has deadlines of its own
  ++server_->stats.requests_total;
  {
    std::lock_guard lock{mutex_};
    open_turn_ = turn_;
  }
  server_->handle(std::move(r), std::make_shared<answer>(shared_from_this(), turn_));
  if (answering())
    read();
}

/// When it came, and still: none of its client's others has gone.
bool connection::one_too_many() const {
  if (!client_.over)
    return false;
  std::lock_guard lock{server_->mutex};
  return server_->clients[client_.number] > server_->options.max_connections_per_client;
}

void connection::fail(errc code) {
  ++server_->stats.refused_total;
  timer_.begin();
  auto seen = incoming_ && !incoming_->head.id.empty() ? std::move(incoming_->head) : glimpse(in_);
  if (seen.id.empty())
    seen.id = id_of(seen);
  seen.remote = remote_;
  request_id_ = seen.id;
  head_only_ = seen.method == "HEAD";
  end_with(server_->failure(code, seen));
}

/// The last answer of this connection: what follows cannot be trusted, or will not be read.
void connection::end_with(response last) {
  keep_alive_ = false;
  ignoring_ = true;
  in_.clear();
  incoming_.reset();
  phase_ = phase::handling;
  answered_ = false;
  respond(std::move(last), turn_);
}

} // namespace parlor::http
