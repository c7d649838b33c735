// What the store refuses, and what a client repeats.

#include "talk.hpp"

using namespace parlor;
using parlor::test::talk;

using names = std::vector<std::string>;

TEST_CASE("a turn that cannot be recorded is refused and leaves no trace") {
  talk t;
  auto p = t.submit("a");
  t.refuse_one();
  REQUIRE(t.answer(p) == errc::store_full);
  REQUIRE(t.told.empty());
  REQUIRE(t.stops == 1); // the model had been asked already
  REQUIRE_FALSE(t.c->exists());
  REQUIRE(t.c->idle());
  t.submit("c"); // with a full disk nothing is asked before there is room
  t.refuse_one();
  REQUIRE(t.orders.size() == 1);
  t.chat("b");
  REQUIRE(t.told.front()->seq == 1);
  REQUIRE(t.c->view().message_count == 2);
}

TEST_CASE("a refused turn leaves the running one and those that wait alone") {
  talk t;
  t.submit("a");
  t.commit();
  auto p = t.submit("b");
  auto q = t.submit("c");
  t.refuse_one();
  REQUIRE(t.answer(p) == errc::store_full);
  t.commit();
  REQUIRE(t.answer(q) == errc::none);
  t.say("x");
  t.finish();
  t.commit();
  REQUIRE(t.count("completed a") == 1);
  REQUIRE(t.running() == "c");
  REQUIRE(t.count("accepted b") == 0);
}

TEST_CASE("the session exists if any of its first turns was recorded") {
  talk t;
  t.submit("a");
  t.submit("b");
  t.refuse_one();
  t.commit();
  REQUIRE(t.c->exists());
  REQUIRE(t.running() == "b");
  t.finish();
  t.commit();
  REQUIRE(t.count("completed b") == 1);
  t.chat("c");
  REQUIRE(t.c->view().message_count == t.disk.sessions.at(t.key).row.view.message_count);
}

TEST_CASE("the end of a task is recorded again until there is room") {
  talk t;
  t.submit("a");
  t.commit();
  t.say("text");
  auto p = t.cancel("a");
  t.finish(task_status::cancelled, errc::cancelled);
  for (int i = 0; i < 8; ++i)
    t.refuse_one();
  REQUIRE(t.count("cancelled a") == 0);
  REQUIRE_FALSE(t.answered(p));
  REQUIRE(t.c->task("a")->status == task_status::running);
  REQUIRE_FALSE(t.c->idle());
  t.commit();
  REQUIRE(t.count("cancelled a") == 1);
  REQUIRE(t.answer(p) == errc::none);
  REQUIRE(t.disk.tasks.at("a").view.end->content == "text");
}

TEST_CASE("a start is recorded again until there is room") {
  talk t;
  t.submit("a");
  t.submit("b");
  t.commit();
  t.finish();
  while (t.count("completed a") == 0)
    t.commit_one();
  for (int i = 0; i < 5; ++i)
    t.refuse_one();
  REQUIRE(t.count("started b") == 0);
  t.commit();
  REQUIRE(t.running() == "b");
  REQUIRE(t.count("started b") == 1);
}

TEST_CASE("what waits behind a refused fact is told after it, not instead of it") {
  talk t;
  t.submit("a");
  t.submit("b");
  t.commit();
  t.say("x");
  t.finish(); // usage and end
  auto p = t.submit("c");
  t.refuse_one();
  t.refuse_one();
  t.commit();
  REQUIRE(t.answer(p) == errc::none);
  auto at = [&](const std::string& what) { return t.last(what)->seq; };
  REQUIRE(at("completed a") < at("started b"));
  REQUIRE(at("completed a") < at("accepted c"));
}

TEST_CASE("a refused lease is asked for again, and what waited for it is told") {
  session_limits l;
  l.lease_block = 4;
  talk t{l};
  t.submit("a");
  t.commit();
  for (int i = 0; i < 20; ++i)
    t.say("x");
  REQUIRE(t.count("delta a") < 20); // beyond the lease
  for (int i = 0; i < 3 && !t.pending.empty(); ++i)
    t.refuse_one();
  t.finish();
  for (int i = 0; i < 3; ++i)
    t.refuse_one();
  t.commit();
  REQUIRE(t.count("delta a") == 20);
  REQUIRE(t.count("completed a") == 1);
  REQUIRE(t.c->idle());
}

