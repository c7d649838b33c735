#include "http/cork.hpp"

#include "http/shared.hpp"

#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>

#include <utility>

namespace parlor::http {

namespace {

thread_local cork* innermost = nullptr;

void post_flush(std::shared_ptr<listed> peer) {
  auto& strand = peer->strand();
  boost::asio::post(strand, [p = std::move(peer)] { p->flush(); });
}

} // namespace

cork::cork() noexcept : outer_{std::exchange(innermost, this)} {}

cork::~cork() {
  innermost = outer_;
  send_off();
}

void cork::flush_soon(std::shared_ptr<listed> peer) {
  if (innermost == nullptr)
    return post_flush(std::move(peer));
  auto& held = innermost->held_;
  held.push_back(std::move(peer));
  if (held.size() == at_once)
    innermost->send_off();
}

void cork::send_off() {
  if (held_.empty())
    return;
  if (held_.size() == 1) {
    post_flush(std::move(held_.front()));
  } else {
    auto loop = held_.front()->strand().get_inner_executor();
    boost::asio::post(loop, [all = std::move(held_)] {
      for (auto& p : all)
        boost::asio::dispatch(p->strand(), [p] { p->flush(); });
    });
  }
  held_.clear();
}

} // namespace parlor::http
