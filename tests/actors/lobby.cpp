#include "house.hpp"

#include <random>

using namespace parlor;
using namespace std::chrono_literals;
using parlor::test::house;
using parlor::test::reply_ptr;
using strings = std::vector<std::string>;

TEST_CASE("there is one actor for a session, however many ask for it at once") {
  house h;
  h.served->limit = llm::make_limiter(8, 40);
  h.open();
  std::vector<reply_ptr> all;
  for (int i = 0; i < 30; ++i) {
    h.room.id = "room" + std::to_string(i % 3);
    all.push_back(h.post(h.turn("t" + std::to_string(i), nullptr)));
  }
  h.time.settle();
  REQUIRE(h.sessions() == 3);
  REQUIRE(h.tasks() == 3);
  REQUIRE(h.disk.reads == 3);
  for (auto& r : all)
    REQUIRE(h.yes(r));
  for (auto& [key, s] : h.disk.data.sessions)
    for (auto& m : s.history)
      REQUIRE(std::stoi(m.task.substr(1)) % 3 == key.id.back() - '0');
}

TEST_CASE("sessions of two tenants with the same name are two") {
  house h;
  h.open();
  h.chat("a");
  h.room.tenant = "other";
  REQUIRE(h.code(h.look()) == errc::session_not_found);
  h.chat("b");
  REQUIRE(h.call("b")->request.messages.size() == 1);
  REQUIRE(h.disk.data.sessions.size() == 2);
}

