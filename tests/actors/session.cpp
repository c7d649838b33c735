#include "actors/measures.hpp"
#include "house.hpp"

// A session's actor: how it begins, what it does while it is busy, and what becomes of it when its
// task or its disk fails. When it leaves memory and when it expires: session_time.cpp.

using namespace parlor;
using namespace std::chrono_literals;
using parlor::test::house;
using parlor::test::reply_ptr;
using strings = std::vector<std::string>;

TEST_CASE("asks that come while the session is loaded wait, and are served in their order") {
  house h;
  h.open();
  h.chat("old");
  h.time.advance(60s);
  REQUIRE(h.sessions() == 0);
  auto& e = h.new_ear();
  auto reads = h.disk.reads;
  h.hold_archive = true;

  auto first = h.look();
  auto watch = h.watch(e);
  auto a = h.submit("a");
  auto b = h.submit("b");
  auto none = h.cancel("old");
  h.time.advance(1s);
  REQUIRE(h.disk.reads == reads + 1);
  for (auto& r : {first, watch, a, b, none})
    REQUIRE(r->times == 0);

  h.release_archive();
  REQUIRE(h.yes(first));
  REQUIRE(first->answer->the_session->last_seq ==
          5); // accepted, started, delta, progress, completed
  REQUIRE(h.yes(watch));
  REQUIRE(h.yes(a));
  REQUIRE(h.yes(b));
  REQUIRE(h.code(none) == errc::task_ended);
  REQUIRE(a->answer->last_seq == 5);
  REQUIRE(e.kinds() == strings{"accepted a", "started a", "accepted b"});
  h.finish("a");
  h.finish("b");
  REQUIRE(e.kinds() == strings{"accepted a", "started a", "accepted b", "completed a", "started b",
                               "completed b"});
  REQUIRE(h.disk.reads == reads + 1);
}

TEST_CASE("a session that cannot be loaded says so to everybody, and is tried again") {
  house h;
  h.open();
  h.disk.unreadable = true;
  auto a = h.submit("a");
  auto b = h.look();
  REQUIRE(h.code(a) == errc::store_failed);
  REQUIRE(h.code(b) == errc::store_failed);
  h.time.advance(1ms);
  REQUIRE(h.sessions() == 0);
  h.disk.unreadable = false;
  h.chat("c");
}

