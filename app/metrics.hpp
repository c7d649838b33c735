#pragma once
// What operators see: Prometheus text and the actors' snapshot. Reads atomics only; any thread.

#include "actors/measures.hpp"
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
  struct model {
    std::string provider;
    std::string name; // as configured; "*": every name no other model has
    std::shared_ptr<const call_stats> calls;
  };
  std::vector<model> models;
  std::string store_path;
  bool draining = false;
};

/// The series are always the same, whatever clients send: labels are from the configuration and
/// from the tables of the program, and every series is there from the start.
std::string metrics_text(const metrics_sources& from);
/// `{"actors":[{"kind","living","handled","busy_seconds","mailbox","failures"}]}`
std::string actors_json();
/// One snapshot a second until the peer has gone.
void stream_actors(boost::asio::io_context& io, http::exchange_ptr exchange,
                   std::vector<http::header> headers);

} // namespace parlor
