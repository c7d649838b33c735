#include "house.hpp"

// When a session leaves memory, and when it expires; all to the millisecond.

using namespace parlor;
using namespace std::chrono_literals;
using parlor::test::house;
using strings = std::vector<std::string>;

TEST_CASE("an idle session leaves memory after session.memory and comes back as it was") {
  house h;
  h.open();
  auto& e = h.new_ear();
  h.submit("a");
  h.watch(e, 0);
  h.say("a", "hi");
  h.finish("a");
  auto last = e.log.back().what->seq;
  h.unwatch(e);
  h.time.advance(59'999ms);
  REQUIRE(h.sessions() == 1);
  h.time.advance(1ms);
  REQUIRE(h.sessions() == 0);
  REQUIRE(h.lost.empty());
  REQUIRE(h.alarms<session_alarm>() == 0);

  auto seen = h.watch(e, last); // the cursor holds: the epoch is the store's, the numbers go on
  REQUIRE(h.yes(seen));
  REQUIRE_FALSE(seen->answer->reset);
  REQUIRE(seen->answer->events.empty());
  e.log.clear();
  h.chat("b");
  REQUIRE(e.log.front().what->seq == last + 1);
  auto& call = *h.call("b");
  REQUIRE(call.request.messages.size() == 3); // what was said before is remembered
  auto all = h.watch(e, 0)->answer;
  REQUIRE(all->events.size() == e.log.back().what->seq);
  for (std::size_t i = 0; i < all->events.size(); ++i)
    REQUIRE(all->events[i]->seq == i + 1);
}

TEST_CASE("each use lets a session stay for another session.memory; one alarm is out, never two") {
  house h;
  h.open();
  h.chat("a");
  for (int i = 1; i <= 50; ++i) {
    h.time.advance(1s);
    h.look();
    REQUIRE(h.alarms<session_alarm>() == 1);
  }
  h.time.advance(59'999ms);
  REQUIRE(h.sessions() == 1);
  h.time.advance(1ms);
  REQUIRE(h.sessions() == 0);
  REQUIRE(h.time.now_ms() == 110'000);
}

TEST_CASE("a session that does not exist does not stay") {
  house h;
  h.open();
  REQUIRE(h.code(h.look()) == errc::session_not_found);
  h.time.advance(0ms);
  REQUIRE(h.sessions() == 0);
}

TEST_CASE("a session stays while a turn runs, and its time begins when that has ended") {
  house h;
  h.open();
  h.submit("a");
  for (int i = 0; i < 5; ++i) {
    h.time.advance(80s);
    h.say("a", "x");
  }
  REQUIRE(h.sessions() == 1);
  REQUIRE(h.alarms<session_alarm>() == 0); // it is armed again when it is idle
  h.finish("a");
  REQUIRE(h.alarms<session_alarm>() == 1);
  h.time.advance(59'999ms);
  REQUIRE(h.sessions() == 1);
  h.time.advance(1ms);
  REQUIRE(h.sessions() == 0);
}

TEST_CASE("a session stays while somebody listens, and its time begins when the last one leaves") {
  house h;
  h.open();
  h.chat("a");
  auto& e = h.new_ear();
  auto& f = h.new_ear();
  h.watch(e);
  h.watch(f);
  h.time.advance(5min);
  h.unwatch(e);
  h.time.advance(90s);
  h.watch(f); // once more: it is counted
  h.unwatch(f);
  h.time.advance(200s);
  REQUIRE(h.sessions() == 1);
  h.unwatch(f);
  h.time.advance(59'999ms);
  REQUIRE(h.sessions() == 1);
  h.time.advance(1ms);
  REQUIRE(h.sessions() == 0);
}

// -- expiry ---

TEST_CASE("a watched session expires after exactly 30 minutes without use") {
  house h;
  h.open();
  auto& e = h.new_ear();
  h.chat("a");
  h.watch(e);
  h.time.advance(30min - 1ms);
  REQUIRE(e.log.empty());
  REQUIRE(h.disk.data.sessions.size() == 1);
  h.time.advance(1ms);
  REQUIRE(e.kinds() == strings{"session_expired"});
  REQUIRE(e.log[0].at == 30 * 60'000);
  REQUIRE(h.disk.data.sessions.empty());
  REQUIRE(h.disk.all<store::session_removed>().at(0).second.expired);
  h.time.advance(0ms);
  REQUIRE(h.sessions() == 0);
  REQUIRE(h.alarms<session_alarm>() == 0);
  REQUIRE(h.code(h.look()) == errc::session_not_found);
}

TEST_CASE("each use gives a watched session another 30 minutes") {
  house h;
  h.open();
  auto& e = h.new_ear();
  h.chat("a");
  h.watch(e);
  h.time.advance(10min);
  h.look();
  REQUIRE(h.alarms<session_alarm>() == 1);
  h.time.advance(15min);
  h.chat("b");
  e.log.clear();
  h.time.advance(30min - 1ms);
  REQUIRE(e.log.empty());
  h.time.advance(1ms);
  REQUIRE(e.kinds() == strings{"session_expired"});
  REQUIRE(e.log[0].at == 55 * 60'000);
}

TEST_CASE("to be asked by the sweep whether it has expired is no use of a session") {
  house h;
  h.open();
  auto& e = h.new_ear();
  h.chat("a");
  h.time.advance(20min);
  h.watch(e); // the store takes it for idle from minute 30 on, and the sweep asks each minute
  h.time.advance(30min - 1ms);
  REQUIRE(e.log.empty());
  h.time.advance(1ms);
  REQUIRE(e.at("session_expired") == 50 * 60'000);
}

TEST_CASE("a session is not idle while a turn runs, however long that takes") {
  house h;
  h.world->idle_expiry = 5min;
  h.served->total = 2h;
  h.open();
  auto& e = h.new_ear();
  h.submit("a", &e);
  for (int i = 0; i < 10; ++i) {
    h.time.advance(1min);
    h.say("a", "x");
  }
  h.finish("a");
  e.log.clear();
  h.time.advance(5min - 1ms);
  REQUIRE(e.log.empty());
  h.time.advance(1ms);
  REQUIRE(e.at("session_expired") == 15 * 60'000);
}

TEST_CASE("idle_expiry=0: a session is kept for ever") {
  house h;
  h.world->idle_expiry = 0ms;
  h.open();
  auto& e = h.new_ear();
  h.chat("a");
  h.watch(e);
  h.time.advance(24h);
  REQUIRE(e.log.empty());
  REQUIRE(h.sessions() == 1);
  REQUIRE(h.disk.data.sessions.size() == 1);
}

TEST_CASE("a session that cannot expire, because the disk is full, tries at a measured pace") {
  house h;
  h.open();
  auto& e = h.new_ear();
  h.chat("a");
  h.watch(e);
  h.time.advance(30min - 1ms);
  h.disk.full = true;
  h.time.advance(10s);
  REQUIRE(h.disk.refused.size() >= 2);
  REQUIRE(h.disk.refused.size() <= 20);
  REQUIRE(e.log.empty());
  h.disk.full = false;
  h.time.advance(2s);
  REQUIRE(e.kinds() == strings{"session_expired"});
}

// -- a lobby that does not answer ---

TEST_CASE("a session whose lobby is late with its answer goes on; it does not drop what it has") {
  house h;
  struct mute {
    std::vector<caf::typed_response_promise<bool>> asked;
  };
  auto m = std::make_shared<mute>();
  auto silent = h.time.owned(
      h.time.system.spawn([m](lobby_actor::pointer self) -> lobby_actor::behavior_type {
        return {[](const session_ask_ptr&) { return session_answer_ptr{}; },
                [m, self](const leave&) -> caf::typed_response_promise<bool> {
                  m->asked.push_back(self->make_response_promise<bool>());
                  return m->asked.back();
                },
                [](const sweep&) {}, [](const let_go&) {}};
      }));
  auto s = h.time.owned(h.time.system.spawn(session, session_world_ptr{h.world}, h.room,
                                            lobby_actor{silent}, session_past{}));
  h.door = s;
  h.chat("a");
  h.time.advance(60s);
  REQUIRE(m->asked.size() == 1);
  auto& e = h.new_ear();
  h.submit("b", &e);
  h.time.advance(30s); // the lobby's time is over
  h.say("b", "hi");
  h.finish("b");
  REQUIRE(e.kinds() == strings{"accepted b", "started b", "delta b", "completed b"});
  h.unwatch(e);
  h.time.advance(60s);
  REQUIRE(m->asked.size() == 2); // it asks again
  m->asked.clear();
}
