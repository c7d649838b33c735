#include "house.hpp"

#include <random>

// A session to which nothing happens ends as an actor and rests with its lobby.

using namespace parlor;
using namespace std::chrono_literals;
using parlor::test::house;
using parlor::test::reply_ptr;
using parlor::test::talk;
using strings = std::vector<std::string>;

namespace {

struct resting : house {
  resting() { world->rest_after = 2s; }
};

strings described(const std::vector<event_ptr>& events) {
  strings out;
  for (auto& e : events)
    if (e->kind != event_kind::progress)
      out.push_back(talk::describe(*e));
  return out;
}

} // namespace

// What a session costs at rest, beside what was said in it (64-bit libstdc++). If one of these has
// to grow: a server may hold a million of them.
static_assert(sizeof(conversation_at_rest) <= 144);
static_assert(sizeof(message) <= 72);
static_assert(sizeof(lobby_state::entry) <= 40);

TEST_CASE("an idle session comes to rest, and goes on without asking the disk") {
  resting h;
  h.open();
  auto& e = h.new_ear();
  h.submit("a");
  h.watch(e, 0);
  h.say("a", "hi");
  h.finish("a");
  h.unwatch(e);
  auto last = e.log.back().what->seq;
  auto live = e.log;
  h.time.advance(1999ms);
  REQUIRE(h.sessions() == 1);
  h.time.advance(1ms);
  REQUIRE(h.sessions() == 0);
  REQUIRE(h.in_memory() == 1);
  REQUIRE(h.lost.empty());
  REQUIRE(h.alarms<session_alarm>() == 0);

  auto reads = h.disk.reads;
  auto view = h.look()->answer->the_session;
  REQUIRE(h.sessions() == 1);
  REQUIRE(view->message_count == 2);
  REQUIRE(view->last_seq == last);
  e.log.clear();
  h.chat("b", &e);
  REQUIRE(e.log.front().what->seq == last + 1);
  REQUIRE(h.call("b")->request.messages.size() == 3); // what was said before is remembered
  REQUIRE(h.disk.reads == reads);

  auto all = h.watch(e, 0)->answer->events; // what was told before it rested is on the disk
  REQUIRE(h.disk.reads == reads + 1);
  for (auto& heard : live) {
    auto& stored = *all.at(heard.what->seq - 1);
    REQUIRE(stored.seq == heard.what->seq);
    REQUIRE(stored.at == heard.what->at);
    REQUIRE(talk::describe(stored) == talk::describe(*heard.what));
  }
}

TEST_CASE("a session at rest leaves memory after session.memory, each to its time") {
  resting h;
  h.open();
  h.chat("a");
  h.time.advance(10s);
  h.room.id = "other";
  h.chat("b");
  h.time.advance(50s - 1ms);
  REQUIRE(h.in_memory() == 2);
  h.time.advance(1ms);
  REQUIRE(h.in_memory() == 1);
  h.time.advance(10s - 1ms);
  REQUIRE(h.in_memory() == 1);
  h.time.advance(1ms);
  REQUIRE(h.in_memory() == 0);
  REQUIRE(h.alarms<let_go>() == 0);
  auto reads = h.disk.reads;
  REQUIRE(h.look()->answer->the_session->message_count == 2);
  REQUIRE(h.disk.reads == reads + 1);
}

TEST_CASE("one that is touched rests again, and its time in memory begins anew") {
  resting h;
  h.open();
  h.chat("a");
  for (int i = 0; i < 5; ++i) {
    h.time.advance(50s);
    REQUIRE(h.sessions() == 0);
    h.look();
    REQUIRE(h.sessions() == 1);
  }
  auto reads = h.disk.reads;
  h.time.advance(60s - 1ms);
  REQUIRE(h.in_memory() == 1);
  h.time.advance(1ms);
  REQUIRE(h.in_memory() == 0);
  REQUIRE(h.disk.reads - reads <= 1); // the sweep's
}

TEST_CASE("while somebody listens it stays, without the events that the disk has") {
  resting h;
  h.open();
  auto& e = h.new_ear();
  h.watch(e);
  h.chat("a");
  h.watch(e, 0);
  h.time.advance(2s);
  auto reads = h.disk.reads;
  auto& f = h.new_ear();
  auto all = h.watch(f, 0)->answer;
  REQUIRE(h.disk.reads == reads + 1);
  REQUIRE(described(all->events) == strings{"accepted a", "started a", "delta a", "completed a"});
  h.chat("b");
  REQUIRE(e.kinds() == strings{"accepted b", "started b", "delta b", "completed b"});
  REQUIRE(f.kinds() == e.kinds());
  REQUIRE(h.sessions() == 1);
  h.time.advance(5min);
  REQUIRE(h.sessions() == 1);
  h.unwatch(e);
  h.unwatch(f);
  h.time.advance(60s);
  REQUIRE(h.sessions() == 0);
  REQUIRE(h.in_memory() == 0);
}

TEST_CASE("a session at rest expires at its time, if it would stay in memory for longer") {
  resting h;
  h.world->memory_for = 1h;
  h.world->idle_expiry = 5min;
  h.options.sweep_every = 1h;
  h.open();
  h.chat("a");
  h.time.advance(5min - 1ms);
  REQUIRE(h.in_memory() == 1);
  REQUIRE(h.disk.data.sessions.size() == 1);
  h.time.advance(1ms);
  REQUIRE(h.disk.data.sessions.empty());
  h.time.advance(1ms);
  REQUIRE(h.in_memory() == 0);
}

TEST_CASE("an ask that meets a session on its way to rest is never lost") {
  for (unsigned seed = 0; seed < 300; ++seed) {
    INFO("seed " << seed);
    std::mt19937 random{seed};
    resting h;
    h.options.sweep_every = 1h; // it reads, too
    h.open();
    h.chat("a");
    h.time.advance(1999ms);
    auto reads = h.disk.reads;
    auto early = h.post(h.asking(session_ask::kind::look));
    auto turn = h.post(h.turn("b"));
    h.time.sched.clock().advance_time(1ms); // its alarm
    auto late = h.post(h.asking(session_ask::kind::look));
    h.time.settle_in_any_order(random);
    for (auto& r : {early, turn, late})
      REQUIRE(h.yes(r));
    REQUIRE(h.sessions() == 1);
    REQUIRE(h.disk.reads == reads);
    REQUIRE(h.call("b")->request.messages.size() == 3);
    h.finish("b");
    h.time.advance(2s);
    REQUIRE(h.sessions() == 0);
    REQUIRE(h.in_memory() == 1);
    REQUIRE(h.lost.empty());
  }
}

TEST_CASE("sessions at rest end with their lobby") {
  resting h;
  h.open();
  h.chat("a");
  h.time.advance(2s);
  REQUIRE(h.in_memory() == 1);
  h.restart();
  REQUIRE(h.in_memory() == 0);
  REQUIRE(h.look()->answer->the_session->message_count == 2);
}