TEST_CASE("an ask that meets a session on its way out is never lost") {
  int left_first = 0, stayed = 0;
  for (unsigned seed = 0; seed < 300; ++seed) {
    INFO("seed " << seed);
    std::mt19937 random{seed};
    house h;
    h.options.sweep_every = 1h; // it reads, too
    h.open();
    h.chat("a");
    h.time.advance(59'999ms);
    auto reads = h.disk.reads;
    auto early = h.post(h.asking(session_ask::kind::look));
    auto turn = h.post(h.turn("b"));
    h.time.sched.clock().advance_time(1ms); // its alarm
    auto late = h.post(h.asking(session_ask::kind::look));
    h.time.settle_in_any_order(random);
    for (auto& r : {early, turn, late})
      REQUIRE(h.yes(r));
    REQUIRE(h.sessions() == 1);
    (h.disk.reads == reads ? stayed : left_first) += 1;
    h.finish("b");
    h.time.advance(59'999ms);
    REQUIRE(h.sessions() == 1);
    h.time.advance(2ms);
    REQUIRE(h.sessions() == 0); // also after it was told to stay
    REQUIRE(h.lost.empty());
    REQUIRE(h.limit->in_flight() + h.limit->waiting() == 0);
  }
  REQUIRE(left_first > 10);
  REQUIRE(stayed > 10);
}

TEST_CASE("only a session itself can make its lobby forget it") {
  house h;
  h.open();
  h.submit("a");
  auto stranger = h.time.owned(
      h.time.system.spawn([](caf::event_based_actor*) { return caf::behavior{[](bool) {}}; }));
  caf::send_as(stranger, h.lobby, leave{h.room, 1, {}, {}});
  h.time.settle();
  h.submit("b");
  REQUIRE(h.sessions() == 1);
  REQUIRE(h.disk.reads == 1);
}

// -- the sweep ---

TEST_CASE("sessions that are in use do not keep those behind them from expiring") {
  house h;
  h.world->idle_expiry = 60s;
  h.world->memory_for = 1s;
  h.options.sweep_every = 45s;
  h.options.sweep_page = 2;
  h.open();
  for (auto id : {"watched1", "watched2", "watched3", "left1", "left2", "left3", "left4"}) {
    h.room.id = id;
    h.chat("t_" + h.room.id);
    if (h.room.id[0] == 'w') {
      h.watch(h.new_ear());
    }
    h.time.advance(1s);
  }
  h.time.advance(24s);
  for (auto id : {"watched1", "watched2", "watched3"}) { // they come back now and then
    h.room.id = id;
    h.watch(h.new_ear());
  }
  h.time.advance(65s);
  for (auto id : {"left1", "left2", "left3", "left4"})
    CHECK(h.disk.data.sessions.count({"", id}) == 0);
}

TEST_CASE("a session that is not in memory expires with the first sweep after its time") {
  house h;
  h.open();
  h.time.advance(30s);
  h.chat("a");
  h.time.advance(30min + 29'999ms);
  REQUIRE(h.disk.data.sessions.size() == 1);
  REQUIRE(h.sessions() == 0);
  h.time.advance(1ms);
  REQUIRE(h.disk.data.sessions.empty());
  auto gone = h.disk.all<store::session_removed>();
  REQUIRE(gone.size() == 1);
  REQUIRE(gone[0].first == 31 * 60'000);
  REQUIRE(gone[0].second.expired);
  h.time.advance(1ms);
  REQUIRE(h.sessions() == 0);
}

TEST_CASE("a sweep leaves alone what is watched, what runs, and what other lobbies have") {
  house h;
  h.world->idle_expiry = 5min;
  h.served->first_token = h.served->total = 2h;
  h.options.partitions = 2;
  auto part_of = [](const std::string& id) { return std::hash<session_key>{}({"", id}) % 2; };
  std::vector<std::string> mine, others;
  for (int i = 0; mine.size() < 2 || others.empty(); ++i)
    (part_of("s" + std::to_string(i)) == 0 ? mine : others).push_back("s" + std::to_string(i));
  h.open();
  h.room.id = others[0];
  h.chat("a"); // by this lobby, as if the other one had done it
  h.time.advance(60s);
  h.room.id = mine[0];
  h.submit("b");
  h.room.id = mine[1];
  h.chat("c");
  h.time.advance(10min);
  REQUIRE(h.disk.data.sessions.count({"", others[0]}) == 1);
  REQUIRE(h.disk.data.sessions.count({"", mine[0]}) == 1);
  REQUIRE(h.disk.data.sessions.count({"", mine[1]}) == 0);
  REQUIRE(h.sessions() == 1);
  h.room.id = mine[0];
  h.finish("b");
  auto& e = h.new_ear();
  h.time.advance(4min);
  h.watch(e);
  h.time.advance(5min - 1ms); // due for the store, but not for whoever is in memory
  REQUIRE(e.log.empty());
  h.time.advance(1ms);
  REQUIRE(e.kinds() == strings{"session_expired"});
}

TEST_CASE("without expiry there is no sweep") {
  house h;
  h.world->idle_expiry = 0ms;
  h.open();
  REQUIRE(h.alarms<sweep>() == 0);
  h.chat("a");
  h.time.advance(2h);
  REQUIRE(h.disk.data.sessions.size() == 1);
  REQUIRE(h.sessions() == 0);
}

TEST_CASE("a sweep that cannot read the disk is made up for by the next one") {
  house h;
  h.open();
  h.chat("a");
  h.time.advance(30min);
  h.disk.unreadable = true;
  h.time.advance(90s);
  h.disk.unreadable = false;
  REQUIRE(h.disk.data.sessions.size() == 1);
  h.time.advance(30s);
  REQUIRE(h.disk.data.sessions.empty());
}

// -- crashes ---

TEST_CASE("whoever waits for an answer of a session that crashes is told at once") {
  house h;
  h.world->limits.recent_events = 4;
  h.open();
  h.chat("a");
  h.hold_keeper = h.hold_archive = true;
  auto turn = h.submit("b");
  auto& e = h.new_ear();
  auto watch = h.watch(e, 0); // asks the disk
  h.crash();
  REQUIRE(h.code(turn) == errc::internal);
  REQUIRE(h.code(watch) == errc::internal);
  auto loading = h.look();
  h.time.advance(1s);
  REQUIRE(loading->times == 0);
  h.release_keeper();
  h.release_archive();
  REQUIRE(h.yes(loading));
  REQUIRE(turn->times + watch->times == 2);
}

TEST_CASE("whoever waits for a session to be loaded is told at once if it crashes of the first") {
  house h;
  h.open();
  h.chat("a");
  h.time.advance(60s);
  h.hold_archive = true;
  auto first = h.look();
  auto crash = h.crash();
  auto last = h.look();
  h.release_archive();
  REQUIRE(h.yes(first));
  REQUIRE(h.code(crash) == errc::internal);
  REQUIRE(h.code(last) == errc::internal);
}

TEST_CASE("a session that crashed is told as lost, and the next to ask finds a new one") {
  house h;
  h.open();
  auto& e = h.new_ear();
  h.room.id = "other";
  h.submit("x");
  h.room.id = "room";
  h.submit("a", &e);
  h.say("a", "hi");
  h.time.advance(1s); // a checkpoint
  h.say("a", " there");
  auto* call = h.call("a");
  auto seen = e.log.back().what->seq;

  auto died = h.crash();
  REQUIRE(h.code(died) == errc::internal); // whoever asked is told at once, not after a timeout
  REQUIRE(h.lost == std::vector<session_key>{h.room});
  REQUIRE(h.sessions() == 1);
  REQUIRE(h.tasks() == 1); // the other session's
  REQUIRE(call->closed);

  // As the edge does: again, with the cursor.
  e.log.clear();
  auto back = h.watch(e, seen);
  REQUIRE(h.yes(back));
  REQUIRE_FALSE(back->answer->reset);
  REQUIRE(h.call("a") != call); // it runs again
  h.say("a", "anew");
  h.finish("a");
  std::erase_if(e.log, [&](auto& x) { return x.what->seq <= back->answer->last_seq; });
  std::vector<std::string> kinds;
  for (auto& x : back->answer->events)
    kinds.push_back(parlor::test::talk::describe(*x));
  for (auto& k : e.kinds())
    kinds.push_back(k);
  REQUIRE(kinds == strings{"retry a", "delta a", "completed a"});
  REQUIRE(e.log.back().what->end->content == "anew");
  for (auto& x : e.log)
    REQUIRE(x.what->seq > seen);
  h.room.id = "other";
  h.finish("x");
  REQUIRE(h.limit->in_flight() + h.limit->waiting() == 0);
  REQUIRE(h.lost.size() == 1);
}

TEST_CASE("what a crashed session had on its way to the disk is there before the next one reads") {
  house h;
  h.open();
  h.submit("a");
  h.hold_keeper = true;
  h.finish("a"); // its end is on its way
  h.submit("b"); // and so is a turn that nobody will be told of
  h.crash();
  auto l = h.look("a");
  h.time.advance(1s);
  REQUIRE(l->times == 0);
  h.release_keeper();
  REQUIRE(h.yes(l));
  auto& e = h.new_ear();
  h.watch(e, 0);
  auto again = std::count_if(h.model->calls.begin(), h.model->calls.end(),
                             [](auto& c) { return c->request.messages.back().content == "say a"; });
  REQUIRE(again == 1); // it has ended and is not run again
  h.finish("b");
  h.time.advance(1s);
  REQUIRE(h.disk.all<store::task_ended>().size() == 2);
}

TEST_CASE("what was on its way to a session that crashed is answered, once") {
  for (unsigned seed = 0; seed < 50; ++seed) {
    INFO("seed " << seed);
    std::mt19937 random{seed};
    house h;
    h.open();
    h.chat("a");
    std::vector<reply_ptr> all;
    auto crash = h.turn("crash");
    crash.turn.settings.model = std::string{"crash"};
    for (int i = 0; i < 6; ++i)
      all.push_back(h.post(i == 3 ? crash : h.asking(session_ask::kind::look)));
    h.time.settle_in_any_order(random);
    for (auto& r : all)
      REQUIRE(r->times == 1);
    REQUIRE(h.code(all[3]) == errc::internal);
    REQUIRE(h.lost.size() == 1);
    REQUIRE(h.yes(h.look()));
  }
}

TEST_CASE("a lobby that ends takes its sessions and their tasks along") {
  house h;
  h.open();
  h.submit("a");
  h.room.id = "other";
  h.submit("b");
  REQUIRE(h.sessions() == 2);
  caf::anon_send_exit(h.lobby, caf::exit_reason::user_shutdown);
  h.time.settle();
  REQUIRE(h.sessions() == 0);
  REQUIRE(h.tasks() == 0);
  REQUIRE(h.call("a")->closed);
  REQUIRE(h.call("b")->closed);
  REQUIRE(h.limit->in_flight() + h.limit->waiting() == 0);
}
