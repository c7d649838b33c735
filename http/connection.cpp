#include "http/connection.hpp"

#include "http/parser.hpp"
#include "http/websocket_stream.hpp"
#include "protocol/notice.hpp"

#include <boost/asio/post.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace parlor::http {

using error_code = boost::system::error_code;

connection::connection(tcp::socket socket, std::shared_ptr<server::shared> server)
    : socket_{std::move(socket)}, server_{std::move(server)}, timer_{server_->stats.requests} {
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
  deadline_ = from_now.count() == 0 ? 0 : as_ticks(clock::now() + from_now);
}

void connection::look_at_clock(clock::time_point now) {
  if (auto w = upgraded())
    return w->look_at_clock(now);
  auto due = deadline_.load(), ka = keepalive_at_.load();
  auto late = due != 0 && as_ticks(now) >= due;
  auto quiet = ka != 0 && as_ticks(now) >= ka;
  if (!late && !quiet)
    return;
  boost::asio::post(socket_.get_executor(), [weak = weak_from_this(), late] {
    auto me = weak.lock();
    if (!me || me->closed_)
      return;
    if (late) {
      auto still_due = me->deadline_.load();
      if (still_due == 0 || as_ticks(clock::now()) < still_due)
        return;
      if ((me->phase_ == phase::head && (!me->in_.empty() || me->turn_ == 0)) ||
          me->phase_ == phase::body) {
        me->set_deadline(me->server_->options.write_timeout);
        return me->fail(errc::request_timeout);
      }
      if (me->waiting_write_) {
        ++me->server_->stats.stalled_total;
        notice(log_level::warn, "stalled_reader_cut",
               {{"remote", me->remote_}, {"request_id", me->request_id_}});
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
  if (auto w = upgraded())
    return w->close(close_code::restart, {});
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
  timer_.end();
  tell(signal::gone);
  watcher_ = nullptr;
  sending_.clear();
  std::lock_guard lock{mutex_};
  pending_.clear();
  backlog_ = 0;
}

} // namespace parlor::http
