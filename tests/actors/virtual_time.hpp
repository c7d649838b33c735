#pragma once
// Actors under CAF's test scheduler: time stands still until a test moves it, and hops from
// deadline to deadline.

#include "actors/interfaces.hpp"

#include <caf/scheduler/test_coordinator.hpp>

namespace parlor {

struct virtual_time_config : caf::actor_system_config {
  virtual_time_config();
};

struct virtual_time {
  virtual_time_config config;
  caf::actor_system system{config};
  caf::scheduler::test_coordinator& sched;
  /// A round time, which what CAF begins with is not: some things happen at round times.
  caf::actor_clock::time_point start;
  std::vector<caf::actor> spawned;

  virtual_time();
  ~virtual_time();
  /// Ends what the test has spawned. To be called by whoever owns what the actors refer to.
  void stop();
  template <class Handle>
  Handle owned(Handle h) {
    spawned.push_back(caf::actor_cast<caf::actor>(h));
    return h;
  }
  void settle();
  /// As settle, with the actors that have something to do taken in any order.
  template <class Random>
  void settle_in_any_order(Random& random) {
    while (!sched.jobs.empty()) {
      std::swap(sched.jobs.front(), sched.jobs[random() % sched.jobs.size()]);
      sched.run_once();
    }
  }
  std::int64_t now_ms() const;
  void advance(std::chrono::milliseconds d);
};

} // namespace parlor
