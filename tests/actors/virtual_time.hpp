#pragma once
// Actors under CAF's test scheduler: time stands still until a test moves it, and hops from
// deadline to deadline.

#include "actors/interfaces.hpp"

#include <caf/scheduler/test_coordinator.hpp>

namespace parlor {

struct virtual_time_config : caf::actor_system_config {
  virtual_time_config() { set("scheduler.policy", caf::atom("testing")); }
};

struct virtual_time {
  virtual_time_config config;
  caf::actor_system system{config};
  caf::scheduler::test_coordinator& sched =
      dynamic_cast<caf::scheduler::test_coordinator&>(system.scheduler());
  /// A round time, which what CAF begins with is not: some things happen at round times.
  caf::actor_clock::time_point start = sched.clock().current_time =
      caf::actor_clock::time_point{std::chrono::hours{1}};
  std::vector<caf::actor> spawned;

  ~virtual_time() { stop(); }
  /// Ends what the test has spawned. To be called by whoever owns what the actors refer to.
  void stop() {
    for (auto& a : spawned)
      caf::anon_send_exit(a, caf::exit_reason::kill);
    spawned.clear();
    settle();
    sched.clock().cancel_all();
    settle();
  }
  template <class Handle>
  Handle owned(Handle h) {
    spawned.push_back(caf::actor_cast<caf::actor>(h));
    return h;
  }
  void settle() {
    while (sched.try_run_once())
      ;
  }
  /// As settle, with the actors that have something to do taken in any order.
  template <class Random>
  void settle_in_any_order(Random& random) {
    while (!sched.jobs.empty()) {
      std::swap(sched.jobs.front(), sched.jobs[random() % sched.jobs.size()]);
      sched.run_once();
    }
  }
  std::int64_t now_ms() const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(sched.clock().now() - start)
        .count();
  }
  void advance(std::chrono::milliseconds d) {
    auto& clock = sched.clock();
    auto end = clock.current_time + d;
    settle();
    while (!clock.schedule().empty() && clock.schedule().begin()->first <= end) {
      auto due = clock.schedule().begin()->first;
      clock.advance_time(due > clock.current_time ? due - clock.current_time : caf::timespan{0});
      settle();
    }
    clock.advance_time(end - clock.current_time);
    settle();
  }
};

} // namespace parlor
