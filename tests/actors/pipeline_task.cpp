#include "actors/measures.hpp"
#include "pipeline_house.hpp"
#include "protocol/dialects/pipeline_stream.hpp"
#include "protocol/notice.hpp"

// Agents one after another, with their session, under virtual time.

using namespace parlor;
using namespace std::chrono_literals;
using house_of = parlor::test::pipeline_house;
using strings = std::vector<std::string>;

namespace {

std::string chunk(const std::string& text, const char* agent) {
  return R"({"type":"chunk","content":)" + json::quoted(text) + R"(,"agent":")" + agent + "\"}";
}
std::string complete(const std::string& data, const char* agent) {
  return R"({"type":"complete","data":)" + data + R"(,"agent":")" + agent + "\"}";
}

} // namespace

TEST_CASE("agents are asked in order, and each is told what those before it have come to") {
  house_of h;
  REQUIRE(h.yes(h.begin()));
  REQUIRE(h.model->calls.size() == 1);
  CHECK(h.prompt_of(0) == "user: Goal: bread\n");
  auto& settings = h.model->calls[0]->request.settings;
  CHECK(settings.temperature == "0.2");
  CHECK(settings.max_tokens == 100);
  CHECK(settings.response_format == R"({"type":"json_object"})");
  h.time.advance(200ms);
  h.piece("Sure: {\"n\":");
  CHECK(h.told() == strings{chunk("Sure: {\"n\":", "first")}); // at once
  h.time.advance(300ms);
  h.piece(" 7\n}");
  h.done(10, 5);
  REQUIRE(h.model->calls.size() == 2);
  CHECK(h.prompt_of(1) == "user: Plan 7 for bread: {\"n\": 7 }\n");
  CHECK(h.model->calls[1]->request.attempt == 2);
  h.time.advance(1s);
  h.piece(R"({"n":8})");
  h.done(20, 6);
  CHECK(
      h.told() ==
      strings{
          chunk("Sure: {\"n\":", "first"), chunk(" 7\n}", "first"),
          complete("{\"n\": 7 }", "first"), chunk(R"({"n":8})", "second"),
          complete(R"({"n":8})", "second"),
          R"({"type":"done","summary":{"agents":[)"
          R"({"agent":"first","duration_ms":500,"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}},)"
          R"({"agent":"second","duration_ms":1000,"usage":{"prompt_tokens":20,"completion_tokens":6,"total_tokens":26}})"
          R"(],"total_tokens":41,"duration_ms":1500}})"});
  auto& end = *h.find("completed a")->end;
  CHECK(end.used.total() == 41);
  CHECK(end.used.exact);
  CHECK(end.attempts == 2);
  CHECK(pipeline_stream::answer(end).starts_with(
      R"({"success":true,"data":{"first":{"n": 7 },"second":{"n":8}},"summary":{"agents":[)"));
  CHECK(h.usages() == strings{"1 m 15 none", "2 m 26 none"});
  CHECK(h.tasks() == 0);
  CHECK(h.limit->in_flight() + h.limit->waiting() == 0);
}

