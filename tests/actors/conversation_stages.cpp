#include "talk.hpp"

// Tasks that are more than one call to a model: what their stages come to, and who calls back.

using namespace parlor;
using parlor::test::talk;
using strings = std::vector<std::string>;
using news = outside_news::kind;

namespace {

stage_name named(const char* s) { return std::make_shared<const std::string>(s); }

struct staged : talk {
  std::uint64_t begin(const std::string& task, task_kind kind, std::string ref = {}) {
    auto t = turn(task);
    t.kind = kind;
    t.ref = std::move(ref);
    auto p = submit(std::move(t));
    commit();
    return p;
  }
  void stage(const char* name, std::string result) {
    take(c->stage_done(running(), named(name), std::move(result), now));
  }
  /// As the external task does when the service has said `text`.
  void end_by_callback(std::string text, errc error = errc::none) {
    outcome end;
    end.status = error == errc::none ? task_status::completed : task_status::failed;
    end.error = error;
    end.content = std::move(text);
    end.finish_reason = by_callback;
    take(c->finished(running(), std::move(end), {}, now));
  }
};

} // namespace

TEST_CASE("a session is opened without a turn, once") {
  staged t;
  auto a = t.open_session();
  CHECK_FALSE(t.answered(a)); // not durable yet
  auto too = t.open_session();
  CHECK_FALSE(t.answered(too));
  t.commit();
  CHECK(t.answer(too) == errc::none);
  CHECK(t.answer(a) == errc::none);
  CHECK(t.disk.sessions.size() == 1);
  auto b = t.open_session();
  CHECK(t.answer(b) == errc::none);
  CHECK(t.pending.empty());
  t.chat("x");
  CHECK(t.disk.sessions.at(t.key).row.view.message_count == 2);
}

TEST_CASE("a session that could not be opened is not there") {
  staged t;
  auto a = t.open_session();
  t.refuse_one();
  CHECK(t.answer(a) == errc::store_full);
  CHECK_FALSE(t.c->exists());
  auto b = t.open_session();
  t.commit();
  CHECK(t.answer(b) == errc::none);
}

TEST_CASE("what a stage has come to is told when it is durable, and what follows waits for it") {
  staged t;
  t.begin("a", task_kind::pipeline);
  t.take(t.c->delta("a", "one", t.now, named("first")));
  t.stage("first", R"({"n":1})");
  t.take(t.c->delta("a", "two", t.now, named("second")));
  CHECK(t.kinds() == strings{"accepted a", "started a", "delta a"});
  t.commit();
  CHECK(t.kinds() == strings{"accepted a", "started a", "delta a", "stage_done a", "delta a"});
  CHECK(t.last("stage_done a")->text == R"({"n":1})");
  CHECK(*t.last("stage_done a")->stage == "first");
  CHECK(*t.last("delta a")->stage == "second");
  t.end_by_callback("{}");
  t.commit();
  CHECK(t.last("completed a")->end->content == "{}");
  auto stored = t.disk.events(t.key); // and the disk tells it the same way
  REQUIRE(stored.size() == t.told.size());
  for (std::size_t i = 0; i < stored.size(); ++i) {
    CHECK(talk::describe(*stored[i]) == talk::describe(*t.told[i]));
    CHECK(stored[i]->seq == t.told[i]->seq);
    CHECK(stored[i]->text == t.told[i]->text);
    CHECK((stored[i]->stage ? *stored[i]->stage : "") ==
          (t.told[i]->stage ? *t.told[i]->stage : ""));
  }
}

TEST_CASE("stages that end while a checkpoint is under way, and a full disk") {
  staged t;
  t.begin("a", task_kind::pipeline);
  t.take(t.c->delta("a", "one", t.now, named("first")));
  t.checkpoint();
  t.stage("first", "1");
  t.stage("second", "2");
  CHECK(t.count("stage_done a") == 0);
  t.refuse_one(); // the checkpoint: its text is recorded with the stages'
  t.refuse_one();
  CHECK(t.count("stage_done a") == 0);
  t.commit();
  CHECK(t.count("stage_done a") == 2);
  t.end_by_callback("{}");
  t.commit();
  CHECK(t.disk.tasks.at("a").text == "one");
  CHECK(t.disk.events(t.key).size() == t.told.size());
}

TEST_CASE("a task with stages goes on after a restart with what its stages have come to") {
  staged t;
  t.begin("a", task_kind::pipeline, "r1");
  t.stage("first", R"({"n":1})");
  t.commit();
  t.take(t.c->delta("a", "half of the sec", t.now, named("second")));
  t.crash();
  t.commit();
  REQUIRE(t.orders.size() == 2);
  auto& order = *t.orders.back();
  CHECK(order.header->kind == task_kind::pipeline);
  CHECK(order.header->ref == "r1");
  REQUIRE(order.done.size() == 1);
  CHECK(order.done[0].name == "first");
  CHECK(order.done[0].result == R"({"n":1})");
  CHECK(order.first_attempt == 2);
  CHECK(t.count("retry a") == 1);
}

