// The rules of one session: who runs when, what is told, what is remembered.

#include "talk.hpp"

using namespace parlor;
using parlor::test::talk;

using names = std::vector<std::string>;

TEST_CASE("a turn is told in order: accepted, started, pieces, the end") {
  talk t;
  auto p = t.submit("a", "hello");
  REQUIRE(t.told.empty());
  REQUIRE_FALSE(t.answered(p));
  t.commit();
  REQUIRE(t.answer(p) == errc::none);
  REQUIRE(t.answers.at(p).task == "a");
  REQUIRE(t.kinds() == names{"accepted a", "started a"});
  REQUIRE(t.orders.size() == 1);
  t.say("one ");
  t.say("two");
  REQUIRE(t.last("delta a")->text == "two"); // at once, with nothing committed
  t.finish();
  REQUIRE(t.last("completed a") == nullptr); // a fact: not before it is durable
  t.commit();
  auto* end = t.last("completed a");
  REQUIRE(end != nullptr);
  REQUIRE(end->end->content == "one two");
  REQUIRE(end->end->finish_reason == "stop");
  REQUIRE(end == t.told.back().get());
  for (std::size_t i = 0; i < t.told.size(); ++i)
    REQUIRE(t.told[i]->seq == i + 1);
  auto v = t.c->view();
  REQUIRE(v.message_count == 2);
  REQUIRE(v.question_count == 1);
  REQUIRE(v.total_tokens == 7);
  REQUIRE(v.state == "idle");
  REQUIRE(v.last_seq == end->seq);
  REQUIRE(t.c->idle());
}

TEST_CASE("the answer to a request comes before its first event") {
  talk t;
  auto p = t.submit("a");
  std::size_t before = 0;
  auto e = t.c->durable(t.pending.front().ticket, t.disk.apply(*t.pending.front().group), t.now);
  for (auto& x : e) {
    if (std::holds_alternative<publish_effect>(x))
      ++before;
    if (auto* a = std::get_if<answer_effect>(&x)) {
      REQUIRE(a->promise == p);
      REQUIRE(before == 0);
      REQUIRE(a->accepted_seq == 1);
    }
  }
  REQUIRE(before > 0);
}

TEST_CASE("turns that arrive while one runs are queued in order of arrival") {
  talk t;
  t.submit("a", "first");
  t.commit();
  t.submit("b", "second");
  t.submit("c", "third");
  t.commit();
  REQUIRE(t.orders.size() == 1);
  REQUIRE(t.c->task("b")->status == task_status::pending);
  REQUIRE(t.c->view().active_task == "a");
  t.say("1");
  t.finish();
  t.commit();
  REQUIRE(t.running() == "b");
  REQUIRE(t.count("started b") == 1);
  REQUIRE(t.count("started c") == 0);
  t.say("2");
  t.finish();
  t.commit();
  REQUIRE(t.running() == "c");
  std::vector<std::string> said;
  for (auto& m : t.orders.back()->messages)
    said.push_back(m.content);
  REQUIRE(said == names{"first", "1", "second", "2", "third"});
}

TEST_CASE("on_busy reject refuses while a turn runs or waits, and lets the next one in") {
  talk t;
  t.submit("a");
  auto early = t.submit("b", on_busy::reject); // the first one is not even durable
  REQUIRE(t.answer(early) == errc::session_busy);
  t.commit();
  REQUIRE(t.answer(t.submit("c", on_busy::reject)) == errc::session_busy);
  t.finish();
  t.commit();
  auto p = t.submit("d", on_busy::reject);
  t.commit();
  REQUIRE(t.answer(p) == errc::none);
  REQUIRE(t.count("accepted b") + t.count("accepted c") == 0);
}

TEST_CASE("on_busy interrupt stops the running turn and goes before those who wait") {
  talk t;
  t.submit("a");
  t.commit();
  t.say("par");
  t.submit("b");
  t.submit("c", on_busy::interrupt);
  t.commit();
  REQUIRE(t.stops == 1);
  t.stopped();
  t.commit();
  REQUIRE(t.last("cancelled a")->end->content == "par");
  REQUIRE(t.running() == "c");
  t.finish();
  t.commit();
  REQUIRE(t.running() == "b");
}

TEST_CASE("no more of a history is held than may be sent, whatever kind its turns are of") {
  session_limits l;
  l.token_budget = 100;
  talk t{l};
  for (int i = 0; i < 50; ++i) {
    auto turn = t.turn("p" + std::to_string(i), std::string(1000, 'q'));
    turn.kind = task_kind::pipeline;
    t.submit(turn);
    t.commit();
    t.say(std::string(1000, 'a'));
    t.finish();
    t.commit();
  }
  auto held = t.c->at_rest();
  REQUIRE(held.history.size() <= 4);
  REQUIRE(held.older + static_cast<std::int64_t>(held.history.size()) == 100);
}

TEST_CASE("waiting and running turns are bounded") {
  session_limits l;
  l.max_turns = 3;
  talk t{l};
  for (auto id : {"a", "b", "c"})
    t.submit(id);
  auto p = t.submit("d");
  REQUIRE(t.answer(p) == errc::too_many_turns);
  t.commit();
  t.finish();
  t.commit();
  auto q = t.submit("e");
  t.commit();
  REQUIRE(t.answer(q) == errc::none);
}

