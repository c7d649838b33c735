#pragma once
// What operators see: Prometheus text and the actors' snapshot. Reads atomics only; any thread.

#include "http/server.hpp"
#include "llm/limiter.hpp"

#include <boost/asio/io_context.hpp>

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace parlor {

struct metrics_sources {
  const http::server_stats* http = nullptr;
  std::vector<std::pair<std::string, std::shared_ptr<llm::limiter>>> providers;
  bool draining = false;
};

std::string metrics_text(const metrics_sources& from);
/// `{"actors":[{"kind","living","handled","busy_seconds","mailbox","failures"}]}`
std::string actors_json();
/// One snapshot a second until the peer has gone.
void stream_actors(boost::asio::io_context& io, http::exchange_ptr exchange,
                   std::vector<http::header> headers);

} // namespace parlor
