// Every fact comes back after the store is closed and opened again.

#include "fixture.hpp"

#include "protocol/task_log.hpp"

using namespace parlor;
using namespace parlor::store;
using namespace parlor::store::test;

namespace {

const session_key alice{"tenant", "alice"};

event make(event_kind kind, std::uint64_t seq, std::int64_t at) {
  event e;
  e.kind = kind;
  e.seq = seq;
  e.at = at;
  return e;
}

event delta(std::uint64_t seq, std::int64_t at, std::string text) {
  auto e = make(event_kind::delta, seq, at);
  e.text = std::move(text);
  return e;
}

} // namespace

TEST_CASE_METHOD(fixture, "an open task knows its attempts, also those its log lacks", "[store]") {
  apply({{session_opened{alice, 1000, {}, {}}, seq_leased{alice, 512},
          accepted(alice, "t1", 1000, 7)},
         {task_started{"t1", 2000, 8}},
         {usage_recorded{"t1", 1, "m", 2500, {1, 2, false}, errc::schema_violation}},
         {usage_recorded{"t1", 3, "n", 2600, {1, 2, false}, errc::schema_violation}}});
  CHECK(r->find_task("tenant", "t1")->view.attempt == 3);
  CHECK(r->load_session(alice, {10}).open_tasks.at(0).view.attempt == 3);
  CHECK(r->usage_of("t1").at(1).model == "n");
}

TEST_CASE_METHOD(fixture, "a turn comes back whole after reopening", "[store]") {
  auto a = accepted(alice, "t1", 1000, 7, "question");
  a.said.extra = R"({"name":"x"})";
  a.settings.temperature = "0.50";
  a.settings.max_tokens = 99;
  a.settings.response_format = R"({"type":"json_object"})";
  a.settings.passthrough = R"({"top_p":1})";
  a.settings.script = "fail:1";
  auto e = ended(alice, "t1", 3000, 12, "half", task_status::failed);
  change_end(e, [](outcome& end) {
    end.error = errc::upstream_timeout;
    end.detail = "no bytes";
    end.finish_reason = "stop";
    end.attempts = 2;
    end.history_dropped = 3;
  });
  e.answer_extra = R"({"tool_calls":[]})";
  auto epoch = disk->epoch();
  CHECK(epoch.size() == 8);
  apply({{session_opened{alice, 1000, "be kind", R"({"k":1})"}, seq_leased{alice, 512}, a},
         {task_started{"t1", 2000, 8}},
         {usage_recorded{"t1", 1, "m", 2500, {1, 2, false}, errc::upstream_timeout}},
         {e, usage_recorded{"t1", 2, "m", 3000, {3, 4, true}, errc::none}}});
  reopen();
  CHECK(disk->epoch() == epoch);

  auto image = r->load_session(alice, {10});
  REQUIRE(image.session);
  auto& s = *image.session;
  CHECK(s.key == alice);
  CHECK(s.system_prompt == "be kind");
  CHECK(s.metadata == R"({"k":1})");
  CHECK(s.first_seq == 7);
  CHECK(s.lease == 512);
  CHECK(s.view.id == "alice");
  CHECK(s.view.created_at == 1000);
  CHECK(s.view.last_accessed == 3000);
  CHECK(s.view.message_count == 2);
  CHECK(s.view.question_count == 1);
  CHECK(s.view.total_tokens == 7);
  CHECK(s.view.last_seq == 12);
  CHECK(s.view.state == "idle");
  CHECK(image.open_tasks.empty());
  REQUIRE(image.history.size() == 2);
  CHECK(image.history[0].id == "msg_u_t1");
  CHECK(image.history[0].said.content == "question");
  CHECK(image.history[0].said.extra == R"({"name":"x"})");
  CHECK_FALSE(image.history[0].partial);
  CHECK(image.history[1].said.who == role::assistant);
  CHECK(image.history[1].said.content == "half");
  CHECK(image.history[1].said.extra == R"({"tool_calls":[]})");
  CHECK(image.history[1].task == "t1");
  CHECK(image.history[1].at == 3000);
  CHECK(image.history[1].partial);

  CHECK_FALSE(r->find_task("other", "t1"));
  auto t = r->find_task("tenant", "t1");
  REQUIRE(t);
  CHECK(t->settings.temperature == "0.50");
  CHECK(t->settings.max_tokens == 99);
  CHECK(t->settings.response_format == R"({"type":"json_object"})");
  CHECK(t->settings.passthrough == R"({"top_p":1})");
  CHECK(t->settings.script == "fail:1");
  CHECK(t->message_id == "msg_u_t1");
  CHECK(t->accepted_seq == 7);
  CHECK(t->started_seq == 8);
  CHECK(t->ended_seq == 12);
  CHECK(t->started_at == 2000);
  CHECK(t->ended_at == 3000);
  REQUIRE(t->view.end);
  CHECK(t->view.status == task_status::failed);
  CHECK(t->view.end->error == errc::upstream_timeout);
  CHECK(t->view.end->detail == "no bytes");
  CHECK(t->view.end->content == "half");
  CHECK(t->view.end->message_id == "msg_a_t1");
  CHECK(t->view.end->finish_reason == "stop");
  CHECK(t->view.end->used.total() == 7);
  CHECK(t->view.end->used.exact);
  CHECK(t->view.end->attempts == 2);
  CHECK(t->view.end->history_dropped == 3);
  CHECK(t->view.last_seq == 12);

  auto used = r->usage_of("t1");
  REQUIRE(used.size() == 2);
  CHECK(used[0].error == errc::upstream_timeout);
  CHECK(used[0].used.prompt_tokens == 1);
  CHECK(used[1].attempt == 2);
  CHECK(used[1].used.exact);
}

