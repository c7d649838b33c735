// An actor on a thread of its own may block, keeps the order of what it is sent, and answers each
// message when it has been handled. Its system waits until the thread has let go of it.

#include "actors/own_thread.hpp"

#include "actors/asio_scheduler.hpp"
#include "support/catch.hpp"

#include <caf/all.hpp>
#include <caf/scheduler/abstract_coordinator.hpp>

#include <atomic>
#include <future>
#include <memory>

namespace {

using number = caf::atom_constant<caf::atom("number")>;

constexpr auto patience = std::chrono::seconds{20};

struct told {
  std::promise<void> first_answered, second_begun;
  std::shared_future<void> answered = first_answered.get_future().share();
  std::atomic<bool> in_time{false};
  std::vector<int> seen; // by the actor alone, until it is gone
};

caf::behavior counts(caf::event_based_actor*, std::shared_ptr<told> t) {
  return {[t](number, int n) {
    t->seen.push_back(n);
    if (n == 2) { // the pool goes on, and has got the answer to what was before
      t->second_begun.set_value();
      t->in_time = t->answered.wait_for(patience) == std::future_status::ready;
    }
    return n;
  }};
}

struct leaving {
  std::promise<void> no_handle, begun, may_end;
};

/// Its exception handler holds a reference that no exit drops, only the end of the actor's object.
caf::behavior leaves_slowly(caf::event_based_actor* self, leaving* l) {
  std::shared_ptr<void> last{nullptr, [l](void*) {
                               l->begun.set_value();
                               l->may_end.get_future().wait_for(patience);
                             }};
  self->set_exception_handler([last](std::exception_ptr&) { return caf::sec::runtime_error; });
  return {[self, l](number, int) { // its thread alone refers to it when it ends
    l->no_handle.get_future().wait_for(patience);
    self->quit();
  }};
}

} // namespace

TEST_CASE("an actor on its own thread answers before it handles the next message") {
  auto t = std::make_shared<told>();
  std::promise<void> all;
  auto done = all.get_future();
  {
    boost::asio::io_context io;
    caf::actor_system_config config;
    parlor::host_on(config, io, 1);
    parlor::own_thread thread{"counts"};
    caf::actor_system system{config};
    auto actor = thread.spawn(system, counts, t);
    caf::anon_send(actor, number::value, 0); // from outside of the pool
    system.spawn([&, t](caf::event_based_actor* self) -> caf::behavior {
      for (int n = 1; n <= 300; ++n)
        self->request(actor, caf::infinite, number::value, n)
            .then(
                [&, t](int back) {
                  if (back == 1)
                    t->first_answered.set_value();
                  if (back == 300)
                    all.set_value();
                },
                [](caf::error&) {});
      return {[](number) {}};
    });
    REQUIRE(t->second_begun.get_future().wait_for(patience) == std::future_status::ready);
    REQUIRE(done.wait_for(patience) == std::future_status::ready);
    caf::anon_send_exit(actor, caf::exit_reason::user_shutdown);
  }
  CHECK(t->in_time);
  REQUIRE(t->seen.size() == 301);
  for (int n = 1; n <= 300; ++n)
    CHECK(t->seen[static_cast<std::size_t>(n)] == n);
}

TEST_CASE("a system waits until nothing of an actor is left on its own thread") {
  leaving l;
  boost::asio::io_context io;
  caf::actor_system_config config;
  parlor::host_on(config, io, 1);
  parlor::own_thread thread{"leaves slowly"};
  caf::actor_system system{config};
  caf::anon_send_exit(system.scheduler().printer(), caf::exit_reason::user_shutdown);
  system.await_detached_threads(); // CAF's own
  caf::anon_send(thread.spawn(system, leaves_slowly, &l), number::value, 0);
  l.no_handle.set_value();
  REQUIRE(l.begun.get_future().wait_for(patience) == std::future_status::ready);
  system.await_all_actors_done(); // nothing but a thread would keep it from ending
  // How many threads it waits for it does not say: without this one it must be none.
  system.dec_detached_threads();
  auto none = std::async(std::launch::async, [&] { system.await_detached_threads(); });
  CHECK(none.wait_for(patience) == std::future_status::ready);
  system.inc_detached_threads();
  system.inc_detached_threads();
  system.dec_detached_threads(); // wakes who waits still, because this one was not counted
  l.may_end.set_value();
}