TEST_CASE("a running task is stopped once, and who asked is answered when that is durable") {
  talk t;
  t.submit("a");
  t.commit();
  t.say("x");
  auto p = t.cancel("a");
  auto q = t.cancel("a");
  REQUIRE(t.stops == 1);
  REQUIRE_FALSE(t.answered(p));
  t.stopped();
  REQUIRE_FALSE(t.answered(p));
  REQUIRE(t.c->task("a")->status == task_status::running); // what is not durable is not said
  t.commit();
  REQUIRE(t.answer(p) == errc::none);
  REQUIRE(t.answer(q) == errc::none);
  REQUIRE(t.count("cancelled a") == 1);
  REQUIRE(t.answer(t.cancel("a")) == errc::task_ended);
  REQUIRE(t.answer(t.cancel("nobody")) == errc::task_ended);
}

TEST_CASE("a waiting task is cancelled without having run; the others go on") {
  talk t;
  t.submit("a");
  t.submit("b");
  t.submit("c");
  t.commit();
  auto p = t.cancel("b");
  t.commit();
  REQUIRE(t.answer(p) == errc::none);
  REQUIRE(t.last("cancelled b")->end->attempts == 0);
  REQUIRE(t.stops == 0);
  t.finish();
  t.commit();
  REQUIRE(t.running() == "c");
  REQUIRE(t.count("started b") == 0);
}

TEST_CASE("a task that is cancelled while it waits for the disk never reaches a model") {
  talk t;
  auto turn = t.turn("a");
  turn.once = {"key", "x"}; // it may be a repetition
  t.submit(std::move(turn));
  auto p = t.cancel("a");
  t.commit();
  REQUIRE(t.orders.empty());
  REQUIRE(t.count("cancelled a") == 1);
  REQUIRE(t.answer(p) == errc::none);
  REQUIRE(t.c->idle());
}

TEST_CASE("reports of a task that is not the running one change nothing") {
  talk t;
  t.submit("a");
  t.commit();
  t.finish();
  t.submit("b");
  t.commit();
  auto before = t.told.size();
  t.take(t.c->delta("a", "late", t.now));
  t.take(t.c->retrying("a", 2, 0, true, t.now));
  t.take(t.c->attempt_ended("a", 1, {}, errc::none, t.now));
  t.take(t.c->finished("a", {}, {}, t.now));
  REQUIRE(t.told.size() == before);
  REQUIRE(t.pending.empty());
  t.finish();
  t.commit();
  REQUIRE(t.last("completed b")->end->content.empty());
}

TEST_CASE("removal ends everything: no further event, everybody answered, numbers stay used") {
  talk t;
  t.chat("a");
  t.submit("b");
  t.commit();
  t.say("half");
  auto waiting = t.submit("c");
  auto cancelling = t.cancel("b");
  auto p = t.remove();
  REQUIRE(t.stops >= 1);
  REQUIRE(t.answer(t.remove()) == errc::session_not_found);
  REQUIRE(t.answer(t.submit("d")) == errc::session_deleted);
  t.take(t.c->delta("b", "late", t.now));
  t.commit();
  REQUIRE(t.answer(p) == errc::none);
  REQUIRE(t.answered(waiting));
  REQUIRE(t.answered(cancelling));
  REQUIRE(t.retired);
  REQUIRE(t.dropped == 2); // what ran and what waited
  REQUIRE(t.kinds().back() == "session_deleted");
  REQUIRE(t.count("session_deleted") == 1);
  auto last = t.told.back()->seq;
  t.open();
  REQUIRE_FALSE(t.c->exists());
  t.chat("e");
  REQUIRE(t.last("accepted e")->seq > last);
  REQUIRE(t.c->view().message_count == 2); // nothing of the old one is left
  REQUIRE(t.orders.back()->messages.size() == 1);
}

TEST_CASE("nothing can be removed that does not exist") {
  talk t;
  REQUIRE(t.answer(t.remove()) == errc::session_not_found);
  REQUIRE(t.pending.empty());
}

TEST_CASE("a retry with discard voids what was shown: texts of two attempts are never joined") {
  talk t;
  t.submit("a");
  t.commit();
  t.say("first try");
  t.retry(2, true);
  REQUIRE(t.c->task("a")->text.empty());
  REQUIRE(t.c->task("a")->attempt == 2);
  t.say("second");
  REQUIRE(t.c->task("a")->text == "second");
  t.finish(task_status::completed, errc::none, 2);
  t.commit();
  REQUIRE(t.last("completed a")->end->content == "second");
  REQUIRE(t.last("retry a")->discard);
  t.submit("b");
  t.commit();
  REQUIRE(t.orders.back()->messages.at(1).content == "second");
}

TEST_CASE("a retry before the first piece has nothing to discard") {
  talk t;
  t.submit("a");
  t.commit();
  t.retry(2, false);
  t.say("text");
  t.finish(task_status::completed, errc::none, 2);
  t.commit();
  REQUIRE_FALSE(t.last("retry a")->discard);
  REQUIRE(t.last("completed a")->end->content == "text");
}

