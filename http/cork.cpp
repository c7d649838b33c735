#include "http/cork.hpp"

#include "http/shared.hpp"

#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <utility>

namespace parlor::http {

namespace {

thread_local cork* outermost = nullptr;

void post_flush(std::shared_ptr<listed> peer) {
  auto& strand = peer->strand();
  boost::asio::post(strand, [p = std::move(peer)] { p->flush(); });
}

void flush_in_turn(const std::shared_ptr<listed>& peer) {
  boost::asio::dispatch(peer->strand(), [peer] { peer->flush(); });
}

} // namespace

cork::cork(last how) noexcept : how_{how} {
  if (outermost == nullptr)
    outermost = this;
}

cork::~cork() {
  if (outermost != this)
    return;
  outermost = nullptr;
  if (how_ == last::written)
    std::ranges::for_each(held_, flush_in_turn);
  else
    post_flushes();
}

void cork::flush_soon(std::shared_ptr<listed> peer) {
  if (outermost == nullptr)
    return post_flush(std::move(peer));
  auto& held = outermost->held_;
  held.push_back(std::move(peer));
  if (held.size() == at_once)
    outermost->post_flushes();
}

void cork::post_flushes() {
  if (held_.empty())
    return;
  if (held_.size() == 1) {
    post_flush(std::move(held_.front()));
  } else {
    auto loop = held_.front()->strand().get_inner_executor();
    boost::asio::post(loop,
                      [all = std::move(held_)] { std::ranges::for_each(all, flush_in_turn); });
  }
  held_.clear();
}

} // namespace parlor::http
