// Actor systems on Asio, started and stopped under load: linked and monitored workers, exceptions,
// request timeouts, delayed messages and an actor on a thread of its own.

#include "actors/asio_scheduler.hpp"
#include "actors/ask.hpp"
#include "actors/own_thread.hpp"
#include "support/catch.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include <caf/all.hpp>

#include <atomic>
#include <condition_variable>
#include <mutex>

namespace {

struct tally {
  std::mutex mutex;
  std::condition_variable changed;
  int parents_done = 0;
  std::atomic<int> answers{0}, exits{0}, downs{0}, timeouts{0}, late{0}, blocked{0};
  void parent_done() {
    std::lock_guard lock{mutex};
    ++parents_done;
    changed.notify_all();
  }
};

using work = caf::atom_constant<caf::atom("work")>;
using fail = caf::atom_constant<caf::atom("fail")>;
using mute = caf::atom_constant<caf::atom("mute")>;
using tick = caf::atom_constant<caf::atom("tick")>;

caf::behavior worker(caf::event_based_actor* self) {
  self->set_exception_handler(
      [](std::exception_ptr&) -> caf::error { return caf::exit_reason::unhandled_exception; });
  return {
      [=](work, int x) {
        self->quit();
        return x + 1;
      },
      [](fail) -> int { throw std::runtime_error{"on purpose"}; },
      [=](mute) -> caf::response_promise { // never answers, lives until it is killed
        return self->make_response_promise();
      },
  };
}

struct parent_state {
  int open = 0;
};

constexpr int workers = 16;

caf::behavior parent(caf::stateful_actor<parent_state>* self, std::shared_ptr<tally> t,
                     caf::actor blocking) {
  self->set_default_handler(caf::drop);
  auto done_one = [=] {
    if (--self->state.open == 0) {
      t->parent_done();
      self->quit();
    }
  };
  self->set_exit_handler([=](caf::exit_msg&) {
    ++t->exits;
    done_one();
  });
  self->set_down_handler([=](caf::down_msg&) {
    ++t->downs;
    done_one();
  });
  for (int i = 0; i < workers; ++i) {
    ++self->state.open; // for the worker's end
    auto linked = i % 2 == 0;
    auto w = linked ? self->spawn<caf::linked>(worker) : self->spawn<caf::monitored>(worker);
    ++self->state.open; // for the answer
    if (i % 4 == 0) {
      parlor::ask(
          self, w, std::chrono::seconds{60}, caf::make_message(work::value, i),
          [=](int x) {
            if (x == i + 1)
              ++t->answers;
            done_one();
          },
          [=](caf::error&) { done_one(); });
    } else if (i % 4 == 1) {
      self->request(w, caf::infinite, fail::value)
          .then([=](int) { done_one(); }, [=](caf::error&) { done_one(); });
    } else if (i % 4 == 2) {
      self->request(w, std::chrono::milliseconds{20}, mute::value)
          .then([=](int) { done_one(); },
                [=](caf::error& e) {
                  if (e == caf::sec::request_timeout)
                    ++t->timeouts;
                  done_one();
                  // In nobody's name: an exit message from a linked peer unlinks first.
                  caf::anon_send_exit(w, caf::exit_reason::user_shutdown);
                });
    } else {
      self->request(blocking, caf::infinite, work::value, i)
          .then(
              [=](int) {
                ++t->blocked;
                self->send_exit(w, caf::exit_reason::user_shutdown);
                done_one();
              },
              [=](caf::error&) { done_one(); });
    }
  }
  ++self->state.open;
  self->delayed_send(self, std::chrono::milliseconds{15}, tick::value);
  self->delayed_send(self, std::chrono::hours{1}, tick::value); // dies with the actor
  return {[=](tick) {
    ++t->late;
    done_one();
  }};
}

caf::behavior blocker(caf::event_based_actor*) {
  return {[](work, int x) { return x; }};
}

void run_system(std::size_t threads, int parents) {
  boost::asio::io_context io;
  auto t = std::make_shared<tally>();
  caf::actor_system_config config;
  parlor::host_on(config, io, threads);
  parlor::own_thread blocks{"blocks"};
  caf::actor_system system{config};
  auto blocking = blocks.spawn(system, blocker);
  for (int i = 0; i < parents; ++i)
    boost::asio::post(io, [&, t, blocking] { system.spawn(parent, t, blocking); });
  {
    std::unique_lock lock{t->mutex};
    auto all = t->changed.wait_for(lock, std::chrono::seconds{5},
                                   [&] { return t->parents_done == parents; });
    INFO(t->parents_done << " answers " << t->answers << " timeouts " << t->timeouts << " blocked "
                         << t->blocked << " exits " << t->exits << " downs " << t->downs << " late "
                         << t->late);
    REQUIRE(all);
    CHECK(t->answers == parents * workers / 4);
    CHECK(t->timeouts == parents * workers / 4);
    CHECK(t->blocked == parents * workers / 4);
    CHECK(t->exits == parents * workers / 2);
    CHECK(t->downs == parents * workers / 2);
    CHECK(t->late == parents);
  }
  caf::anon_send_exit(blocking, caf::exit_reason::kill);
}

} // namespace

TEST_CASE("two hundred parents with 3200 workers end as they should") {
  for (std::size_t threads : {1U, 2U, 4U})
    run_system(threads, 200);
}

TEST_CASE("systems start and stop thirty times") {
  for (int i = 0; i < 30; ++i)
    run_system(static_cast<std::size_t>(1 << (i % 3)), 10);
}
