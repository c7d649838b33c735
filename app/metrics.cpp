#include "app/metrics.hpp"

#include "actors/edge.hpp"
#include "actors/instrument.hpp"
#include "app/version.hpp"
#include "protocol/sse.hpp"

#include <boost/asio/steady_timer.hpp>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>

namespace parlor {

namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using labels = std::vector<ClientMetric::Label>;

struct page {
  std::vector<MetricFamily> families;

  MetricFamily& family(std::string name, std::string help, MetricType type) {
    families.push_back({std::move(name), std::move(help), type, {}});
    return families.back();
  }
  static void add(MetricFamily& f, double value, labels with = {}) {
    ClientMetric m;
    m.label = std::move(with);
    if (f.type == MetricType::Counter)
      m.counter.value = value;
    else
      m.gauge.value = value;
    f.metric.push_back(std::move(m));
  }
  void counter(std::string name, std::string help, double value) {
    add(family(std::move(name), std::move(help), MetricType::Counter), value);
  }
  void gauge(std::string name, std::string help, double value) {
    add(family(std::move(name), std::move(help), MetricType::Gauge), value);
  }
};

void add_actors(page& p) {
  auto each = [&](const char* name, const char* help, MetricType type, auto value) {
    auto& f = p.family(name, help, type);
    for (std::size_t i = 0; i < actor_kind_names.size(); ++i)
      page::add(f, value(all_actor_stats[i]), {{"kind", actor_kind_names[i]}});
  };
  each("parlor_actors", "Actors alive, for the kinds that are counted.", MetricType::Gauge,
       [](actor_stats& s) { return static_cast<double>(s.living.load()); });
  each("parlor_actor_handled_total", "Messages handled.", MetricType::Counter,
       [](actor_stats& s) { return static_cast<double>(s.handled.load()); });
  each("parlor_actor_handle_seconds_total", "Time spent in handlers.", MetricType::Counter,
       [](actor_stats& s) { return static_cast<double>(s.busy_ns.load()) / 1e9; });
  each("parlor_actor_mailbox_messages", "Messages waiting, at the last sample.", MetricType::Gauge,
       [](actor_stats& s) { return static_cast<double>(s.mailbox.load()); });
  each("parlor_actor_failures_total", "Actors that ended by an exception.", MetricType::Counter,
       [](actor_stats& s) { return static_cast<double>(s.failures.load()); });
}

void add_process(page& p) {
  rusage use{};
  getrusage(RUSAGE_SELF, &use);
  auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  p.counter("process_cpu_seconds_total", "CPU time used.",
            seconds(use.ru_utime) + seconds(use.ru_stime));
  long pages = 0, resident = 0;
  if (auto* f = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(f, "%ld %ld", &pages, &resident) != 2)
      resident = 0;
    std::fclose(f);
  }
  p.gauge("process_resident_memory_bytes", "Memory in RAM.",
          static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE)));
  double fds = 0;
  if (auto* d = opendir("/proc/self/fd")) {
    while (readdir(d) != nullptr)
      ++fds;
    closedir(d);
  }
  p.gauge("process_open_fds", "Open file descriptors.", fds > 3 ? fds - 3 : 0);
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  p.gauge("process_max_fds", "File descriptors allowed.", static_cast<double>(limit.rlim_cur));
}

} // namespace

std::string metrics_text(const metrics_sources& from) {
  page p;
  page::add(p.family("parlor_build_info", "The version that runs.", MetricType::Gauge), 1,
            {{"version", std::string{version()}}, {"commit", std::string{commit()}}});
  add_actors(p);
  auto& edges = stats_of_edges();
  p.gauge("parlor_subscribers", "Streams and answers waiting for events.",
          static_cast<double>(edges.watchers.load()));
  p.counter("parlor_events_delivered_total", "Events handed to connections.",
            static_cast<double>(edges.delivered.load()));
  auto& resumes = p.family("parlor_resumes_total", "Clients that came back with a cursor.",
                           MetricType::Counter);
  page::add(resumes, static_cast<double>(edges.resumed.load()), {{"result", "ok"}});
  page::add(resumes, static_cast<double>(edges.resets.load()), {{"result", "gap"}});
  p.counter("parlor_subscribers_dropped_total", "Slow readers that were cut.",
            static_cast<double>(edges.cut.load()));
  if (from.http != nullptr) {
    p.gauge("parlor_http_connections", "Open connections.",
            static_cast<double>(from.http->connections_open.load()));
    p.counter("parlor_http_connections_total", "Connections accepted.",
              static_cast<double>(from.http->connections_total.load()));
    p.counter("parlor_http_requests_total", "Requests that passed the framing gate.",
              static_cast<double>(from.http->requests_total.load()));
    p.counter("parlor_http_refused_total", "Requests refused before a handler saw them.",
              static_cast<double>(from.http->refused_total.load()));
  }
  auto& running = p.family("parlor_tasks_inflight", "Provider calls under way.", MetricType::Gauge);
  for (auto& [name, limit] : from.providers)
    page::add(running, static_cast<double>(limit->in_flight()), {{"provider", name}});
  auto& waiting = p.family("parlor_tasks_queued", "Tasks admitted that wait for a provider.",
                           MetricType::Gauge);
  for (auto& [name, limit] : from.providers)
    page::add(waiting, static_cast<double>(limit->waiting()), {{"provider", name}});
  p.gauge("parlor_drain_state", "1 while no new work is taken.", from.draining ? 1 : 0);
  add_process(p);
  return prometheus::TextSerializer{}.Serialize(p.families);
}

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
