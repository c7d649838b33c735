// Which requests are refused at the door while more turns wait than the machine can accept in time,
// and how they are told.

#include "app/api.hpp"

#include "protocol/pipeline.hpp"

#include "support/catch.hpp"
#include "support/mute_exchange.hpp"

#include <algorithm>

using namespace parlor;
using namespace std::chrono_literals;

namespace {

struct door {
  std::shared_ptr<turn_gate> gate = std::make_shared<turn_gate>(1ms);
  std::vector<turn_gate::ticket_ptr> crowd;
  std::size_t sent_on = 0; // to an edge

  /// For an hour as many as may wait have, and none has been accepted.
  void fill() {
    for (auto i = turn_gate::few; i > 0; --i)
      crowd.push_back(gate->enter(turn_gate::clock::now() - 1h));
  }
  http::response ask(std::string method, std::string path, std::string body = {}) {
    api_options options;
    options.gate = gate;
    options.plans = true;
    options.wall = [] { return std::int64_t{0}; };
    options.draining = [] { return false; };
    options.healthy = [] { return true; };
    options.find_pipeline = [](const std::string&) { return std::make_shared<const pipeline>(); };
    options.edge_for = [this](const std::string&) {
      ++sent_on;
      return edge_actor{}; // nobody: what is sent there is dropped
    };
    http::request r;
    r.id = "req_1";
    r.method = std::move(method);
    r.path = std::move(path);
    r.headers = {{"Host", "localhost"}, {"Content-Type", "application/json"}};
    r.body = std::move(body);
    auto p = std::make_shared<test::mute_exchange>();
    api{options}(std::move(r), p);
    return p->answers.empty() ? http::response{} : p->answers.front();
  }
};

constexpr const char* turns[] = {"/api/chat",
                                 "/api/chat/stream",
                                 "/api/generate-async",
                                 "/api/v1/any/generate",
                                 "/api/v1/any/generate-stream",
                                 "/api/plan/generate"};

} // namespace

TEST_CASE("what would begin a turn is refused past what the machine can do, before it is read") {
  door d;
  d.fill();
  for (auto path : turns) {
    INFO(path);
    auto r = d.ask("POST", path, "no JSON");
    CHECK(r.status == 429);
    CHECK(r.body.find("saturated") != std::string::npos);
    CHECK(std::any_of(r.headers.begin(), r.headers.end(), [](const http::header& h) {
      return h.name == "Retry-After" && h.value == "1";
    }));
  }
  CHECK(d.ask("GET", "/livez").status == 200); // what is none goes on
  d.ask("DELETE", "/api/generate-async/task_1");
  d.ask("GET", "/api/sessions/room");
  d.ask("POST", "/api/plan/update", R"({"data":{}})"); // ends one
  CHECK(d.sent_on == 2);
}

TEST_CASE("a request that cannot be read, or reaches nobody, has left the gate") {
  door d;
  for (auto path : {"/api/chat", "/api/chat/stream", "/api/generate-async", "/api/plan/generate"}) {
    INFO(path);
    CHECK(d.ask("POST", path, "no JSON").status == 400);
    d.ask("POST", path, R"({"message":"hi","prompt":"hi","sessionId":"a","request":{}})");
    CHECK(d.gate.use_count() == 1);
  }
  CHECK(d.sent_on > 3);
}
