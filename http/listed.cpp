// Who is connected: counted, listed, and let go again.

#include "http/shared.hpp"

#include <boost/asio/post.hpp>

#include <utility>

namespace parlor::http {

listed::listed(std::shared_ptr<server::shared> s, counted_client client)
    : server_{std::move(s)}, client_{client} {}

listed::~listed() = default;

void listed::enter() {
  std::lock_guard lock{server_->mutex};
  server_->open.push_back(*this);
  ++server_->stats.connections_open;
  ++server_->stats.connections_total;
}

void listed::take_place_of(listed& other) {
  std::lock_guard lock{server_->mutex};
  client_ = other.client_;
  auto& all = server_->open;
  all.insert(all.erase(all.iterator_to(other)), *this);
}

void listed::leave() {
  std::lock_guard lock{server_->mutex};
  if (!is_linked())
    return;
  server_->open.erase(server_->open.iterator_to(*this));
  if (auto i = server_->clients.find(client_.number);
      i != server_->clients.end() && --i->second == 0)
    server_->clients.erase(i);
  if (std::exchange(server_->waiting_for_room, false))
    boost::asio::post(server_->acceptor.get_executor(), [s = server_] { accept_next(s); });
  --server_->stats.connections_open;
}

} // namespace parlor::http