TEST_CASE("the same request twice makes one task") {
  talk t;
  auto turn = t.turn("a");
  turn.once = {"key", "print"};
  auto p = t.submit(turn);
  turn.task_id = "again";
  turn.message_id = "q_again";
  auto q = t.submit(turn); // before the first is known to be durable
  t.commit();
  REQUIRE(t.answer(p) == errc::none);
  REQUIRE_FALSE(t.answers.at(p).replayed);
  REQUIRE(t.answer(q) == errc::none);
  REQUIRE(t.answers.at(q).replayed);
  REQUIRE(t.answers.at(q).task == "a");
  REQUIRE(t.answers.at(q).session == t.key.id);
  t.finish();
  t.commit();
  auto r = t.submit(turn);
  t.commit();
  REQUIRE(t.answers.at(r).task == "a");
  REQUIRE(t.count("accepted again") == 0);
  REQUIRE(t.orders.size() == 1);
  turn.once.fingerprint = "other";
  auto m = t.submit(turn);
  t.commit();
  REQUIRE(t.answer(m) == errc::idempotency_mismatch);
  REQUIRE(t.c->idle());
  REQUIRE(t.c->view().message_count == 1);
}

TEST_CASE("a repeated request does not disturb what runs") {
  talk t;
  auto turn = t.turn("a");
  turn.once = {"key", "print"};
  t.submit(turn);
  t.commit();
  t.say("one ");
  turn.task_id = "again";
  t.submit(turn);
  t.say("two");
  t.commit();
  t.finish();
  t.commit();
  REQUIRE(t.last("completed a")->end->content == "one two");
  REQUIRE(t.count("delta a") == 2);
}

TEST_CASE("a refused checkpoint loses nothing: the record is whole in the end") {
  talk t;
  t.submit("a");
  t.commit();
  t.say("one ");
  t.checkpoint();
  t.commit();
  t.say("two ");
  t.checkpoint();
  t.say("three ");
  auto during = GENERATE(true, false);
  if (!during) { // the refusal comes while the task goes on
    t.refuse_one();
    t.say("four");
    t.checkpoint();
    t.commit();
    t.finish();
  } else { // or when it is over already
    t.say("four");
    t.finish();
    t.refuse_one();
  }
  t.commit();
  REQUIRE(t.count("completed a") == 1);
  auto& stored = t.disk.tasks.at("a");
  REQUIRE(stored.text == "one two three four");
  auto again = t.disk.events(t.key);
  REQUIRE(again.size() == t.told.size());
  for (std::size_t i = 0; i < again.size(); ++i) {
    REQUIRE(again[i]->seq == t.told[i]->seq);
    REQUIRE(again[i]->text == t.told[i]->text);
  }
}

TEST_CASE("a checkpoint under way is not recorded twice with the end") {
  talk t;
  t.submit("a");
  t.commit();
  t.say("one ");
  t.checkpoint();
  t.say("two");
  t.checkpoint(); // the first has not come back
  t.finish();
  t.commit();
  REQUIRE(t.disk.tasks.at("a").text == "one two");
  REQUIRE(t.disk.events(t.key).size() == t.told.size());
}

TEST_CASE("a turn leaves a usage record, also when the disk is full at its end") {
  talk t;
  t.submit("a");
  t.commit();
  t.finish();
  for (int i = 0; i < 6; ++i)
    t.refuse_one();
  t.commit();
  REQUIRE(t.disk.usages.size() == 1);
  REQUIRE(t.disk.usages.front().task == "a");
}

TEST_CASE("a deletion that cannot be recorded is refused, and the session goes on") {
  talk t;
  t.submit("a");
  t.submit("b");
  t.commit();
  t.say("half");
  auto p = t.remove();
  auto over_before = GENERATE(true, false); // the stopped task ends before or after the refusal
  if (over_before)
    t.stopped();
  t.refuse_one(); // the usage record, or the deletion
  while (!t.answered(p))
    t.refuse_one();
  REQUIRE(t.answer(p) == errc::store_full);
  REQUIRE_FALSE(t.c->removed());
  if (!over_before)
    t.stopped();
  t.commit();
  REQUIRE(t.count("cancelled a") == 1);
  REQUIRE(t.running() == "b"); // what waited still runs
  t.say("x");
  t.finish();
  t.commit();
  REQUIRE(t.count("completed b") == 1);
  REQUIRE(t.count("session_deleted") == 0);
  REQUIRE(t.c->idle());
}