TEST_CASE("progress grows within an attempt, comes at most ten times a second and never says 100") {
  talk t;
  auto turn = t.turn("a");
  auto known = GENERATE(true, false);
  if (known)
    turn.settings.max_tokens = 100;
  t.submit(turn);
  t.commit();
  for (int i = 0; i < 3000; ++i) {
    t.now += 7;
    t.say("word");
    if (i == 1500)
      t.retry(2, true);
  }
  t.finish();
  t.commit();
  std::uint32_t before = 0;
  std::int64_t at = 0;
  std::size_t seen = 0;
  for (auto& e : t.told) {
    if (e->kind == event_kind::retry)
      before = 0;
    if (e->kind != event_kind::progress)
      continue;
    ++seen;
    REQUIRE(e->number > before);
    REQUIRE(e->number < 100);
    REQUIRE(e->at - at >= 100);
    before = e->number;
    at = e->at;
  }
  REQUIRE(seen > 10);
}

TEST_CASE("what the model is sent is valid wherever turns were stopped") {
  talk t;
  auto turn = t.turn("a", "qa");
  turn.system_prompt = "be kind";
  t.submit(turn);
  t.commit();
  t.stopped(); // before the first piece
  t.commit();
  t.submit("b", "qb");
  t.commit();
  t.say("half an ans");
  t.stopped();
  t.commit();
  t.submit("c", "qc");
  t.commit();
  t.finish(task_status::failed, errc::upstream_timeout); // without a word
  t.commit();
  t.submit("d", "qd"); // runs
  t.submit("e", "qe"); // cancelled while it waits
  t.commit();
  t.cancel("e");
  t.say("answer d");
  t.finish();
  t.commit();
  t.submit("f", "qf");
  t.commit();
  names said;
  for (auto& m : t.orders.back()->messages)
    said.push_back(std::string{to_string(m.who)} + ": " + m.content);
  REQUIRE(said == names{"system: be kind", "user: qb", "assistant: half an ans", "user: qd",
                        "assistant: answer d", "user: qf"});
  REQUIRE(t.c->view().question_count == 6);
}

TEST_CASE("what the token budget leaves out is reported with the end") {
  session_limits l;
  l.token_budget = 60;
  talk t{l};
  t.chat("a", std::string(80, 'a'), std::string(80, 'b'));
  t.chat("b", "short", "short");
  REQUIRE(t.last("completed a")->end->history_dropped == 0);
  t.chat("c", "what?", "that");
  REQUIRE(t.last("completed c")->end->history_dropped == 2);
  REQUIRE(t.orders.back()->messages.size() == 3);
  REQUIRE(t.orders.back()->messages.front().content == "short");
}

TEST_CASE("what is never sent again is not held, and is counted all the same") {
  session_limits l;
  l.token_budget = 60;
  talk t{l};
  auto length = std::string(80, 'x');
  for (auto* name : {"a", "b", "c", "d"})
    t.chat(name, length, length);
  CHECK(t.c->at_rest().history.size() == 4); // one turn fits, and the newest came since
  CHECK(t.last("completed d")->end->history_dropped == 6);
  t.crash();
  t.chat("e", "what?", "that");
  CHECK(t.last("completed e")->end->history_dropped == 6);
}

TEST_CASE("an answer that no window holds is not held either, and nothing before it") {
  session_limits l;
  l.token_budget = 60;
  talk t{l};
  t.chat("a", "short", "short");
  t.chat("b", "long", std::string(window_bytes(60) + 1, 'x'));
  CHECK(t.c->at_rest().history.empty());
  t.chat("c", "what?", "that");
  CHECK(t.orders.back()->messages.size() == 1);
  CHECK(t.last("completed c")->end->history_dropped == 4);
  t.crash(); // as it is loaded again, too
  t.chat("d", "what?", "that");
  CHECK(t.orders.back()->messages.size() == 3);
  CHECK(t.last("completed d")->end->history_dropped == 4);
}

TEST_CASE("only the first turn's system prompt counts") {
  talk t;
  auto first = t.turn("a");
  first.system_prompt = "one";
  t.submit(first);
  t.commit();
  t.finish();
  t.commit();
  auto second = t.turn("b");
  second.system_prompt = "two";
  t.submit(second);
  t.commit();
  REQUIRE(t.orders.back()->messages.front().content == "one");
}

TEST_CASE("memory of events is bounded once tasks have ended") {
  session_limits l;
  l.recent_events = 10;
  talk t{l};
  t.submit("a");
  t.commit();
  for (int i = 0; i < 50; ++i)
    t.say("x");
  REQUIRE(t.c->recent().size() >= 50); // they are nowhere else yet
  REQUIRE(t.c->first_recent() == 1);
  t.finish();
  t.commit();
  REQUIRE(t.c->recent().size() <= 10);
  REQUIRE(t.c->first_recent() == t.c->recent().front()->seq);
  REQUIRE(t.c->recent().back()->seq == t.c->last_told());
}
