// A step and what follows from it: actors that wake each other run before it is over, but not
// without end.

#include "actors/asio_scheduler.hpp"
#include "support/catch.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include <caf/all.hpp>

#include <atomic>
#include <functional>
#include <future>
#include <stdexcept>

namespace {

using ball = caf::atom_constant<caf::atom("ball")>;

/// Two actors that throw each other a ball as often as it says.
struct game {
  boost::asio::io_context io;
  caf::actor_system_config config;
  std::atomic<int> thrown{0};
  std::promise<void> over;

  caf::behavior player(caf::event_based_actor* self) {
    return {[this, self](ball, int left, const caf::actor& other) {
      ++thrown;
      if (left > 1)
        self->send(other, ball::value, left - 1, caf::actor_cast<caf::actor>(self));
      else
        over.set_value();
    }};
  }

  /// How often it was thrown when `how` had returned, which was called on the thread of the actors
  /// with a function that throws it first.
  int play(int times, const std::function<void(const std::function<void()>&)>& how) {
    parlor::host_on(config, io, 1);
    caf::actor_system system{config};
    auto make = [this](caf::event_based_actor* self) { return player(self); };
    auto one = system.spawn(make), other = system.spawn(make);
    std::promise<int> then;
    boost::asio::post(io, [&] {
      how([&] { caf::anon_send(one, ball::value, times, other); });
      then.set_value(thrown);
    });
    auto at_once = then.get_future().get();
    over.get_future().wait();
    CHECK(thrown == times);
    return at_once;
  }
};

} // namespace

TEST_CASE("what a step wakes has run when it is over") {
  CHECK(game{}.play(20, parlor::run_to_completion) == 20);
}

TEST_CASE("without it what is woken waits for its turn") {
  CHECK(game{}.play(20, [](auto& step) { step(); }) == 0);
}

TEST_CASE("what goes on for long waits for its turn, too") {
  auto at_once = game{}.play(10'000, parlor::run_to_completion);
  CHECK(at_once >= 50);
  CHECK(at_once <= 100);
}

TEST_CASE("an actor with much to do gets one turn at once") {
  boost::asio::io_context io;
  caf::actor_system_config config;
  parlor::host_on(config, io, 1);
  std::atomic<int> handled{0};
  std::promise<int> then;
  {
    caf::actor_system system{config}; // waits until all has been handled
    auto busy = system.spawn(
        [&](caf::event_based_actor*) -> caf::behavior { return {[&](ball) { ++handled; }}; });
    boost::asio::post(io, [&] {
      parlor::run_to_completion([&] {
        for (int i = 0; i < 1000; ++i)
          caf::anon_send(busy, ball::value);
      });
      then.set_value(handled);
    });
    auto at_once = then.get_future().get();
    CHECK(at_once > 0);
    CHECK(at_once <= 100);
  }
  CHECK(handled == 1000);
}

TEST_CASE("a step within another one ends with that") {
  int inner = -1;
  game g;
  auto at_once = g.play(20, [&](auto& step) {
    parlor::run_to_completion([&] {
      parlor::run_to_completion(step);
      inner = g.thrown;
    });
  });
  CHECK(inner == 0);
  CHECK(at_once == 20);
}

TEST_CASE("a step that throws leaves nothing behind") {
  game g;
  auto at_once = g.play(20, [&](auto& step) {
    CHECK_THROWS_AS(parlor::run_to_completion([&] {
                      step();
                      throw std::runtime_error{"on purpose"};
                    }),
                    std::runtime_error);
    CHECK(g.thrown == 20);
  });
  CHECK(at_once == 20);
}