TEST_CASE("everybody is answered when a session is deleted while the disk is full") {
  talk t;
  t.submit("a");
  t.commit();
  auto p = t.cancel("a");
  t.stopped();
  t.refuse_one();
  t.refuse_one(); // usage and end wait for room
  auto q = t.remove();
  t.commit();
  REQUIRE(t.answer(q) == errc::none);
  REQUIRE(t.answered(p));
  REQUIRE(t.asked.empty());
}

TEST_CASE("a repeated interrupting request does not interrupt the turn it repeats") {
  talk t;
  auto turn = t.turn("a");
  turn.when_busy = on_busy::interrupt;
  turn.once = {"key", "print"};
  t.submit(turn);
  t.commit();
  t.say("one ");
  turn.task_id = "again";
  auto p = t.submit(turn);
  t.commit();
  REQUIRE(t.stops == 0);
  REQUIRE(t.answers.at(p).replayed);
  t.finish();
  t.commit();
  REQUIRE(t.count("completed a") == 1);
}

TEST_CASE("a turn that could not be recorded interrupts nothing") {
  talk t;
  t.submit("a");
  t.commit();
  auto p = t.submit("b", on_busy::interrupt);
  t.refuse_one();
  REQUIRE(t.answer(p) == errc::store_full);
  REQUIRE(t.stops == 0);
}

TEST_CASE("a repeated request gets its task, however busy the session is") {
  session_limits l;
  l.max_turns = 2;
  talk t{l};
  auto turn = t.turn("a");
  turn.when_busy = on_busy::reject;
  turn.once = {"key", "print"};
  t.submit(turn);
  t.commit();
  turn.task_id = "again";
  auto p = t.submit(turn);
  t.commit();
  REQUIRE(t.answer(p) == errc::none);
  REQUIRE(t.answers.at(p).task == "a");
  t.finish();
  t.commit();
  t.submit("b");
  t.submit("c");
  t.commit();
  turn.task_id = "once more"; // its turn has ended meanwhile, and the queue is full
  auto q = t.submit(turn);
  t.commit();
  REQUIRE(t.answer(q) == errc::none);
  REQUIRE(t.answers.at(q).task == "a");
  turn.once = {"another key", "print"};
  auto r = t.submit(turn);
  t.commit();
  REQUIRE(t.answer(r) == errc::session_busy);
  turn.when_busy = on_busy::queue;
  auto s = t.submit(turn);
  t.commit();
  REQUIRE(t.answer(s) == errc::too_many_turns);
}

TEST_CASE("who asks to cancel what has ended otherwise is told so") {
  talk t;
  t.submit("a");
  t.commit();
  t.say("all");
  auto p = t.cancel("a");
  t.finish(); // the model was faster
  t.commit();
  REQUIRE(t.count("completed a") == 1);
  REQUIRE(t.answer(p) == errc::task_ended);
}

TEST_CASE("a task cancelled before its acceptance is known ends only if it was accepted") {
  talk t;
  t.submit("a");
  t.commit();
  t.submit("b");
  auto p = t.cancel("b");
  REQUIRE_FALSE(t.answered(p));
  auto room = GENERATE(true, false);
  if (room) {
    t.commit();
    REQUIRE(t.answer(p) == errc::none);
    REQUIRE(t.count("accepted b") == 1);
    REQUIRE(t.count("cancelled b") == 1);
  } else {
    t.refuse_one();
    t.commit();
    REQUIRE(t.answered(p));
    REQUIRE(t.count("accepted b") + t.count("cancelled b") == 0);
    REQUIRE(t.c->view().message_count == 1);
  }
  t.finish();
  t.commit();
  REQUIRE(t.c->idle());
}

TEST_CASE("events that are not on disk stay in memory") {
  session_limits l;
  l.recent_events = 5;
  talk t{l};
  t.submit("a");
  t.submit("b");
  t.commit();
  for (int i = 0; i < 30; ++i)
    t.say("x");
  auto first = t.last("accepted a")->seq;
  t.cancel("b");
  t.finish(); // the end of b is on its way before that of a
  while (t.count("cancelled b") == 0) {
    REQUIRE(t.c->first_recent() <= first);
    t.commit_one();
  }
  t.commit();
  REQUIRE(t.c->recent().size() <= 5);
}