TEST_CASE("a load that takes longer than 30 s is given up, to the millisecond") {
  house h;
  h.open();
  h.hold_archive = true;
  auto a = h.submit("a");
  h.time.advance(29'999ms);
  REQUIRE(a->times == 0);
  h.time.advance(1ms);
  REQUIRE(h.code(a) == errc::store_failed);
  h.release_archive(); // too late: it must not make a session of it
  REQUIRE(h.disk.facts.empty());
  h.chat("b");
  REQUIRE(h.disk.all<store::task_accepted>().size() == 1);
}

TEST_CASE("a turn is answered and told when it is durable, not before") {
  house h;
  h.open();
  h.hold_keeper = true;
  auto& e = h.new_ear();
  auto a = h.submit("a", &e);
  h.say("a", "hi");
  h.time.advance(10s);
  REQUIRE(h.held_writes() == 1);
  REQUIRE(a->times == 0);
  REQUIRE(e.log.empty());
  h.release_keeper();
  REQUIRE(h.yes(a));
  REQUIRE(h.when(a) == 10'000);
  REQUIRE(e.kinds() == strings{"accepted a", "started a", "delta a"});
  h.hold_keeper = true;
  h.finish("a");
  REQUIRE(e.kinds().back() == "delta a");
  h.release_keeper();
  REQUIRE(e.kinds().back() == "completed a");
}

TEST_CASE("nobody sees or watches a session whose first turn is not durable") {
  house h;
  h.open();
  h.hold_keeper = true;
  auto a = h.submit("a");
  auto& e = h.new_ear();
  REQUIRE(h.code(h.watch(e)) == errc::session_not_found);
  REQUIRE(h.code(h.look()) == errc::session_not_found);
  h.disk.full = true;
  h.release_keeper();
  REQUIRE(h.code(a) == errc::store_full);
  REQUIRE(h.code(h.look()) == errc::session_not_found);
  h.time.advance(1ms);
  REQUIRE(h.sessions() == 0);
}

// -- while another turn runs ---

TEST_CASE("on_busy=queue: turns run one after the other, in the order they came") {
  house h;
  h.open();
  auto& e = h.new_ear();
  h.submit("a", &e);
  h.submit("b");
  h.submit("c");
  REQUIRE(h.tasks() == 1);
  REQUIRE(h.call("b") == nullptr);
  h.finish("a");
  REQUIRE(h.call("b") != nullptr);
  REQUIRE(h.call("c") == nullptr);
  h.finish("b");
  h.finish("c");
  REQUIRE(h.tasks() == 0);
  REQUIRE(e.kinds() == strings{"accepted a", "started a", "accepted b", "accepted c", "completed a",
                               "started b", "completed b", "started c", "completed c"});
}

TEST_CASE("on_busy=reject: refused at once, and its place at the model is free again") {
  house h;
  h.limit = llm::make_limiter(1, 1);
  h.served->limit = h.limit;
  h.open();
  auto& e = h.new_ear();
  h.submit("a");
  for (int i = 0; i < 20; ++i) {
    auto r = h.submit("r" + std::to_string(i), &e, on_busy::reject);
    REQUIRE(h.code(r) == errc::session_busy);
  }
  REQUIRE(h.yes(h.submit("b"))); // 2 places in all: one turn that runs and one that waits
  REQUIRE(h.code(h.submit("c")) == errc::saturated);
  h.finish("a");
  h.finish("b");
  REQUIRE(h.limit->in_flight() + h.limit->waiting() == 0);
  REQUIRE(e.log.empty()); // whose requests made no turn listens to nothing
  h.time.advance(60s);
  REQUIRE(h.sessions() == 0);
}

TEST_CASE("what was accepted before a restart is run, however many have come meanwhile") {
  house h;
  h.served->limit = h.limit = llm::make_limiter(1, 0);
  h.open();
  REQUIRE(h.yes(h.submit("a")));
  h.say("a", "half");
  h.restart();
  h.room.id = "other"; // is quicker than the archive
  REQUIRE(h.yes(h.submit("b")));
  h.room.id = "room";
  h.ask(h.asking(session_ask::kind::wake));
  REQUIRE(h.code(h.submit("c")) == errc::saturated);
  h.finish("b");
  h.finish("a");
  CHECK(h.disk.data.tasks.at("a").view.status == task_status::completed);
  CHECK(h.limit->in_flight() + h.limit->waiting() == 0);
}

TEST_CASE("on_busy=interrupt: what runs is stopped, its call is closed, and the new turn is next") {
  house h;
  h.open();
  auto& e = h.new_ear();
  h.submit("a", &e);
  h.say("a", "hi");
  h.submit("b");
  auto* first = h.call("a");
  REQUIRE(h.yes(h.submit("c", nullptr, on_busy::interrupt)));
  REQUIRE(first->closed);
  REQUIRE(e.kinds() == strings{"accepted a", "started a", "delta a", "accepted b", "accepted c",
                               "cancelled a", "started c"});
  REQUIRE(e.find("cancelled a")->what->end->content == "hi");
  h.finish("c");
  h.finish("b");
  REQUIRE(e.kinds().back() == "completed b");
  REQUIRE(h.limit->in_flight() + h.limit->waiting() == 0);
}

TEST_CASE("a queued turn that is cancelled gives its place at the model back") {
  house h;
  h.open();
  h.submit("a");
  h.submit("b");
  REQUIRE(h.limit->waiting() == 1);
  REQUIRE(h.yes(h.cancel("b")));
  REQUIRE(h.limit->waiting() == 0);
  REQUIRE(h.code(h.cancel("b")) == errc::task_ended);
  h.finish("a");
}

// -- about once a second ---

TEST_CASE("what a running task has said is recorded each second, and only then") {
  house h;
  h.open();
  using checkpoint = store::task_checkpoint;
  h.submit("a");
  h.time.advance(400ms);
  h.say("a", "one ");
  h.time.advance(200ms);
  h.say("a", "two ");
  h.time.advance(399ms);
  REQUIRE(h.disk.all<checkpoint>().empty());
  h.time.advance(1ms);
  REQUIRE(h.disk.all<checkpoint>().size() == 1);
  REQUIRE(h.disk.all<checkpoint>()[0].first == 1000);
  REQUIRE(h.disk.all<checkpoint>()[0].second.text == "one two ");
  h.time.advance(2s); // nothing new: nothing is written
  REQUIRE(h.disk.all<checkpoint>().size() == 1);
  h.say("a", "three");
  h.time.advance(1s);
  REQUIRE(h.disk.all<checkpoint>().size() == 2);
  REQUIRE(h.disk.all<checkpoint>()[1].first == 4000);
  REQUIRE(h.alarms<checkpoint_alarm>() == 1);
  h.finish("a");
  h.time.advance(1s);
  REQUIRE(h.alarms<checkpoint_alarm>() == 0); // idle means no alarms
  REQUIRE(h.disk.data.tasks.at("a").text == "one two three");
}

TEST_CASE("it is recorded at moments that all sessions share") {
  house h;
  h.open();
  h.time.advance(13ms);
  h.submit("a");
  h.say("a", "one ");
  h.time.advance(1036ms);
  REQUIRE(h.disk.all<store::task_checkpoint>().empty());
  h.time.advance(1ms);
  REQUIRE(h.disk.all<store::task_checkpoint>().size() == 1);
  REQUIRE(h.disk.all<store::task_checkpoint>()[0].first == 1050);
  h.finish("a");
}

// -- what runs ---

TEST_CASE("the turn of a task that crashed fails, with a usage record, and the session lives") {
  house h;
  h.open();
  auto& e = h.new_ear();
  h.submit("a", &e);
  h.submit("b");
  h.say("a", "some text");
  h.jitter_throws = true;
  h.fail("a", true);
  h.jitter_throws = false;
  REQUIRE(h.call("b") != nullptr); // the next one has begun
  auto* failed = e.find("failed a");
  REQUIRE(failed != nullptr);
  REQUIRE(failed->what->end->error == errc::internal);
  REQUIRE(failed->what->end->content == "some text");
  auto used = h.disk.all<store::usage_recorded>();
  REQUIRE(used.size() == 1);
  REQUIRE(used[0].second.task == "a");
  REQUIRE(used[0].second.error == errc::internal);
  REQUIRE(used[0].second.used.completion_tokens > 0);
  h.finish("b");
  REQUIRE(e.kinds().back() == "completed b");
  REQUIRE(h.lost.empty());
  REQUIRE(h.limit->in_flight() + h.limit->waiting() == 0);
  REQUIRE(h.tasks() == 0);
}

TEST_CASE("a piece that was on its way when its turn was stopped is nobody's") {
  house h;
  h.open();
  auto& e = h.new_ear();
  h.submit("a", &e);
  h.submit("b", &e);
  h.say("a", "some text");
  auto* stopped = h.call("a");
  h.cancel("a");
  REQUIRE(h.call("b") != nullptr); // runs now
  auto waited = all_turns.first_token.sum();
  h.time.advance(2s);
  stopped->sink(llm::call_delta{"late"});
  h.time.settle();
  REQUIRE(all_turns.first_token.sum() == waited); // b has said nothing yet
  h.say("b", "its own");
  REQUIRE(all_turns.first_token.sum() > waited + 1);
  h.finish("b");
  REQUIRE(h.disk.data.tasks.at("a").text == "some text");
  REQUIRE(h.disk.data.tasks.at("b").text == "its own");
  REQUIRE(e.find("delta b")->what->text == "its own");
}

TEST_CASE("a task that crashes in the call itself fails its turn, too") {
  house h;
  h.open();
  auto& e = h.new_ear();
  h.model->throws = true;
  h.submit("a", &e);
  h.model->throws = false;
  REQUIRE(e.kinds() == strings{"accepted a", "started a", "failed a"});
  REQUIRE(h.disk.all<store::usage_recorded>().size() == 1);
  h.chat("b");
}

TEST_CASE("a session that is deleted while a turn runs closes the call and keeps nothing") {
  house h;
  h.open();
  auto& e = h.new_ear();
  h.submit("a", &e);
  h.submit("b");
  h.say("a", "hi");
  h.time.advance(5s);
  auto* call = h.call("a");
  h.hold_keeper = true;
  auto gone = h.remove();
  auto again = h.remove();
  auto late = h.submit("c");
  REQUIRE(call->closed);
  REQUIRE(gone->times == 0);
  REQUIRE(h.code(again) == errc::session_not_found);
  REQUIRE(h.code(late) == errc::session_deleted);
  REQUIRE(h.code(h.look()) == errc::session_not_found);
  h.release_keeper();
  REQUIRE(h.yes(gone));
  REQUIRE(e.kinds().back() == "session_deleted");
  auto last = e.log.back().what->seq;
  REQUIRE(h.disk.data.sessions.empty());
  REQUIRE(h.disk.data.tasks.empty());
  REQUIRE(h.limit->in_flight() + h.limit->waiting() == 0);
  h.time.advance(1s);
  REQUIRE(h.tasks() == 0);
  REQUIRE(h.sessions() == 0);
  REQUIRE(h.alarms<checkpoint_alarm>() == 0);

  // One of the same name is another one, and uses no number twice.
  auto& f = h.new_ear();
  h.chat("d", &f);
  REQUIRE(f.log.front().what->seq > last);
  REQUIRE(e.kinds().back() == "session_deleted");
}

TEST_CASE("a session deleted and begun again at once has nothing of its former life") {
  house h;
  h.open();
  auto& e = h.new_ear();
  h.submit("a", &e);
  h.post(h.asking(session_ask::kind::remove));
  h.post(h.turn("b", &e)); // same actor, or a new one: nobody may notice
  h.time.settle();
  if (h.call("b") == nullptr) // came while the removal was under way
    REQUIRE(h.yes(h.submit("b", &e)));
  h.say("b", "hi");
  h.finish("b");
  REQUIRE(e.kinds().back() == "completed b");
  REQUIRE(h.disk.data.sessions.at(h.room).history.size() == 2);
  h.time.advance(3s);
  REQUIRE(h.alarms<checkpoint_alarm>() == 0);
}
