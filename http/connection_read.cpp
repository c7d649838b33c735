// Requests: through the gate, into the parser, to the handler.

#include "http/answer.hpp"
#include "http/framing.hpp"
#include "http/parser.hpp"
#include "protocol/ids.hpp"

#include <boost/asio/post.hpp>

#include <algorithm>

namespace parlor::http {

namespace beast = boost::beast;
using error_code = boost::system::error_code;

namespace {

constexpr std::size_t read_size = 16 * 1024;
constexpr std::uint64_t body_bytes_per_second =
    16 * 1024; // a body may take longer the larger it is

bool fit_to_repeat(std::string_view id) {
  return !id.empty() && id.size() <= 64 && std::all_of(id.begin(), id.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '.' || c == '-';
  });
}

} // namespace

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

  timer_.begin();
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
  handshake_.reset();
  if (asks_for_websocket(request_))
    handshake_ = std::make_unique<handshake>(read_handshake(request_));
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
  timer_.begin();
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

} // namespace parlor::http