TEST_CASE("an answer that is not valid is asked for again, with what is wrong in the prompt") {
  house_of h;
  h.begin();
  h.answer("I would rather not.");
  REQUIRE(h.model->calls.size() == 2);
  CHECK(h.prompt_of(1).starts_with("user: Goal: bread\nassistant: I would rather not.\nuser: That "
                                   "answer cannot be used:\n- the document is missing"));
  CHECK(h.told().back() ==
        R"({"type":"retry","attempt":2,"delay_ms":0,"discard":true,"reason":)"
        R"("the document is missing: the answer holds no JSON","agent":"first"})");
  h.piece("{}"); // and is stopped
  REQUIRE(h.model->calls.size() == 3);
  auto said = h.prompt_of(2); // only the latest of the wrong ones
  CHECK(said.find("assistant: {}\n") != said.npos);
  CHECK(said.find("- /n is missing") != said.npos);
  CHECK(said.find("rather not") == said.npos);
  h.answer(R"({"n":1})");
  h.answer(R"({"n":2})");
  REQUIRE(h.find("completed a") != nullptr);
  std::int64_t sum = 0;
  for (auto& u : h.disk.data.usages)
    sum += u.used.total();
  CHECK(h.find("completed a")->end->used.total() == sum);
  CHECK_FALSE(h.find("completed a")->end->used.exact); // nobody knows what the stopped one took
  CHECK(h.told().back().find(R"("estimated":true}},{"agent":"second")") != std::string::npos);
  auto usages = h.usages();
  REQUIRE(usages.size() == 4);
  CHECK(usages[0] == "1 m 7 schema_violation");
  CHECK(usages[1].ends_with(" schema_violation"));
  CHECK(usages[3] == "4 m 7 none");
}

TEST_CASE("A4 the log has no word of an answer that is not as it should be") {
  static std::string lines;
  lines.clear();
  set_notice_sink([](log_level, std::string_view msg, std::initializer_list<log_field> fields) {
    lines += '\n' + std::string{msg};
    for (auto& [name, value] : fields)
      lines += ' ' + std::string{name} + '=' + std::string{value};
  });
  house_of h{[](pipeline& p) { p.agents[0].attempts = 2; }};
  h.begin();
  for (auto i = 0; i < 2; ++i)
    h.piece(R"({"said by it":1,)"); // known to be wrong at once, and stopped
  auto* end = h.find("failed a");
  REQUIRE(end != nullptr);
  CHECK(end->end->detail.find("said by it") != std::string::npos); // the store has it
  turn_ended(*end, "p");
  set_notice_sink(nullptr);
  CHECK(lines.find("answer_refused agent=first violations=") != std::string::npos);
  CHECK(lines.find("task_failed code=schema_violation detail=first ") != std::string::npos);
  CHECK(lines.find("by it") == std::string::npos);
}

TEST_CASE("after its attempts an agent has failed, and the pipeline with it") {
  house_of h{[](pipeline& p) { p.agents[1].attempts = 2; }};
  h.begin();
  h.answer(R"({"n":1})");
  h.answer("no");
  h.answer("no, and no");
  CHECK(
      h.told().back() ==
      R"({"type":"error","error":"The model's answers did not have the form that was asked for.",)"
      R"("code":"schema_violation","agent":"second"})");
  auto* end = h.find("failed a");
  REQUIRE(end != nullptr);
  CHECK(end->end->detail == "second: the document is missing: the answer holds no JSON");
  CHECK(end->end->attempts == 3);
  CHECK(end->end->used.total() == 21);
  CHECK(h.usages().back() == "3 m 7 schema_violation");
  h.time.advance(10min);
  CHECK(h.model->calls.size() == 3);
  CHECK(h.tasks() == 0);
}

TEST_CASE("an answer is stopped as soon as it cannot be valid any more") {
  house_of h;
  h.begin();
  h.piece(R"({"n":)");
  CHECK_FALSE(h.model->calls[0]->closed);
  h.piece(R"("text)");
  CHECK(h.model->calls[0]->closed);
  REQUIRE(h.model->calls.size() == 2);
  CHECK(h.told().back() == R"({"type":"retry","attempt":2,"delay_ms":0,"discard":true,"reason":)"
                           R"("/n must be an integer, not a string","agent":"first"})");
  CHECK(h.prompt_of(1).find("assistant: {\"n\":\"text\n") != std::string::npos);
  h.model->calls[0]->sink(llm::call_delta{"late"}); // of a call that is closed
  h.time.settle();
  CHECK(h.told().back().find("retry") != std::string::npos);
  h.answer(R"({"n":1})");
  h.answer(R"({"n":2})");
  CHECK(h.find("completed a") != nullptr);
  auto usages = h.usages();
  REQUIRE(usages.size() == 3);
  CHECK(usages[0].ends_with("schema_violation"));
}

