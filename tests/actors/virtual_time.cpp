#include "virtual_time.hpp"

namespace parlor {

virtual_time_config::virtual_time_config() { set("scheduler.policy", caf::atom("testing")); }

virtual_time::virtual_time()
    : sched{dynamic_cast<caf::scheduler::test_coordinator&>(system.scheduler())},
      start{sched.clock().current_time = caf::actor_clock::time_point{std::chrono::hours{1}}} {}

virtual_time::~virtual_time() { stop(); }

void virtual_time::stop() {
  for (auto& a : spawned)
    caf::anon_send_exit(a, caf::exit_reason::kill);
  spawned.clear();
  settle();
  sched.clock().cancel_all();
  settle();
}

void virtual_time::settle() {
  while (sched.try_run_once())
    ;
}

std::int64_t virtual_time::now_ms() const {
  return std::chrono::duration_cast<std::chrono::milliseconds>(sched.clock().now() - start).count();
}

void virtual_time::advance(std::chrono::milliseconds d) {
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

} // namespace parlor
