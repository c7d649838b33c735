// What it costs to get from a socket's thread to an actor and back, and how many messages actors
// pass on, under three schedulers in one run: ours on Asio, and CAF's own two.
//
//   crossing   an Asio handler sends to an actor, whose handler posts back to Asio
//   relay      1000 tasks -> 1000 sessions -> 2 edges, 100 messages each: deliveries a second

#include "actors/asio_scheduler.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include <caf/all.hpp>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <functional>
#include <future>
#include <optional>
#include <sys/resource.h>
#include <thread>
#include <vector>

namespace {
using text_ptr = std::shared_ptr<const std::string>;
}
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(text_ptr)

namespace {

using steady = std::chrono::steady_clock;
using cross = caf::atom_constant<caf::atom("cross")>;
using token = caf::atom_constant<caf::atom("token")>;
using produce = caf::atom_constant<caf::atom("produce")>;

enum class kind { asio, sharing, stealing };
constexpr std::array kinds{kind::asio, kind::sharing, kind::stealing};
constexpr std::array<const char*, 3> names{"on Asio (ours)", "CAF sharing", "CAF stealing"};
constexpr std::size_t threads = 2;

/// An actor system and an io_context that runs, however the two share threads.
struct host {
  boost::asio::io_context io;
  caf::actor_system_config config;
  std::optional<caf::actor_system> system;
  std::optional<boost::asio::executor_work_guard<boost::asio::io_context::executor_type>> guard;
  std::thread own;

  explicit host(kind k) {
    if (k == kind::asio) {
      parlor::host_on(config, io, threads);
    } else {
      config.set("scheduler.policy",
                 k == kind::sharing ? caf::atom("sharing") : caf::atom("stealing"));
      config.set("scheduler.max-threads", threads);
      config.set("scheduler.max-throughput", std::size_t{64});
      guard.emplace(io.get_executor());
      own = std::thread{[this] { io.run(); }};
    }
    system.emplace(config);
  }
  ~host() {
    system.reset();
    guard.reset();
    if (own.joinable())
      own.join();
  }
};

double cpu_seconds() {
  rusage u{};
  getrusage(RUSAGE_SELF, &u);
  auto s = [](timeval t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return s(u.ru_utime) + s(u.ru_stime);
}

struct crossings {
  std::vector<double> us;
  std::promise<void> done;
};

/// `rounds` crossings, with a pause before each.
std::vector<double> measure_crossing(kind k, int rounds, std::chrono::milliseconds pause) {
  host h{k};
  crossings c;
  std::function<void()> next;
  caf::actor there = h.system->spawn([&](caf::event_based_actor*) -> caf::behavior {
    return {[&](cross, std::int64_t sent) {
      boost::asio::post(h.io, [&, sent] {
        c.us.push_back(1e-3 * static_cast<double>(steady::now().time_since_epoch().count() - sent));
        if (static_cast<int>(c.us.size()) == rounds)
          c.done.set_value();
        else if (pause.count() == 0)
          next();
      });
    }};
  });
  next = [&] {
    caf::anon_send(there, cross::value,
                   static_cast<std::int64_t>(steady::now().time_since_epoch().count()));
  };
  auto finished = c.done.get_future();
  boost::asio::post(h.io, [&] { next(); });
  if (pause.count() != 0)
    for (int i = 1; i < rounds; ++i) {
      std::this_thread::sleep_for(pause);
      boost::asio::post(h.io, [&] { next(); });
    }
  finished.get();
  caf::anon_send_exit(there, caf::exit_reason::kill);
  std::sort(c.us.begin(), c.us.end());
  return c.us;
}

struct relay_result {
  double per_second;
  double cpu_us;
};

relay_result measure_relay(kind k) {
  constexpr int sessions = 1000, messages = 100, edges = 2;
  host h{k};
  std::atomic<int> left{sessions * messages};
  std::promise<void> done;
  std::vector<caf::actor> edge_actors, session_actors, task_actors;
  for (int i = 0; i < edges; ++i)
    edge_actors.push_back(h.system->spawn([&](caf::event_based_actor*) -> caf::behavior {
      return {[&](token, const text_ptr&) {
        if (left.fetch_sub(1) == 1)
          done.set_value();
      }};
    }));
  for (int i = 0; i < sessions; ++i) {
    auto edge = edge_actors[static_cast<std::size_t>(i % edges)];
    session_actors.push_back(h.system->spawn([edge](caf::event_based_actor* self) -> caf::behavior {
      return {[=](token, const text_ptr& s) { self->send(edge, token::value, s); }};
    }));
  }
  for (int i = 0; i < sessions; ++i) {
    auto session = session_actors[static_cast<std::size_t>(i)];
    task_actors.push_back(h.system->spawn([session](caf::event_based_actor* self) -> caf::behavior {
      return {[=](produce) {
        text_ptr text = std::make_shared<const std::string>("token ");
        for (int n = 0; n < messages; ++n)
          self->send(session, token::value, text);
      }};
    }));
  }
  auto from = steady::now();
  auto cpu = cpu_seconds();
  boost::asio::post(h.io, [&] {
    for (auto& t : task_actors)
      caf::anon_send(t, produce::value);
  });
  done.get_future().get();
  auto took = std::chrono::duration<double>(steady::now() - from).count();
  cpu = cpu_seconds() - cpu;
  for (auto* group : {&edge_actors, &session_actors, &task_actors})
    for (auto& a : *group)
      caf::anon_send_exit(a, caf::exit_reason::kill);
  return {sessions * messages / took, cpu * 1e6 / (sessions * messages)};
}

double at(const std::vector<double>& sorted, double share) {
  return sorted[static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1))];
}

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return at(v, 0.5);
}

} // namespace

int main(int argc, char** argv) {
  auto repeats = argc > 1 && std::strcmp(argv[1], "--full") == 0 ? 9 : 3;
  struct figures {
    std::vector<double> busy50, busy99, idle50, relay, cpu;
  };
  std::array<figures, kinds.size()> all;
  for (int i = 0; i < repeats;
       ++i) // one after the other, so that the machine's moods hit all alike
    for (std::size_t k = 0; k < kinds.size(); ++k) {
      auto busy = measure_crossing(kinds[k], 20'000, std::chrono::milliseconds{0});
      auto idle = measure_crossing(kinds[k], 20, std::chrono::milliseconds{50});
      auto relay = measure_relay(kinds[k]);
      all[k].busy50.push_back(at(busy, 0.5));
      all[k].busy99.push_back(at(busy, 0.99));
      all[k].idle50.push_back(at(idle, 0.5));
      all[k].relay.push_back(relay.per_second / 1e6);
      all[k].cpu.push_back(relay.cpu_us);
    }
  std::printf(
      "| scheduler, %zu threads | crossing p50 µs | p99 µs | p50 after 50 ms idle µs | relayed "
      "M/s | CPU µs a message |\n|---|---|---|---|---|---|\n",
      threads);
  for (std::size_t k = 0; k < kinds.size(); ++k)
    std::printf("| %s | %.1f | %.1f | %.0f | %.2f | %.2f |\n", names[k], median(all[k].busy50),
                median(all[k].busy99), median(all[k].idle50), median(all[k].relay),
                median(all[k].cpu));
}