TEST_CASE("pieces that were on their way when an answer was stopped are not told") {
  house_of h;
  h.begin();
  h.last().sink(llm::call_delta{R"({"n":"x")"});
  h.last().sink(llm::call_delta{",\"m\":1}"});
  h.time.settle();
  CHECK(h.told().size() == 2);
  CHECK(h.told().back().find("retry") != std::string::npos);
  REQUIRE(h.model->calls.size() == 2);
  h.answer(R"({"n":1})");
  h.answer(R"({"n":2})");
  CHECK(h.find("completed a") != nullptr);
}

TEST_CASE("an answer that is wrong and over at the same moment counts as wrong") {
  house_of h;
  h.begin();
  auto& call = h.last();
  call.over = true;
  call.sink(llm::call_delta{R"({"n":"x"})"}); // the end is on its way when it is stopped
  llm::call_finished f;
  f.used = usage{30, 40, true};
  call.sink(f);
  h.time.settle();
  REQUIRE(h.model->calls.size() == 2);
  CHECK(h.find("retry a")->number == 2);
  h.answer(R"({"n":1})");
  h.answer(R"({"n":2})");
  CHECK(h.usages().front() == "1 m 70 schema_violation");
  CHECK(h.find("completed a") != nullptr);
}

TEST_CASE("the model's own failures are retried as for chats, and what was shown is void") {
  house_of h;
  h.begin();
  h.piece(R"({"n":)");
  h.fail(errc::upstream_truncated, true);
  CHECK(h.told().back() ==
        R"({"type":"retry","attempt":2,"delay_ms":1000,"discard":true,"agent":"first"})");
  h.time.advance(1s);
  h.answer(R"({"n":1})"); // it is not joined to what came before
  REQUIRE(h.model->calls.size() == 3);
  h.fail(errc::upstream_auth, false);
  auto* end = h.find("failed a");
  REQUIRE(end != nullptr);
  CHECK(end->end->error == errc::upstream_auth);
  CHECK(h.told().back().ends_with(R"("code":"upstream_auth","agent":"second"})"));
  CHECK(h.usages().size() == 3);
  CHECK(h.tasks() == 0);
}

