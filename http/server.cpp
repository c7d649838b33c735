#include "http/server.hpp"

#include "http/connection.hpp"

#include <boost/asio/post.hpp>

namespace parlor::http {

namespace {

constexpr auto sweep_every = std::chrono::milliseconds{500};
using error_code = boost::system::error_code;

/// One timer for all deadlines and keepalives, only while there are connections.
void sweep(const std::shared_ptr<server::shared>& s) {
  s->sweep_timer.expires_after(sweep_every);
  s->sweep_timer.async_wait([s](error_code e) {
    std::lock_guard lock{s->mutex};
    if (e || s->stopped || s->open.empty()) {
      s->sweeping = false;
      return;
    }
    auto now = clock::now();
    for (auto* c : s->open)
      c->look_at_clock(now);
    sweep(s);
  });
}

void accept(const std::shared_ptr<server::shared>& s);

void accept_later(const std::shared_ptr<server::shared>& s, std::chrono::milliseconds pause) {
  s->pause.expires_after(pause);
  s->pause.async_wait([s](error_code stop) {
    if (!stop)
      accept(s);
  });
}

void accept(const std::shared_ptr<server::shared>& s) {
  // Who comes now waits in the kernel until somebody has gone.
  if (s->stats.connections_open >= s->options.max_connections)
    return accept_later(s, std::chrono::milliseconds{20});
  s->acceptor.async_accept(boost::asio::make_strand(s->io), [s](error_code e, tcp::socket socket) {
    {
      std::lock_guard lock{s->mutex};
      if (s->stopped)
        return;
    }
    if (e) {
      if (e == boost::asio::error::operation_aborted)
        return;
      // Out of descriptors, most likely: accepting again at once would only burn the processor.
      return accept_later(s, std::chrono::milliseconds{100});
    }
    auto executor = socket.get_executor();
    auto c = std::make_shared<connection>(std::move(socket), s);
    boost::asio::post(executor, [c] { c->start(); });
    {
      std::lock_guard lock{s->mutex};
      if (!std::exchange(s->sweeping, true))
        sweep(s);
    }
    accept(s);
  });
}

} // namespace

server::server(boost::asio::io_context& io, server_options options, handler handle,
               failure_body failure)
    : state_{std::make_shared<shared>(io, std::move(options), std::move(handle),
                                      std::move(failure))} {}

server::~server() { stop_accepting(); }

void server::start() {
  auto& o = state_->options;
  tcp::endpoint at{boost::asio::ip::make_address(o.address), o.port};
  auto& a = state_->acceptor;
  error_code e;
  a.open(at.protocol(), e);
  a.set_option(tcp::acceptor::reuse_address{true}, e);
  a.bind(at, e);
  if (!e)
    a.listen(4096, e);
  if (e)
    throw std::system_error{e, "cannot listen on " + o.address + ':' + std::to_string(o.port)};
  accept(state_);
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
  std::vector<std::shared_ptr<connection>> all;
  {
    std::lock_guard lock{state_->mutex};
    for (auto* c : state_->open)
      if (auto strong = c->weak_from_this().lock())
        all.push_back(std::move(strong));
  }
  for (auto& c : all)
    c->shut();
  boost::asio::post(state_->acceptor.get_executor(), [s = state_] { s->sweep_timer.cancel(); });
}

const server_stats& server::stats() const { return state_->stats; }

} // namespace parlor::http
