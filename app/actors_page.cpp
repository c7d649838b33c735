#include "app/metrics.hpp"

#include "actors/instrument.hpp"
#include "protocol/sse.hpp"

#include <boost/asio/steady_timer.hpp>

#include <cstdio>

namespace parlor {

std::string actors_json() {
  std::string out = R"({"actors":[)";
  for (std::size_t i = 0; i < actor_kind_names.size(); ++i) {
    auto& s = all_actor_stats[i];
    char line[256];
    std::snprintf(
        line, sizeof line,
        R"(%s{"kind":"%s","living":%lld,"handled":%llu,"busy_seconds":%.6f,"mailbox":%llu,"failures":%llu})",
        i == 0 ? "" : ",", actor_kind_names[i], static_cast<long long>(s.living.load()),
        static_cast<unsigned long long>(s.handled.load()),
        static_cast<double>(s.busy_ns.load()) / 1e9,
        static_cast<unsigned long long>(s.mailbox.load()),
        static_cast<unsigned long long>(s.failures.load()));
    out += line;
  }
  return out + "]}";
}

namespace {

struct ticker : std::enable_shared_from_this<ticker> {
  ticker(boost::asio::io_context& io, http::exchange_ptr e) : timer{io}, exchange{std::move(e)} {}
  boost::asio::steady_timer timer;
  http::exchange_ptr exchange;
  std::atomic<bool> gone{false};

  void tick() {
    if (gone)
      return;
    if (exchange->backlog() < http::exchange::high_water)
      exchange->push(std::make_shared<const std::string>(sse::block({}, actors_json())));
    timer.expires_after(std::chrono::seconds{1});
    timer.async_wait([me = shared_from_this()](auto error) {
      if (!error)
        me->tick();
    });
  }
};

} // namespace

void stream_actors(boost::asio::io_context& io, http::exchange_ptr exchange,
                   std::vector<http::header> headers) {
  http::response head;
  head.headers = std::move(headers);
  head.headers.push_back({"Content-Type", "text/event-stream; charset=utf-8"});
  head.headers.push_back({"Cache-Control", "no-cache, no-transform"});
  head.headers.push_back({"X-Accel-Buffering", "no"});
  auto t = std::make_shared<ticker>(io, exchange);
  exchange->open(std::move(head), std::string{sse::keepalive});
  exchange->watch([w = std::weak_ptr{t}](http::signal s) {
    if (auto mine = w.lock(); mine && s == http::signal::gone)
      mine->gone = true; // the next tick is the last
  });
  t->tick();
}

} // namespace parlor