TEST_CASE("a callback is answered when the end that it brings is durable") {
  staged t;
  t.begin("a", task_kind::external);
  t.stage("called", "{}");
  t.commit();
  auto p = t.call_back("a", news::completed, "plan");
  REQUIRE(t.handed_over.size() == 1);
  CHECK(t.handed_over[0].text == "plan");
  auto again = t.call_back("a", news::completed, "plan"); // before the first has ended it
  auto other = t.call_back("a", news::completed, "another");
  CHECK(t.answer(other) == errc::not_waiting);
  CHECK(t.handed_over.size() == 1);
  t.end_by_callback("plan");
  auto third = t.call_back("a", news::completed, "plan"); // before that is durable
  auto differs = t.call_back("a", news::failed, "plan");
  CHECK(t.answer(differs) == errc::not_waiting);
  CHECK_FALSE(t.answered(third));
  CHECK_FALSE(t.answered(p));
  t.commit();
  CHECK(t.answer(p) == errc::none);
  CHECK(t.answer(again) == errc::none);
  CHECK(t.answer(third) == errc::none);
  CHECK(t.last("completed a")->end->content == "plan");
  auto late = t.call_back("a", news::completed, "plan");
  CHECK(t.answer(late) == errc::not_waiting);
}

TEST_CASE("callbacks that find nobody waiting") {
  staged t;
  auto nobody = t.call_back("", news::completed, "x");
  CHECK(t.answer(nobody) == errc::session_not_found);
  t.begin("chat", task_kind::chat);
  auto chat = t.call_back("chat", news::completed, "x");
  CHECK(t.answer(chat) == errc::not_waiting);
  t.finish();
  t.commit();
  t.begin("a", task_kind::external);
  auto other = t.call_back("b", news::completed, "x");
  CHECK(t.answer(other) == errc::not_waiting);
  auto any = t.call_back("", news::progress, "reading", 40);
  CHECK(t.answer(any) == errc::none);
  REQUIRE(t.last("progress a") != nullptr);
  CHECK(t.last("progress a")->number == 40);
  CHECK(t.last("progress a")->text == "reading");
  CHECK(t.handed_over.empty());
}

TEST_CASE("a callback that comes while the task is cancelled loses") {
  staged t;
  t.begin("a", task_kind::external);
  auto stop = t.cancel("a");
  auto p = t.call_back("a", news::completed, "plan");
  t.stopped();
  t.commit();
  CHECK(t.answer(stop) == errc::none);
  CHECK(t.answer(p) == errc::task_ended);
}

TEST_CASE("a callback under way when its session is removed is told so") {
  staged t;
  t.begin("a", task_kind::external);
  auto p = t.call_back("a", news::completed, "plan");
  auto r = t.remove();
  t.commit();
  CHECK(t.answer(r) == errc::none);
  CHECK(t.answer(p) == errc::session_deleted);
}

TEST_CASE("a service that was called is waited for across a restart; one that was not is called") {
  staged t;
  t.begin("a", task_kind::external);
  t.stage("called", "{}");
  t.commit();
  auto called_at = t.now;
  t.now += 60'000;
  t.crash();
  t.commit();
  REQUIRE(t.orders.size() == 2);
  CHECK(t.orders.back()->first_attempt == 1); // its callback URL is that of the first attempt
  REQUIRE(t.orders.back()->done.size() == 1);
  CHECK(t.orders.back()->done[0].at == called_at);
  CHECK(t.count("retry a") == 0);
  auto p = t.call_back("a", news::completed, "plan");
  t.end_by_callback("plan");
  t.commit();
  CHECK(t.answer(p) == errc::none);

  t.begin("b", task_kind::external);
  t.crash();
  t.commit();
  CHECK(t.orders.back()->done.empty());
  CHECK(t.orders.back()->first_attempt == 2);
  CHECK(t.count("retry b") == 1);
}

TEST_CASE("who wants to know when the text is complete is told before it is stored") {
  staged t;
  auto turn = t.turn("a");
  turn.wants_text_done = true;
  t.submit(std::move(turn));
  t.commit();
  t.say("hi ");
  t.say("there");
  t.finish();
  CHECK(t.count("text_done a") == 1);
  CHECK(t.last("text_done a")->text == "hi there");
  CHECK(t.count("completed a") == 0);
  t.commit();
  CHECK(t.count("completed a") == 1);
  CHECK(t.last("completed a")->end->session_questions == 1);
  CHECK(t.last("completed a")->end->session_tokens == 7);

  auto failing = t.turn("b");
  failing.wants_text_done = true;
  t.submit(std::move(failing));
  t.commit();
  t.finish(task_status::failed, errc::upstream_error);
  t.commit();
  CHECK(t.count("text_done b") == 0);
}
