// What is left of a session when the server has gone, and how it goes on.

#include "talk.hpp"

using namespace parlor;
using parlor::test::model_disk;
using parlor::test::talk;

using names = std::vector<std::string>;

namespace {

/// What the store tells again is what was told live, event by event.
void require_replay_is_what_was_told(const talk& t) {
  auto stored = t.disk.events(t.key);
  std::map<std::uint64_t, event_ptr> by_seq;
  for (auto& e : t.told)
    by_seq[e->seq] = e;
  for (auto& e : stored) {
    INFO("seq " << e->seq << " " << talk::describe(*e));
    REQUIRE(by_seq.count(e->seq) == 1);
    auto& live = *by_seq[e->seq];
    REQUIRE(talk::describe(live) == talk::describe(*e));
    REQUIRE(live.text == e->text);
    REQUIRE(live.number == e->number);
    REQUIRE(live.discard == e->discard);
    REQUIRE(live.delay_ms == e->delay_ms);
    REQUIRE(live.at == e->at);
    REQUIRE((live.end == nullptr) == (e->end == nullptr));
    if (live.end) {
      REQUIRE(live.end->content == e->end->content);
      REQUIRE(live.end->error == e->end->error);
      REQUIRE(live.end->attempts == e->end->attempts);
    }
  }
}

names sent(const talk& t) {
  names said;
  for (auto& m : t.orders.back()->messages)
    said.push_back(m.content);
  return said;
}

} // namespace

TEST_CASE("what is stored tells again exactly what was told") {
  talk t;
  t.submit("a");
  t.commit();
  for (auto piece : {"one ", "two ", "three "}) {
    t.now += 150;
    t.say(piece);
  }
  t.checkpoint();
  t.commit();
  t.now += 5;
  t.retry(2, true);
  t.say("four");
  t.checkpoint();
  t.say(" five");
  t.submit("b");
  t.commit();
  t.finish(task_status::completed, errc::none, 2);
  t.commit();
  t.stopped();
  t.commit();
  require_replay_is_what_was_told(t);
  REQUIRE(t.disk.events(t.key).size() == t.told.size());
}

TEST_CASE("numbers go on above the lease after a crash, and without a gap after a quiet end") {
  session_limits l;
  l.lease_block = 100;
  talk t{l};
  t.chat("a");
  auto quiet = t.told.back()->seq;
  t.crash();
  t.chat("b");
  REQUIRE(t.last("accepted b")->seq > quiet);
  t.submit("c");
  t.commit();
  t.say("x");
  auto seen = t.told.back()->seq;
  auto lease = t.disk.sessions.at(t.key).row.lease;
  REQUIRE(lease >= seen);
  t.crash();
  t.commit();
  REQUIRE(t.told.back()->seq > lease); // nobody can have seen a number that is used now
  REQUIRE(t.last("retry c")->seq == lease + 1);
}

TEST_CASE("a lease is never outrun, whatever its size") {
  session_limits l;
  l.lease_block = GENERATE(1U, 2U, 3U, 7U);
  talk t{l};
  t.submit("a");
  t.commit();
  for (int i = 0; i < 40; ++i) {
    t.say("x"); // talk checks every number against what is durable
    if (i % 3 == 0)
      t.commit();
  }
  t.finish();
  t.commit();
  REQUIRE(t.count("delta a") == 40);
  REQUIRE(t.count("completed a") == 1);
  for (std::size_t i = 0; i < t.told.size(); ++i)
    REQUIRE(t.told[i]->seq == i + 1);
}

