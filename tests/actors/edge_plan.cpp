#include "front.hpp"
#include "protocol/dialects/plan_callback.hpp"

// Plans at the edge, under virtual time: what a page is told when, and for how long.

using namespace parlor;
using namespace std::chrono_literals;
using parlor::test::front;
using parlor::test::peer_ptr;

namespace {

/// Takes every call, and leaves the rest to the test.
struct taking_poster final : llm::poster {
  std::vector<llm::post_request> calls;
  struct none final : llm::post {
    void cancel() override {}
  };
  std::unique_ptr<llm::post> start(llm::post_request r, llm::post_sink sink) override {
    calls.push_back(std::move(r));
    sink({});
    return std::make_unique<none>();
  }
};

struct planner : front {
  std::shared_ptr<taking_poster> net = std::make_shared<taking_poster>();
  static constexpr stream_shape shape{&plan_callback::encode, nullptr, nullptr};

  planner() {
    auto service = std::make_shared<external_service>();
    service->url = "http://service.example/";
    service->poster = net;
    service->request = [](const task_order& o, std::uint32_t) { return o.messages.back().content; };
    world->external = service;
    edging.callback_url = [](const session_key& key, const std::string& task, std::uint32_t n) {
      return key.id + "/" + task + "/" + std::to_string(n);
    };
    begin();
  }
  peer_ptr page(std::optional<std::uint64_t> after = {}) {
    auto v = asking_for(visit::kind::plan_stream);
    v.shape = &shape;
    if (after)
      v.after = cursor{world->epoch, *after};
    return serve(std::move(v));
  }
  peer_ptr start(const std::string& task) {
    auto v = taking(visit::kind::plan_generate, task);
    v.turn.kind = task_kind::external;
    v.turn.when_busy = on_busy::reject;
    v.turn.settings = {};
    return serve(std::move(v));
  }
  peer_ptr call_back(const std::string& task, outside_news news) {
    auto v = asking_for(visit::kind::plan_update, task);
    v.news = std::move(news);
    return serve(std::move(v));
  }
  static std::string data(const peer_ptr& p) { // without the ids
    std::string out;
    auto t = p->text();
    for (auto at = t.find("data: "); at != std::string::npos; at = t.find("data: ", at + 1))
      out += t.substr(at + 6, t.find('\n', at) - at - 6) + "\n";
    return out;
  }
};

const outside_news done{outside_news::kind::completed, 0, R"({"a":1})"};
const std::string waiting = R"({"type":"connected","sessionId":"room","status":"waiting"})"
                            "\n";
const std::string generating = R"({"type":"status","status":"generating"})"
                               "\n";
const std::string planned = R"({"type":"plan","status":"completed","data":{"a":1}})"
                            "\n";

} // namespace

TEST_CASE("a page registers for a session that nobody has used, and sees all of its plan") {
  planner h;
  auto p = h.page();
  CHECK(h.data(p) == waiting);
  auto s = h.start("a");
  CHECK(s->status() == 202);
  CHECK(s->answers[0].body ==
        R"({"success":true,"sessionId":"room","status":"generating","callbackUrl":"room/a/1"})");
  CHECK(h.data(p) == waiting + generating);
  auto c = h.call_back("a", done);
  CHECK(c->status() == 200);
  CHECK(c->answers[0].body ==
        R"({"success":true,"sessionId":"room","status":"completed","delivered":1})");
  CHECK(h.data(p) == waiting + generating + planned);
  auto again = h.call_back("a", done);
  CHECK(again->answers[0].body ==
        R"({"success":true,"sessionId":"room","status":"completed","delivered":0})");
  CHECK(h.call_back("a", {outside_news::kind::completed, 0, "{}"})->status() == 409);
  CHECK(h.data(p) == waiting + generating + planned);
}

TEST_CASE("a plan comes in three minutes or is late, to the millisecond") {
  planner h;
  auto p = h.page();
  h.start("a");
  h.time.advance(179'999ms);
  CHECK(h.data(p) == waiting + generating);
  h.time.advance(1ms);
  CHECK(p->told(R"("code":"generation_timeout")"));
  CHECK(h.call_back("a", done)->status() == 409);
}

TEST_CASE("a stream of plans lives for thirty minutes, to the millisecond") {
  planner h;
  auto first = h.page();
  h.time.advance(10s);
  auto second = h.page();
  auto gone = h.page();
  h.signal(gone, http::signal::gone);
  h.time.advance(30min - 10s - 1ms);
  CHECK(first->closed == 0);
  h.time.advance(1ms);
  CHECK(first->closed == 1);
  CHECK(h.data(first) == waiting + R"({"type":"connection_timeout"})"
                                   "\n");
  CHECK(second->closed == 0);
  h.time.advance(10s);
  CHECK(second->closed == 1);
  CHECK(h.data(gone) == waiting);
  CHECK(h.watchers() == 0);
  CHECK(h.alarms<age_streams>() == 0);
}

TEST_CASE("what happens between the look into the store and the watch is told, once") {
  planner h;
  h.start("a");
  h.hold_archive = true;
  auto p = h.page();
  h.call_back("a", done);
  REQUIRE(p->heads.empty());
  h.release_archive();
  CHECK(h.data(p) == R"({"type":"connected","sessionId":"room","status":"generating"})"
                     "\n" +
                         planned);
}

TEST_CASE("a page whose cursor cannot be honoured is told how its plan stands") {
  planner h;
  h.start("a");
  h.call_back("a", done);
  auto p = h.page(1'000'000);
  CHECK(h.data(p) ==
        R"({"type":"connected","sessionId":"room","status":"completed"})"
        "\n"
        R"({"type":"reset","snapshot":{"sessionId":"room","status":"completed","data":{"a":1}}})"
        "\n");
  h.start("b");
  CHECK(p->text().ends_with(generating + "\n"));
}

TEST_CASE("a page stays while its session crashes") {
  planner h;
  auto p = h.page();
  h.start("a");
  h.crash();
  h.call_back("a", done);
  CHECK(h.data(p) == waiting + generating + planned);
}
