#include "http/connection.hpp"

#include "http/incoming.hpp"
#include "protocol/notice.hpp"

#include <boost/asio/post.hpp>

#include <poll.h>

namespace parlor::http {

using error_code = boost::system::error_code;

connection::connection(connection_socket socket, std::string remote, counted_client client,
                       std::shared_ptr<server::shared> server)
    : listed{std::move(server), client}, socket_{std::move(socket)}, remote_{std::move(remote)},
      timer_{server_->stats.requests} {
  enter();
}

connection::~connection() { leave(); }

void connection::start() {
  set_deadline(server_->options.header_timeout);
  phase_ = phase::head;
  read();
}

void connection::set_deadline(std::chrono::milliseconds from_now) {
  deadline_ = as_ticks(clock::now() + from_now);
}

void connection::look_at_clock(clock::time_point now) {
  auto past = [now](std::int64_t t) { return t != 0 && as_ticks(now) >= t; };
  if (!past(deadline_) && !past(keepalive_at_))
    return;
  boost::asio::post(socket_.get_executor(), [weak = weak_from_this()] {
    auto me = weak.lock();
    if (!me || me->closed_)
      return;
    auto then = as_ticks(clock::now()); // things may have moved on meanwhile
    if (auto due = me->deadline_.load(); due != 0 && then >= due)
      return me->late();
    if (auto due = me->keepalive_at_.load(); due != 0 && then >= due)
      me->keep_alive();
  });
}

void connection::late() {
  if ((phase_ == phase::head && (!in_.empty() || turn_ == 0)) || phase_ == phase::body) {
    set_deadline(server_->options.write_timeout);
    return fail(errc::request_timeout);
  }
  if (phase_ == phase::handling && !answered_) { // a peer that is not read from
    pollfd peer{socket_.native_handle(), POLLRDHUP, 0};
    if (poll(&peer, 1, 0) == 0)
      return set_deadline(glance_every);
  }
  if (waiting_write_ && answered_) {
    auto again = progress_.look(socket_.native_handle(), server_->options.write_timeout);
    if (again != again.zero())
      return set_deadline(again);
    ++server_->stats.stalled_total;
    notice(log_level::warn, "stalled_reader_cut",
           {{"remote", remote_}, {"request_id", request_id_}});
  }
  close();
}

void connection::keep_alive() {
  if (phase_ != phase::streaming || ending_ || waiting_write_ || backlog_.bytes() != 0)
    return;
  keepalive_at_ = 0;
  {
    std::lock_guard lock{mutex_};
    if (end_asked_)
      return;
    backlog_.add(keepalive_->size());
    pending_.push_back(keepalive_);
  }
  flush();
}

void connection::tell(signal s) {
  if (watcher_)
    watcher_(s);
}

void connection::shut() {
  boost::asio::post(socket_.get_executor(), [me = shared_from_this()] {
    me->keep_alive_ = false;
    if (me->phase_ != phase::streaming || me->closed_)
      return me->close();
    {
      std::lock_guard lock{me->mutex_};
      me->end_asked_ = true;
    }
    me->flush();
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
  {
    std::lock_guard lock{mutex_};
    open_turn_ = 0;
    pending_.clear();
    backlog_.clear();
  }
  sending_.clear();
  body_room_.give_back();
  tell(signal::gone);
  watcher_ = nullptr;
}

} // namespace parlor::http
