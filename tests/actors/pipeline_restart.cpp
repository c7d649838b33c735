#include "pipeline_house.hpp"
#include "protocol/dialects/pipeline_stream.hpp"

// A pipeline whose server dies, and one whose disk is full.

using namespace parlor;
using namespace std::chrono_literals;
using house_of = parlor::test::pipeline_house;
using strings = std::vector<std::string>;

TEST_CASE("after a restart a pipeline goes on behind the agents that have come to something") {
  house_of h;
  h.begin();
  h.time.advance(300ms);
  h.piece(R"({"n":7})");
  h.done(10, 5);
  h.time.advance(5s);
  h.piece(R"({"n")");
  h.time.advance(2s); // a checkpoint
  h.restart();
  h.wake();
  REQUIRE(h.model->calls.size() == 3);
  CHECK(h.prompt_of(2) == "user: Plan 7 for bread: {\"n\":7}\n");
  CHECK(h.model->calls[2]->request.attempt == 3); // the second was interrupted
  auto& again = h.new_ear();
  auto r = h.watch(again, 0);
  h.time.advance(400ms);
  h.piece(R"({"n":8})");
  h.done(20, 6);
  auto told = h.told(again);
  REQUIRE(told.size() >= 3);
  CHECK(
      told.back() ==
      R"({"type":"done","summary":{"agents":[)"
      R"({"agent":"first","duration_ms":300,"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}},)"
      R"({"agent":"second","duration_ms":400,"usage":{"prompt_tokens":20,"completion_tokens":6,"total_tokens":26}})"
      R"(],"total_tokens":41,"duration_ms":700}})");
  auto whole = h.told(again);
  strings before;
  for (auto& e : r->answer->events)
    if (auto block = pipeline_stream::encode("epoch", language::en, *e); !block.empty())
      before.push_back(block.substr(block.find("data: ") + 6));
  REQUIRE(before.size() == 4); // a chunk, complete, half an answer, and that it is void
  CHECK(before[3] == R"({"type":"retry","attempt":3,"delay_ms":0,"discard":true,"agent":"second"})"
                     "\n\n");
}

TEST_CASE("a restart between two agents, before the next has said a word") {
  house_of h;
  h.begin();
  h.answer(R"({"n":7})");
  REQUIRE(h.model->calls.size() == 2);
  h.restart();
  h.wake();
  REQUIRE(h.model->calls.size() == 3);
  CHECK(h.prompt_of(2) == h.prompt_of(1));
}

TEST_CASE("a restart within the first agent begins it again") {
  house_of h;
  h.begin();
  h.piece(R"({"n":)");
  h.restart();
  h.wake();
  REQUIRE(h.model->calls.size() == 2);
  CHECK(h.prompt_of(1) == "user: Goal: bread\n");
  h.answer(R"({"n":1})");
  h.answer(R"({"n":2})");
  CHECK(h.disk.data.tasks.at("a").view.status == task_status::completed);
}

TEST_CASE("a restart behind the last agent, before the end was on disk, asks nobody") {
  house_of h;
  h.begin();
  h.answer(R"({"n":1})");
  h.hold_keeper = true;
  h.answer(R"({"n":2})");
  while (h.disk.all<store::task_checkpoint>().size() < 2) {
    REQUIRE(h.held_writes() > 0);
    h.release_writes(1);
  }
  CHECK(h.find("completed a") == nullptr);
  h.hold_keeper = false;
  h.restart();
  h.wake();
  CHECK(h.model->calls.size() == 2);
  auto& t = h.disk.data.tasks.at("a");
  CHECK(t.view.status == task_status::completed);
  CHECK(parts_of(t.view.end->content).data == R"({"first":{"n":1},"second":{"n":2}})");
  CHECK(t.view.end->used.total() == 14);
}