TEST_CASE("an interrupted task is run again: announced, discarded, with the next attempt") {
  talk t;
  t.submit("a", "question");
  t.commit();
  t.say("half");
  t.checkpoint();
  t.commit();
  t.say("lost");
  t.crash();
  t.commit();
  auto* r = t.last("retry a");
  REQUIRE(r != nullptr);
  REQUIRE(r->discard);
  REQUIRE(r->number == 2);
  REQUIRE(t.orders.size() == 2);
  REQUIRE(t.orders.back()->first_attempt == 2);
  REQUIRE(sent(t) == names{"question"});
  REQUIRE(t.c->task("a")->status == task_status::running);
  REQUIRE(t.c->task("a")->text.empty());
  // The model was asked for it, and what it said is known in part.
  REQUIRE(t.disk.usages.size() == 1);
  auto spent = t.disk.usages[0];
  REQUIRE(spent.task == "a");
  REQUIRE(spent.attempt == 1);
  REQUIRE(spent.error == errc::interrupted);
  REQUIRE(spent.used.prompt_tokens >= estimate_tokens("question"));
  REQUIRE(spent.used.completion_tokens == estimate_tokens("half"));
  REQUIRE_FALSE(spent.used.exact);
  t.say("whole");
  t.finish(task_status::completed, errc::none, 2);
  t.commit();
  REQUIRE(t.last("completed a")->end->content == "whole");
  REQUIRE(t.disk.usages.size() == 2);
  auto& last = t.disk.usages[1];
  REQUIRE(last.attempt == 2);
  auto& all = t.last("completed a")->end->used;
  REQUIRE(all.total() == spent.used.total() + last.used.total());
  REQUIRE_FALSE(all.exact);
  REQUIRE(t.count("accepted a") == 1);
  REQUIRE(t.count("started a") == 1);
  require_replay_is_what_was_told(t);
}

TEST_CASE("a task that dies again and again keeps its record straight") {
  session_limits l;
  l.lease_block = 50;
  talk t{l};
  t.submit("a");
  t.commit();
  for (std::uint32_t life = 1; life <= 4; ++life) {
    REQUIRE(t.orders.back()->first_attempt == life);
    t.now += 130;
    t.say("life " + std::to_string(life));
    t.now += 130;
    t.say(" more");
    t.checkpoint();
    t.commit();
    t.crash();
    t.commit();
  }
  t.say("done");
  t.finish(task_status::completed, errc::none, 5);
  t.commit();
  require_replay_is_what_was_told(t);
  REQUIRE(t.disk.events(t.key).size() == t.told.size());
}

TEST_CASE("a task that every server has died of is not run for ever") {
  session_limits l;
  l.most_attempts = 4;
  talk t{l};
  t.submit("a");
  t.commit();
  for (int i = 1; i <= 4; ++i) {
    REQUIRE(t.orders.size() == static_cast<std::size_t>(i));
    t.crash(); // at once: nothing of the attempt but its number is known
    t.commit();
  }
  REQUIRE(t.orders.size() == 4);
  REQUIRE(t.last("failed a")->end->error == errc::interrupted);
  REQUIRE(t.disk.usages.size() == 4);
}

TEST_CASE("by the other policy an interrupted task fails, and its text is kept") {
  session_limits l;
  l.retry_interrupted = false;
  talk t{l};
  t.submit("a");
  t.submit("b", "second");
  t.commit();
  t.say("half");
  t.checkpoint();
  t.commit();
  t.crash();
  t.commit();
  auto* end = t.last("failed a");
  REQUIRE(end != nullptr);
  REQUIRE(end->end->error == errc::interrupted);
  REQUIRE(end->end->content == "half");
  REQUIRE(t.disk.usages.size() == 1);
  REQUIRE(t.disk.usages[0].attempt == 1);
  REQUIRE(t.disk.usages[0].error == errc::interrupted);
  REQUIRE(t.disk.usages[0].used.total() == end->end->used.total());
  REQUIRE(end->end->used.prompt_tokens > 0);
  REQUIRE(t.c->view().total_tokens == end->end->used.total());
  REQUIRE(t.running() == "b"); // it had not begun: nothing was interrupted
  REQUIRE(t.orders.back()->first_attempt == 1);
  t.finish();
  t.commit();
  REQUIRE(t.count("failed a") == 1);
  require_replay_is_what_was_told(t);
}

TEST_CASE("an attempt that was accounted for before the server died is so once") {
  talk t;
  t.submit("a");
  t.commit();
  t.take(t.c->attempt_ended("a", 1, {5, 6, true}, errc::upstream_error, t.now));
  t.commit();
  t.crash(); // while the second ran, or was waited for
  t.commit();
  REQUIRE(t.orders.back()->first_attempt == 3);
  REQUIRE(t.disk.usages.size() == 2);
  REQUIRE(t.disk.usages[0].used.exact);
  REQUIRE(t.disk.usages[1].attempt == 2);
}

TEST_CASE("what had not begun when the server died has used nothing") {
  talk t;
  t.submit("a");
  t.submit("b");
  t.commit();
  t.crash();
  t.commit();
  REQUIRE(t.disk.usages.size() == 1);
  REQUIRE(t.disk.usages[0].task == "a");
}

