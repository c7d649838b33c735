#include "http/answer.hpp"

#include "http/cork.hpp"

#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>

namespace parlor::http {

using boost::asio::dispatch;

void answer::respond(response r) {
  dispatch(c_->socket_.get_executor(),
           [c = c_, t = turn_, r = std::move(r)]() mutable { c->respond(std::move(r), t); });
}

void answer::label(std::uint8_t route) { c_->timer_.label(route); }

void answer::open(response head, std::string keepalive) {
  dispatch(c_->socket_.get_executor(),
           [c = c_, t = turn_, h = std::move(head), k = std::move(keepalive)]() mutable {
             c->open(std::move(h), std::move(k), t);
           });
}

void answer::push(chunk piece) {
  if (!piece || piece->empty())
    return;
  {
    std::lock_guard lock{c_->mutex_};
    if (c_->open_turn_ != turn_ || c_->end_asked_)
      return; // it would stand in another's answer
    c_->backlog_.push(piece->size());
    c_->pending_.push_back(std::move(piece));
    if (std::exchange(c_->flush_scheduled_, true))
      return;
  }
  cork::flush_soon(c_);
}

void answer::close() {
  {
    std::lock_guard lock{c_->mutex_};
    if (c_->open_turn_ != turn_)
      return;
    c_->end_asked_ = true; // leaves with the last piece
    if (std::exchange(c_->flush_scheduled_, true))
      return;
  }
  cork::flush_soon(c_);
}

void answer::abort() {
  boost::asio::post(c_->socket_.get_executor(), [c = c_, t = turn_] {
    if (c->turn_ != t)
      return;
    boost::system::error_code ignored;
    c->socket_.set_option(boost::asio::socket_base::linger{true, 0}, ignored);
    c->close();
  });
}

std::size_t answer::backlog() const noexcept {
  return c_->open_turn_ == turn_ ? c_->backlog_.bytes() : 0;
}

void answer::watch(std::function<void(signal)> f) {
  dispatch(c_->socket_.get_executor(), [c = c_, t = turn_, f = std::move(f)]() mutable {
    if (c->closed_ || c->turn_ != t)
      return f(signal::gone);
    c->watcher_ = std::move(f);
  });
}

} // namespace parlor::http
