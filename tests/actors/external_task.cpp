#include "house.hpp"

// A generation that is made outside, with its session, under virtual time.

using namespace parlor;
using namespace std::chrono_literals;
using parlor::test::house;
using parlor::test::reply_ptr;
using strings = std::vector<std::string>;
using news = outside_news::kind;

namespace {

/// The network to the service outside; the test says how each call goes.
struct puppet_poster final : llm::poster {
  struct call {
    llm::post_request request;
    llm::post_sink sink;
    bool closed = false;
  };
  struct handle final : llm::post {
    explicit handle(std::shared_ptr<call> c) : it{std::move(c)} {}
    ~handle() override { cancel(); }
    void cancel() override { it->closed = true; }
    std::shared_ptr<call> it;
  };
  std::vector<std::shared_ptr<call>> calls;
  std::unique_ptr<llm::post> start(llm::post_request r, llm::post_sink s) override {
    calls.push_back(std::make_shared<call>(call{std::move(r), std::move(s)}));
    return std::make_unique<handle>(calls.back());
  }
};

struct outside : house {
  std::shared_ptr<puppet_poster> net = std::make_shared<puppet_poster>();
  std::shared_ptr<external_service> service = std::make_shared<external_service>();
  parlor::test::ear* e = nullptr;

  explicit outside(bool configured = true) {
    service->poster = net;
    if (configured)
      service->url = "http://service.example/plan";
    service->request = [](const task_order& o, std::uint32_t attempt) {
      return o.header->id + " " + o.header->ref + " " + std::to_string(attempt) + " " +
             o.messages.back().content;
    };
    world->external = service;
    open();
    e = &new_ear();
  }
  reply_ptr begin(const std::string& task) {
    auto a = turn(task, e);
    a.turn.kind = task_kind::external;
    a.turn.ref = "r";
    a.turn.settings = {};
    return ask(std::move(a));
  }
  void answer(llm::post_result r = {}) {
    net->calls.back()->sink(std::move(r));
    time.settle();
  }
  void refuse(bool can_pass, std::optional<std::chrono::milliseconds> after = {}) {
    llm::post_result r;
    r.code = errc::upstream_error;
    r.status = can_pass ? 503 : 400;
    r.can_pass = can_pass;
    r.retry_after = after;
    answer(std::move(r));
  }
  reply_ptr call_back(const std::string& task, news what, std::string text = {},
                      std::uint32_t percent = 0) {
    auto a = asking(session_ask::kind::callback);
    a.task = task;
    a.news = {what, percent, std::move(text)};
    return ask(std::move(a));
  }
};

} // namespace

TEST_CASE("a service is called, takes it, and calls back") {
  outside h;
  auto r = h.begin("a");
  REQUIRE(h.yes(r));
  REQUIRE(h.net->calls.size() == 1);
  CHECK(h.net->calls[0]->request.url == "http://service.example/plan");
  CHECK(h.net->calls[0]->request.body == "a r 1 say a");
  CHECK(h.net->calls[0]->request.connect_timeout == 10s);
  CHECK(h.net->calls[0]->request.total_timeout == 30s);
  h.answer();
  CHECK(h.e->kinds() == strings{"accepted a", "started a", "stage_done a"});
  h.time.advance(100s);
  auto p = h.call_back("a", news::progress, "thinking", 30);
  REQUIRE(h.yes(p));
  auto* told = h.e->find("progress a");
  REQUIRE(told != nullptr);
  CHECK(told->what->text == "thinking");
  auto done = h.call_back("", news::completed, "the plan");
  REQUIRE(h.yes(done));
  auto* end = h.e->find("completed a");
  REQUIRE(end != nullptr);
  CHECK(end->what->end->content == "the plan");
  CHECK(h.tasks() == 0);
  CHECK(h.code(h.call_back("a", news::completed, "the plan")) == errc::not_waiting);
  CHECK(h.alarms<task_alarm>() <= 1);
  h.time.advance(10min); // the deadline of a task that has ended changes nothing
  CHECK(h.e->find("failed a") == nullptr);
}

