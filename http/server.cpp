#include "http/server.hpp"

#include "http/connection.hpp"
#include "protocol/notice.hpp"

#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <climits>

namespace parlor::http {

namespace {

constexpr auto sweep_every = std::chrono::milliseconds{500};
constexpr auto pause_after_failure = std::chrono::milliseconds{100};
// One would be too few: a busy loop's turns are long, and who waits in the kernel is not answered
// at all.
constexpr int accepts_per_turn = 32;
using error_code = boost::system::error_code;

/// One timer for all deadlines and keepalives, only while there are connections.
void sweep(const std::shared_ptr<server::shared>& s) {
  s->sweep_timer.expires_after(sweep_every);
  s->sweep_timer.async_wait([s](error_code e) {
    std::lock_guard lock{s->mutex};
    if (e || s->open.empty()) {
      s->sweeping = false;
      return;
    }
    auto now = clock::now();
    for (auto& c : s->open)
      c.look_at_clock(now);
    sweep(s);
  });
}

/// What an accepted socket inherits: it needs no call of its own for any of these.
void prepare(int listening, std::chrono::milliseconds write_timeout) {
  auto set = [listening](int level, int name, auto value) {
    setsockopt(listening, level, name, &value, sizeof value);
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  // A peer that has vanished is noticed though nothing is being said (docs/hard-edges.md, S5).
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 10);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 5);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
  // The kernel counts a window that stays shut, too, so its patience is not to end before ours.
  auto patience = std::max<std::int64_t>(30'000, write_timeout.count() + 2'000);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT,
      static_cast<unsigned>(std::min<std::int64_t>(patience, INT_MAX)));
}

void accepted(const std::shared_ptr<server::shared>& s, connection_socket socket) {
  auto executor = socket.get_executor();
  auto remote = s->peer.address().to_string();
  auto client = s->count_from(s->peer.address());
  if (!client) {
    ++s->stats.turned_away_total;
    static seldom said{1000};
    if (auto held = said.pass(steady_ms()); held >= 0)
      notice(log_level::warn, "client_over_limit",
             {{"remote", remote}, {"not_shown", held == 0 ? std::string{} : std::to_string(held)}});
    return;
  }
  auto c = std::make_shared<connection>(std::move(socket), std::move(remote), *client, s);
  boost::asio::dispatch(executor, [c] { c->start(); });
  std::lock_guard lock{s->mutex};
  if (!std::exchange(s->sweeping, true))
    sweep(s);
}

/// Else who comes now waits in the kernel until somebody has gone.
bool room_for_one(server::shared& s) {
  std::lock_guard lock{s.mutex};
  s.waiting_for_room = s.stats.connections_open >= s.options.max_connections;
  return !s.waiting_for_room && !s.stopped;
}

} // namespace

void accept_next(const std::shared_ptr<server::shared>& s) {
  if (!room_for_one(*s))
    return;
  s->acceptor.async_wait(tcp::acceptor::wait_read, [s](error_code e) {
    if (e == boost::asio::error::operation_aborted)
      return;
    for (int n = 0; !e && n < accepts_per_turn; ++n) {
      if (!room_for_one(*s))
        return;
      connection_socket socket{boost::asio::make_strand(s->io)};
      s->acceptor.accept(socket, s->peer, e);
      if (!e)
        accepted(s, std::move(socket));
    }
    if (!e || e == boost::asio::error::would_block || e == boost::asio::error::connection_aborted)
      return accept_next(s);
    // Out of descriptors, most likely: accepting again at once would only burn the processor.
    s->pause.expires_after(pause_after_failure);
    s->pause.async_wait([s](error_code stop) {
      if (!stop)
        accept_next(s);
    });
  });
}

std::optional<counted_client> server::shared::count_from(const boost::asio::ip::address& a) {
  if (std::any_of(options.many_clients.begin(), options.many_clients.end(),
                  [&a](const network& n) { return n.has(a); }))
    return counted_client{};
  auto client = client_of(a);
  std::lock_guard lock{mutex};
  auto& n = clients[client];
  if (n >= 2 * options.max_connections_per_client)
    return std::nullopt;
  return counted_client{client, ++n > options.max_connections_per_client};
}

/// The one of `known` that equals `value`; at most 16 are remembered.
template <class T>
std::shared_ptr<const T> same(std::vector<std::shared_ptr<const T>>& known, T value) {
  for (auto& k : known)
    if (*k == value)
      return k;
  auto made = std::make_shared<const T>(std::move(value));
  if (known.size() < 16)
    known.push_back(made);
  return made;
}

chunk server::shared::shared_text(std::string text) {
  if (text.empty())
    return {};
  std::lock_guard lock{mutex};
  return same(texts, std::move(text));
}

std::shared_ptr<const websocket_options>
server::shared::shared_options(const websocket_options& o) {
  std::lock_guard lock{mutex};
  return same(sockets, o);
}

server::server(boost::asio::io_context& io, server_options options, handler handle,
               failure_body failure, body_guard guard)
    : state_{std::make_shared<shared>(io, std::move(options), std::move(handle), std::move(failure),
                                      std::move(guard))} {}

server::~server() { stop_accepting(); }

void server::start() {
  auto& o = state_->options;
  tcp::endpoint at{boost::asio::ip::make_address(o.address), o.port};
  auto& a = state_->acceptor;
  error_code e;
  a.open(at.protocol(), e);
  a.set_option(tcp::acceptor::reuse_address{true}, e);
  a.bind(at, e);
  if (!e) {
    prepare(a.native_handle(), o.write_timeout);
    a.listen(4096, e);
  }
  if (!e)
    a.non_blocking(true, e);
  if (e)
    throw std::system_error{e, "cannot listen on " + o.address + ':' + std::to_string(o.port)};
  accept_next(state_);
}

unsigned short server::port() const {
  error_code e;
  return state_->acceptor.local_endpoint(e).port();
}

void server::stop_accepting() {
  {
    std::lock_guard lock{state_->mutex};
    state_->stopped = true;
  }
  boost::asio::post(state_->acceptor.get_executor(), [s = state_] {
    error_code ignored;
    s->acceptor.close(ignored);
    s->pause.cancel();
  });
}

void server::close_all() {
  std::vector<std::shared_ptr<listed>> all;
  {
    std::lock_guard lock{state_->mutex};
    for (auto& c : state_->open)
      if (auto strong = c.hold())
        all.push_back(std::move(strong));
  }
  for (auto& c : all)
    c->shut();
  boost::asio::post(state_->acceptor.get_executor(), [s = state_] { s->sweep_timer.cancel(); });
}

const server_stats& server::stats() const { return state_->stats; }

} // namespace parlor::http