TEST_CASE_METHOD(fixture, "an open task shows its checkpoints", "[store]") {
  apply({{session_opened{alice, 1000, {}, {}}, seq_leased{alice, 100},
          accepted(alice, "t1", 1000, 1)},
         {task_started{"t1", 1010, 2}}});
  task_log log{1, 1000};
  log.note(delta(3, 1100, "void"));
  auto shown = log.take();
  apply({{task_checkpoint{"t1", 1100, shown.text, shown.entries}}});
  auto again = make(event_kind::retry, 4, 1200);
  again.discard = true;
  again.number = 2;
  again.delay_ms = 500;
  log.note(again);
  log.note(delta(5, 1300, "real "));
  auto percent = make(event_kind::progress, 6, 1400);
  percent.number = 40;
  log.note(percent);
  log.note(delta(7, 1500, std::string{"t\0xt", 4}));
  shown = log.take();
  apply({{task_checkpoint{"t1", 1500, shown.text, shown.entries}}});
  reopen();

  auto image = r->load_session(alice, {10});
  REQUIRE(image.open_tasks.size() == 1);
  auto& t = image.open_tasks[0];
  CHECK(t.view.status == task_status::running);
  CHECK(t.view.text == std::string{"real t\0xt", 9});
  CHECK(t.text == std::string{"voidreal t\0xt", 13});
  CHECK(t.view.attempt == 2);
  CHECK(t.view.progress == 40);
  CHECK(t.view.last_seq == 7);
  CHECK(t.view.updated_at == 1500);
  CHECK_FALSE(t.view.end);
  CHECK(image.session->view.state == "running");
  CHECK(image.session->view.active_task == "t1");
  CHECK(r->unfinished_sessions() == std::vector{alice});
  CHECK(r->idle_sessions(99999, 10).sessions.empty());

  log.note(delta(8, 1600, "!"));
  auto e = ended(alice, "t1", 1700, 9);
  shown = log.take();
  e.text = shown.text;
  e.log = shown.entries;
  change_end(e, [](outcome& end) {
    end.content = std::string{"real t\0xt!", 10};
    end.attempts = 2;
  });
  apply({{e}});
  reopen();
  auto done = r->find_task("tenant", "t1");
  REQUIRE(done);
  CHECK(done->text == std::string{"voidreal t\0xt!", 14});
  CHECK(done->view.text == e.end->content);
  CHECK(done->view.progress == 100);
  auto header = std::make_shared<const task_header>();
  bool whole = false;
  CHECK(replay(1, 1000, header, done->text, done->log, &whole).size() == 6);
  CHECK(whole);
  CHECK(r->unfinished_sessions().empty());
  CHECK(r->idle_sessions(99999, 10).sessions == std::vector{alice});
  CHECK(r->idle_sessions(1700, 10).sessions.empty());
}

TEST_CASE_METHOD(fixture, "a batch of 64 groups adds up", "[store]") {
  std::vector<fact_group> groups;
  groups.push_back({session_opened{alice, 1, {}, {}}, seq_leased{alice, 1000}});
  for (std::uint64_t i = 0; i < 63; ++i) {
    auto name = "t" + std::to_string(i);
    auto at = static_cast<std::int64_t>(i);
    groups.push_back({accepted(alice, name, at, 3 * i + 1), task_started{name, at, 3 * i + 2},
                      ended(alice, name, at, 3 * i + 3)});
  }
  auto results = apply(groups);
  CHECK(results.size() == 64);
  auto s = r->find_session(alice);
  REQUIRE(s);
  CHECK(s->view.message_count == 126);
  CHECK(s->view.question_count == 63);
  CHECK(s->view.total_tokens == 63 * 7);
  CHECK(r->count_sessions() == 1);
  auto after = tasks_after(*r, alice, 3 * 60); // the first 60 tasks have ended by then
  CHECK(after == std::vector<std::string>{"t60", "t61", "t62"});
  CHECK(tasks_after(*r, alice, 3 * 63).empty());
}

TEST_CASE_METHOD(fixture, "an answer that is empty does not join the history", "[store]") {
  auto e = ended(alice, "t", 3, 3, "", task_status::cancelled);
  change_end(e, [](outcome& end) { end.message_id.clear(); });
  apply({{session_opened{alice, 1, {}, {}}, accepted(alice, "t", 1, 1)}, {e}});
  CHECK(r->find_session(alice)->view.message_count == 1);
  CHECK(r->list_messages(alice, 10, "")->messages.size() == 1);
  auto image = r->load_session(alice, {10});
  CHECK(image.history.empty()); // no model is told of it
  CHECK(image.older == 0);
}

TEST_CASE_METHOD(fixture, "a lease grows, and is given back only by its owner's word", "[store]") {
  apply({turn(alice, "t1", 1000, 1)}); // ends at 3
  apply({{seq_leased{alice, 50}}});
  CHECK(r->load_session(alice, {10}).session->lease == 101);
  apply({{seq_leased{alice, 3, true}}});
  CHECK(r->load_session(alice, {10}).session->lease == 3);
  apply({{seq_leased{alice, 1, true}}}); // never below a number that was used
  CHECK(r->load_session(alice, {10}).session->lease == 3);
}