TEST_CASE("what is told again of an ended pipeline is what was told, byte for byte") {
  house_of h;
  h.begin();
  h.answer("no");
  h.answer(R"(So: {"n":1})");
  h.piece(R"({"n":"x)");
  h.time.advance(3s);
  h.answer(R"({"n":2})");
  REQUIRE(h.find("completed a") != nullptr);
  auto before = h.told();
  strings after;
  for (auto& e : h.disk.data.events(h.room))
    if (auto block = pipeline_stream::encode("epoch", language::en, *e); !block.empty())
      after.push_back(
          block.substr(block.find("data: ") + 6, block.size() - block.find("data: ") - 8));
  CHECK(before == after);
}

TEST_CASE("attempts that a restart interrupts never take the place of those that were recorded") {
  house_of h;
  h.begin();
  h.answer("no");
  h.answer(R"({"n":1})");
  h.answer("no");
  REQUIRE(h.model->calls.size() == 4);
  h.restart();
  h.wake();
  h.answer(R"({"n":2})");
  CHECK(h.usages().size() == 4);
  std::set<std::string> numbers;
  for (auto& u : h.usages())
    numbers.insert(u.substr(0, u.find(' ')));
  CHECK(numbers.size() == 4);
}

TEST_CASE("a stage knows its attempts, also if their records are not on disk yet") {
  house_of h{[](pipeline& p) {
    p.agents.push_back(p.agents[1]);
    p.agents[2].name = "third";
  }};
  h.begin();
  h.answer(R"({"n":1})");
  h.hold_keeper = true;
  h.answer(R"({"n":2})");
  h.disk.full = true;
  h.release_writes(1); // the record of its usage: later
  h.disk.full = false;
  h.release_keeper();
  CHECK(h.usages().size() == 1);
  h.restart();
  h.wake();
  CHECK(h.last().request.attempt == 3);
  h.answer(R"({"n":3})");
  CHECK(h.disk.data.tasks.at("a").view.status == task_status::completed);
}

TEST_CASE("a pipeline that is configured no longer fails after a restart, and says so") {
  house_of h;
  h.begin();
  h.answer(R"({"n":1})");
  h.plans->name = "others";
  h.restart();
  h.wake();
  auto& t = h.disk.data.tasks.at("a");
  CHECK(t.view.status == task_status::failed);
  CHECK(t.view.end->error == errc::not_configured);
}

TEST_CASE("a stage that the pipeline of today would not take is done again") {
  house_of h;
  h.begin();
  h.answer(R"({"n":1})");
  h.plans->agents[0].output = house_of::schema(R"({"type":"object","required":["m"]})");
  h.restart();
  h.wake();
  REQUIRE(h.model->calls.size() == 3);
  CHECK(h.prompt_of(2) == "user: Goal: bread\n");
}

TEST_CASE("an agent's data is told when it is on disk, also when the disk is full for a while") {
  house_of h;
  h.begin();
  h.disk.full = true;
  h.answer(R"({"n":1})");
  h.time.advance(10s);
  CHECK(h.find("stage_done a") == nullptr);
  REQUIRE(h.model->calls.size() == 2); // it is not waited for
  h.answer(R"({"n":2})");
  h.time.advance(10s);
  CHECK(h.find("completed a") == nullptr);
  h.disk.full = false;
  h.time.advance(10s);
  CHECK(h.find("completed a") != nullptr);
  CHECK(h.usages().size() == 2);
  CHECK(h.tasks() == 0);
}

TEST_CASE("a pipeline that is refused for want of space leaves nothing behind") {
  house_of h;
  h.disk.full = true;
  auto r = h.begin();
  CHECK(h.code(r) == errc::store_full);
  CHECK(h.tasks() == 0);
  CHECK(h.limit->in_flight() + h.limit->waiting() == 0);
  h.disk.full = false;
  REQUIRE(h.yes(h.begin("b")));
}

TEST_CASE("a session that is deleted takes its pipeline along") {
  house_of h;
  h.begin();
  h.answer(R"({"n":1})");
  REQUIRE(h.yes(h.remove()));
  CHECK(h.last().closed);
  CHECK(h.tasks() == 0);
  CHECK(h.told().back().find("session_deleted") != std::string::npos);
  CHECK(h.limit->in_flight() + h.limit->waiting() == 0);
}
