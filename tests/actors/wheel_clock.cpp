#include "actors/wheel_clock.hpp"

#include "actors/asio_scheduler.hpp"
#include "actors/ask.hpp"
#include "support/catch.hpp"

#include <caf/all.hpp>

#include <future>

namespace {

using go = caf::atom_constant<caf::atom("go")>;
using clock_type = std::chrono::steady_clock;

struct hosted {
  boost::asio::io_context io;
  caf::actor_system_config config;
  caf::actor_system system;
  hosted() : system{with_scheduler()} {}
  parlor::wheel_clock& clock() { return dynamic_cast<parlor::wheel_clock&>(system.clock()); }
  caf::actor_system_config& with_scheduler() {
    parlor::host_on(config, io, 2);
    return config;
  }
};

caf::behavior echo() {
  return {[](go, int x) { return x; }};
}

} // namespace

TEST_CASE("delayed messages come in order, never early") {
  hosted h;
  std::promise<std::vector<std::int64_t>> done;
  h.system.spawn([&](caf::event_based_actor* self) -> caf::behavior {
    auto start = clock_type::now();
    auto late = std::make_shared<std::vector<std::int64_t>>();
    for (int ms : {120, 0, 40, 5})
      self->delayed_send(self, std::chrono::milliseconds{ms}, go::value, ms);
    return {[=, &done](go, int ms) {
      auto after =
          std::chrono::duration_cast<std::chrono::milliseconds>(clock_type::now() - start).count();
      late->push_back(ms);
      late->push_back(after - ms);
      if (late->size() == 8) {
        done.set_value(*late);
        self->quit();
      }
    }};
  });
  auto seen = done.get_future().get();
  CHECK(seen[0] == 0);
  CHECK(seen[2] == 5);
  CHECK(seen[4] == 40);
  CHECK(seen[6] == 120);
  for (std::size_t i = 1; i < seen.size(); i += 2)
    CHECK(seen[i] >= 0);
  CHECK(h.clock().size() == 0);
}

TEST_CASE("an answered request leaves no timer, and an ended actor takes its timers along") {
  hosted h;
  auto server = h.system.spawn(echo);
  std::promise<std::size_t> while_asking, after_answers;
  auto asker = h.system.spawn([&, server](caf::event_based_actor* self) -> caf::behavior {
    auto open = std::make_shared<int>(100);
    for (int i = 0; i < 100; ++i)
      parlor::ask(
          self, server, std::chrono::seconds{60}, caf::make_message(go::value, i),
          [=, &after_answers, &h](int) {
            if (--*open == 0)
              after_answers.set_value(h.clock().size());
          },
          [](caf::error&) {});
    while_asking.set_value(h.clock().size());
    self->delayed_send(self, std::chrono::hours{1}, go::value);
    return {[](go) {}};
  });
  CHECK(while_asking.get_future().get() == 100);
  CHECK(after_answers.get_future().get() == 1); // the delayed message
  std::promise<void> gone;
  asker->attach_functor([&] { gone.set_value(); });
  caf::anon_send_exit(asker, caf::exit_reason::kill);
  gone.get_future().get();
  // The functor runs just before the timers are taken out.
  for (auto until = clock_type::now() + std::chrono::seconds{10};
       h.clock().size() != 0 && clock_type::now() < until;)
    std::this_thread::yield();
  CHECK(h.clock().size() == 0);
  caf::anon_send_exit(server, caf::exit_reason::kill);
}

TEST_CASE("a request that nobody answers times out") {
  hosted h;
  auto silent = h.system.spawn([](caf::event_based_actor* self) -> caf::behavior {
    return {[=](go) { return self->make_response_promise(); }};
  });
  std::promise<caf::error> failed;
  h.system.spawn([&, silent](caf::event_based_actor* self) {
    parlor::ask(
        self, silent, std::chrono::milliseconds{30}, caf::make_message(go::value), [](int) {},
        [&](caf::error& e) { failed.set_value(e); });
  });
  CHECK(failed.get_future().get() == caf::sec::request_timeout);
  caf::anon_send_exit(silent, caf::exit_reason::kill);
}