TEST_CASE("open tasks go on in the order of their arrival") {
  talk t;
  t.submit("z", "1");
  t.submit("y", "2");
  t.submit("x", "3");
  t.commit();
  t.crash();
  t.commit();
  names ran;
  for (int i = 0; i < 3; ++i) {
    ran.push_back(t.running());
    t.say("to " + t.running());
    t.finish();
    t.commit();
  }
  REQUIRE(ran == names{"z", "y", "x"});
  REQUIRE(sent(t) == names{"1", "to z", "2", "to y", "3"});
}

TEST_CASE("counters are the same before and after a restart") {
  talk t;
  t.chat("a");
  t.submit("b");
  t.submit("c");
  t.commit();
  auto before = t.c->view();
  REQUIRE(before.message_count == 4);
  REQUIRE(before.question_count == 3);
  t.crash();
  t.commit();
  auto after = t.c->view();
  REQUIRE(after.message_count == before.message_count);
  REQUIRE(after.question_count == before.question_count);
  REQUIRE(after.total_tokens == before.total_tokens);
  REQUIRE(after.created_at == before.created_at);
  for (int i = 0; i < 2; ++i) {
    t.say("x");
    t.finish();
    t.commit();
  }
  auto& stored = t.disk.sessions.at(t.key).row.view;
  REQUIRE(t.c->view().message_count == stored.message_count);
  REQUIRE(t.c->view().question_count == stored.question_count);
  REQUIRE(t.c->view().total_tokens == stored.total_tokens);
}

TEST_CASE("what a model is sent is the same before and after a restart") {
  talk t;
  t.submit("a", "qa");
  t.commit();
  t.submit("b", "qb"); // its question is stored before the first one's answer
  t.submit("c", on_busy::interrupt);
  t.commit();
  t.say("aa");
  t.stopped();
  t.commit();
  REQUIRE(t.running() == "c");
  t.say("ac");
  t.finish();
  t.commit();
  t.say("ab");
  t.finish();
  t.commit();
  t.submit("d", "qd");
  t.commit();
  auto before = sent(t);
  REQUIRE(before == names{"qa", "aa", "hello", "ac", "qb", "ab", "qd"});
  t.crash();
  t.commit();
  REQUIRE(sent(t) == before);
  REQUIRE(t.running() == "d");
}

TEST_CASE("what was on its way to the disk either happened or did not") {
  // Every place at which the server can die within one turn.
  for (std::size_t reached = 0; reached < 3; ++reached) {
    talk t;
    t.submit("a");
    t.orders.clear();
    t.crash(reached);
    t.commit();
    REQUIRE(t.orders.size() == (reached > 0 ? 1U : 0U));
    REQUIRE(t.c->exists() == (reached > 0));
  }
  for (std::size_t reached = 0; reached < 4; ++reached) {
    talk t;
    t.submit("a");
    t.commit();
    t.say("text");
    t.finish(); // usage, end
    t.crash(reached);
    t.commit();
    auto ended = reached >= 2;
    REQUIRE(t.c->idle() == ended);
    if (!ended) {
      t.say("again");
      t.finish(task_status::completed, errc::none, 2);
      t.commit();
    }
    auto& stored = t.disk.tasks.at("a");
    REQUIRE(stored.view.end->content == (ended ? "text" : "again"));
    REQUIRE(t.disk.sessions.at(t.key).history.size() == 2);
  }
}

TEST_CASE("a deleted session tells so, also after a restart, and its numbers stay used") {
  talk t;
  t.chat("a");
  t.crash();
  auto expired = GENERATE(false, true);
  t.remove(expired);
  t.commit();
  REQUIRE(t.kinds().back() == (expired ? "session_expired" : "session_deleted"));
  REQUIRE(t.retired);
  auto last = t.told.back()->seq;
  t.crash();
  t.chat("b");
  REQUIRE(t.last("accepted b")->seq > last);
}

TEST_CASE("a repeated request is recognised after a restart") {
  talk t;
  auto turn = t.turn("a");
  turn.once = {"key", "print"};
  t.submit(turn);
  t.crash(1);
  t.commit();
  turn.task_id = "again";
  auto p = t.submit(turn);
  t.commit();
  REQUIRE(t.answers.at(p).replayed);
  REQUIRE(t.answers.at(p).task == "a");
}