TEST_CASE("the deadlines are those of the model: 120 s to the first piece, 90 s between two") {
  house_of h;
  h.begin();
  h.time.advance(119'999ms);
  CHECK(h.find("failed a") == nullptr);
  h.time.advance(1ms);
  REQUIRE(h.find("failed a") != nullptr);
  CHECK(h.find("failed a")->end->error == errc::upstream_timeout);
  CHECK(h.last().closed);
  h.begin("b");
  h.time.advance(100s);
  h.answer(R"({"n":1})"); // the next agent has deadlines of its own
  h.time.advance(119'999ms);
  h.piece("{");
  h.time.advance(89'999ms);
  CHECK(h.find("failed b") == nullptr);
  h.time.advance(1ms);
  REQUIRE(h.find("failed b") != nullptr);
  CHECK(h.find("failed b")->end->error == errc::upstream_stalled);
  CHECK(h.told().back().ends_with(R"("code":"upstream_stalled","agent":"second"})"));
}

TEST_CASE("an agent's own deadlines win over those of its model") {
  house_of h{[](pipeline& p) {
    p.agents[0].first_token_timeout = 5s;
    p.agents[1].token_timeout = 2s;
    p.agents[1].total_timeout = 9s;
  }};
  h.begin();
  h.time.advance(5s);
  CHECK(h.find("failed a")->end->error == errc::upstream_timeout);
  h.begin("b");
  h.answer(R"({"n":1})");
  h.time.advance(6s); // its model's 120 s hold for the first piece
  h.piece("{");
  h.time.advance(1'999ms);
  CHECK(h.find("failed b") == nullptr);
  h.time.advance(1ms);
  CHECK(h.find("failed b")->end->error == errc::upstream_stalled);
  h.begin("c");
  h.answer(R"({"n":1})");
  h.time.advance(9s);
  CHECK(h.find("failed c")->end->error == errc::upstream_timeout);
}

TEST_CASE("cancelling closes the running agent's call, and no other is asked") {
  house_of h;
  h.begin();
  h.answer(R"({"n":1})");
  h.piece("{");
  REQUIRE(h.yes(h.cancel("a")));
  CHECK(h.last().closed);
  CHECK(h.told().back().ends_with(R"("code":"cancelled","agent":"second"})"));
  CHECK(h.usages().back().ends_with("cancelled"));
  CHECK(h.tasks() == 0);
  CHECK(h.limit->in_flight() + h.limit->waiting() == 0);
  h.time.advance(10min);
  CHECK(h.model->calls.size() == 2);
}

TEST_CASE("cancelled while its agent is waiting for the next attempt") {
  house_of h;
  h.begin();
  h.fail(errc::upstream_error, true);
  REQUIRE(h.yes(h.cancel("a")));
  CHECK(h.find("cancelled a") != nullptr);
  h.time.advance(1min);
  CHECK(h.model->calls.size() == 1);
  CHECK(h.tasks() == 0);
}

TEST_CASE("cancelled in any moment round the end of an answer, it ends and asks nobody else") {
  for (auto agents : {0, 1})
    for (int steps = 0; steps < 12; ++steps) {
      CAPTURE(agents, steps);
      house_of h;
      h.begin();
      if (agents == 1)
        h.answer(R"({"n":1})");
      h.piece(R"({"n":2})");
      auto stop = h.asking(session_ask::kind::cancel);
      stop.task = "a";
      auto r = h.post(std::move(stop));
      for (int i = 0; i < steps; ++i)
        h.time.sched.try_run_once();
      llm::call_finished f;
      f.used = usage{1, 1, true};
      h.last().sink(f);
      h.time.settle();
      CHECK((h.code(r) == errc::none) == (h.find("cancelled a") != nullptr));
      CHECK((h.code(r) == errc::task_ended) == (h.find("completed a") != nullptr));
      CHECK((agents == 1 || h.find("cancelled a") != nullptr));
      CHECK(h.tasks() == 0);
      CHECK(h.limit->in_flight() == 0);
    }
}

TEST_CASE("progress grows with the tokens and the agents, and is told at most ten times a second") {
  house_of h;
  h.begin();
  strings all;
  auto say = [&](int times) {
    for (int i = 0; i < times; ++i) {
      h.piece(std::string(40, ' ')); // ten tokens
      h.time.advance(20ms);
    }
  };
  say(20);
  h.answer(R"({"n":1})");
  say(50);
  h.answer(R"({"n":1})");
  std::int64_t at = -1000;
  std::uint32_t percent = 0, at_first = 0;
  for (auto& x : h.e->log)
    if (x.what->kind == event_kind::progress) {
      CHECK(x.at - at >= 100);
      CHECK(x.what->number > percent);
      at = x.at;
      percent = x.what->number;
      if (*x.what->stage == "first")
        at_first = percent;
    }
  CHECK(at_first >= 20);
  CHECK(at_first <= 25); // of 100 tokens and 300
  CHECK(percent >= 90);
  CHECK(percent < 100);
  auto shown =
      pipeline_stream::encode_with_progress("e", language::en, *h.e->find("progress a")->what);
  CHECK(shown.find(R"({"type":"progress","progress":)") != shown.npos);
  CHECK(shown.find(R"("agent":"first"})") != shown.npos);
}

TEST_CASE("a pipeline has one place at its provider, until its end") {
  house_of h;
  h.limit = llm::make_limiter(1, 1);
  h.served->limit = h.limit;
  h.begin("a");
  CHECK(h.limit->in_flight() == 1);
  h.room.id = "other";
  h.begin("b");
  CHECK(h.limit->waiting() == 1);
  CHECK(h.model->calls.size() == 1);
  h.room.id = "third";
  auto no = h.begin("c"); // refused, and not after its first agent
  CHECK(h.code(no) == errc::saturated);
  h.answer(R"({"n":1})"); // the others take turns
  REQUIRE(h.model->calls.size() == 2);
  CHECK(h.prompt_of(1) == "user: Goal: bread\n");
  h.answer(R"({"n":5})");
  REQUIRE(h.model->calls.size() == 3);
  CHECK(h.prompt_of(2) == "user: Plan 1 for bread: {\"n\":1}\n");
  h.answer(R"({"n":1})");
  h.answer(R"({"n":1})");
  CHECK(h.find("completed a") != nullptr);
  CHECK(h.find("completed b") != nullptr);
  CHECK(h.limit->in_flight() + h.limit->waiting() == 0);
}

TEST_CASE("cancelled while it waits for a slot, it leaves no place taken") {
  house_of h;
  h.limit = llm::make_limiter(1, 1);
  h.served->limit = h.limit;
  h.begin("a");
  h.room.id = "other";
  h.begin("b");
  REQUIRE(h.yes(h.cancel("b")));
  CHECK(h.limit->waiting() == 0);
  h.room.id = "room";
  REQUIRE(h.yes(h.cancel("a")));
  CHECK(h.limit->in_flight() == 0);
  CHECK(h.model->calls.size() == 1);
}

TEST_CASE("agents may ask different models, and each attempt is recorded with its own") {
  house_of h{[](pipeline& p) { p.agents[1].model = "large"; }};
  auto large = std::make_shared<model_entry>(*h.served);
  large->name = "large";
  large->upstream_name = "large-2025";
  large->limit = llm::make_limiter(1, 0);
  auto& world = *h.world;
  world.find_model = [small = world.find_model, large](const std::string& name) {
    return name == "large" ? large : small(name);
  };
  h.begin();
  CHECK(h.find("accepted a")->task->model == "m");
  h.answer(R"({"n":1})");
  CHECK(large->limit->in_flight() == 1);
  CHECK(h.last().request.settings.model == "large-2025");
  h.answer(R"({"n":1})");
  CHECK(h.find("completed a") != nullptr);
  CHECK(h.usages() == strings{"1 m 7 none", "2 large 7 none"});
  CHECK(large->limit->in_flight() + large->limit->waiting() == 0);
}

TEST_CASE("an agent whose task dies takes the pipeline along, not the session") {
  house_of h;
  h.begin();
  h.answer(R"({"n":1})");
  h.model->throws = true;
  h.answer("no"); // it would be asked again
  REQUIRE(h.find("failed a") != nullptr);
  CHECK(h.find("failed a")->end->error == errc::internal);
  CHECK(h.tasks() == 0);
  CHECK(h.limit->in_flight() + h.limit->waiting() == 0);
  h.model->throws = false;
  REQUIRE(h.yes(h.begin("b")));
  h.answer(R"({"n":1})");
  h.answer(R"({"n":1})");
  CHECK(h.find("completed b") != nullptr);
}

TEST_CASE("chats and pipelines of one session take turns") {
  house_of h;
  h.begin("a");
  REQUIRE(h.yes(h.submit("chat", h.e)));
  CHECK(h.model->calls.size() == 1);
  h.answer(R"({"n":1})");
  h.answer(R"({"n":2})");
  REQUIRE(h.model->calls.size() == 3);
  CHECK(h.prompt_of(2).find(R"("data":{"first":{"n":1},"second":{"n":2}})") != std::string::npos);
  h.say("chat", "hi");
  h.finish("chat");
  CHECK(h.find("completed chat") != nullptr);
}