TEST_CASE("a callback that comes before the call was answered counts") {
  outside h;
  h.begin("a");
  REQUIRE(h.yes(h.call_back("a", news::failed, "no data")));
  auto* end = h.e->find("failed a");
  REQUIRE(end != nullptr);
  CHECK(end->what->end->error == errc::generation_failed);
  CHECK(end->what->end->content == "no data");
  CHECK(h.net->calls[0]->closed);
  h.answer(); // too late for anybody
  CHECK(h.tasks() == 0);
}

TEST_CASE("three minutes after the service took it the wait is over, to the millisecond") {
  outside h;
  h.begin("a");
  h.time.advance(7s);
  h.answer();
  h.time.advance(179'999ms);
  CHECK(h.e->find("failed a") == nullptr);
  h.time.advance(1ms);
  auto* end = h.e->find("failed a");
  REQUIRE(end != nullptr);
  CHECK(end->at == 187'000);
  CHECK(end->what->end->error == errc::generation_timeout);
  CHECK(h.code(h.call_back("a", news::completed, "late")) == errc::not_waiting);
}

TEST_CASE("a call that fails is made three times, after 1 s and 2 s") {
  outside h;
  h.begin("a");
  h.refuse(true);
  h.time.advance(999ms);
  REQUIRE(h.net->calls.size() == 1);
  h.time.advance(1ms);
  REQUIRE(h.net->calls.size() == 2);
  CHECK(h.net->calls[1]->request.body == "a r 2 say a");
  h.refuse(true);
  h.time.advance(2s);
  REQUIRE(h.net->calls.size() == 3);
  h.refuse(true);
  h.time.advance(1min);
  REQUIRE(h.net->calls.size() == 3);
  CHECK(h.e->kinds() == strings{"accepted a", "started a", "retry a", "retry a", "failed a"});
  CHECK(h.e->find("failed a")->what->end->attempts == 3);
}

TEST_CASE("Retry-After is obeyed, and what cannot pass is not tried again") {
  outside h;
  h.begin("a");
  h.refuse(true, 5s);
  h.time.advance(4'999ms);
  REQUIRE(h.net->calls.size() == 1);
  h.time.advance(1ms);
  REQUIRE(h.net->calls.size() == 2);
  h.refuse(false);
  h.time.advance(1min);
  REQUIRE(h.net->calls.size() == 2);
  CHECK(h.e->find("failed a")->what->end->error == errc::upstream_error);
}

TEST_CASE("cancelling closes the call, and while it waits for the callback nothing is left over") {
  outside h;
  h.begin("a");
  REQUIRE(h.yes(h.cancel("a")));
  CHECK(h.net->calls[0]->closed);
  CHECK(h.tasks() == 0);
  h.begin("b");
  h.answer();
  REQUIRE(h.yes(h.cancel("b")));
  CHECK(h.e->find("cancelled b") != nullptr);
  CHECK(h.tasks() == 0);
  h.refuse(true); // of a call that nobody waits for
  h.time.advance(10min);
  CHECK(h.net->calls.size() == 2);
}

TEST_CASE("without a configured service the task fails, and says why") {
  outside h{false};
  REQUIRE(h.yes(h.begin("a")));
  auto* end = h.e->find("failed a");
  REQUIRE(end != nullptr);
  CHECK(end->what->end->error == errc::not_configured);
  CHECK(h.net->calls.empty());
}

TEST_CASE("the wait goes on where a restart interrupted it") {
  outside h;
  h.begin("a");
  h.answer();
  h.time.advance(60s);
  h.restart();
  h.ask(h.asking(session_ask::kind::wake));
  CHECK(h.net->calls.size() == 1);
  auto& again = h.new_ear();
  REQUIRE(h.yes(h.watch(again, {}, "a")));
  h.time.advance(119'999ms);
  CHECK(again.find("failed a") == nullptr);
  h.time.advance(1ms);
  CHECK(again.find("failed a") != nullptr);
}

TEST_CASE("a callback after a restart lands") {
  outside h;
  h.begin("a");
  h.answer();
  h.restart();
  REQUIRE(h.yes(h.call_back("a", news::completed, "plan")));
  auto seen = h.look("a");
  REQUIRE(h.yes(seen));
  CHECK(h.disk.data.tasks.at("a").view.end->content == "plan");
}
