#include "actors/io_threads.hpp"

#include "support/catch.hpp"

#include <boost/asio/defer.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>

#include <atomic>
#include <chrono>
#include <future>
#include <map>
#include <random>

using namespace std::chrono_literals;
using parlor::io_threads;

namespace {

struct running {
  boost::asio::io_context io;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work{io.get_executor()};
  io_threads threads;

  explicit running(std::size_t n) : threads{io, n} {}

  /// Uses the processor until that is so; gives up after a minute.
  template <class F>
  static bool spin_until(F done) {
    auto late = std::chrono::steady_clock::now() + 60s;
    while (!done())
      if (std::chrono::steady_clock::now() > late)
        return false;
    return true;
  }
};

} // namespace

TEST_CASE("what comes while a thread is in something long is done by another") {
  running r{2};
  std::atomic<bool> begun{false}, done{false};
  std::promise<bool> found;
  boost::asio::post(r.io, [&] {
    begun = true;
    found.set_value(running::spin_until([&] { return done.load(); }));
  });
  REQUIRE(running::spin_until([&] { return begun.load(); }));
  boost::asio::post(r.io, [&] { done = true; });
  REQUIRE(found.get_future().get());
}

TEST_CASE("all threads come when there is enough for them") {
  constexpr int n = 5;
  running r{n};
  std::atomic<int> there{0};
  std::atomic<int> met{0};
  std::vector<std::promise<void>> ended(n);
  for (auto& e : ended)
    boost::asio::post(r.io, [&] {
      ++there;
      met += running::spin_until([&] { return there == n; });
      e.set_value();
    });
  for (auto& e : ended)
    e.get_future().wait();
  REQUIRE(met == n);
}

TEST_CASE("what comes alone is done by one thread") {
  running r{4};
  std::map<std::thread::id, int> done;
  for (int i = 0; i < 1000; ++i) {
    std::promise<void> ended;
    boost::asio::post(r.io, [&] {
      ++done[std::this_thread::get_id()];
      ended.set_value();
    });
    ended.get_future().wait();
  }
  auto most = 0;
  for (auto& [thread, count] : done)
    most = std::max(most, count);
  REQUIRE(most > 900); // another one looks around now and then
}

TEST_CASE("a thread that goes leaves nothing behind that nobody is woken for") {
  // What a handler defers wakes no other thread, as its own is expected to go on with it.
  running r{2};
  struct chain {
    boost::asio::io_context& io;
    int left;
    std::promise<void> ended;
    void step() {
      auto until = std::chrono::steady_clock::now() + 20us;
      while (std::chrono::steady_clock::now() < until)
        ;
      if (--left > 0)
        boost::asio::defer(io, [this] { step(); });
      else
        ended.set_value();
    }
  };
  std::minstd_rand dice; // the same each time
  for (int i = 0; i < 100; ++i) {
    chain one{r.io, static_cast<int>(dice() % 600) + 300, {}};
    chain other{r.io, static_cast<int>(dice() % 600) + 300, {}};
    for (auto* c : {&one, &other})
      boost::asio::post(r.io, [c] { c->step(); });
    for (auto* c : {&one, &other}) {
      auto done = c->ended.get_future().wait_for(20s) == std::future_status::ready;
      if (!done) // the chains must not be gone before what is left of them
        r.io.stop();
      REQUIRE(done);
    }
  }
}

TEST_CASE("threads that were never needed end at once, as those that work do") {
  for (int i = 0; i < 50; ++i) {
    running r{8};
    if (i % 2 == 0)
      boost::asio::post(r.io, [] {});
  }
}
