#include "llm/openai.hpp"

#include "llm/curl_easy.hpp"

#include "tests/llm/collector.hpp"

#include "support/catch.hpp"
#include "support/faulty_upstream.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

using namespace parlor;
using namespace parlor::llm;
using namespace parlor::testing;
using namespace std::chrono_literals;

namespace {

struct fixture {
  faulty_upstream upstream;
  background b;

  provider_ptr model(const std::string& script) {
    return make_openai(b.io, {upstream.base_url(script), "sk-test", "faulty", 8});
  }
  collector run(const std::string& script) {
    collector c;
    auto m = model(script);
    auto call = m->start(ask("hi"), c.sink());
    REQUIRE(c.finish());
    return c;
  }
};

// Milliseconds until the upstream has seen its client go, at most a second.
std::chrono::milliseconds until_aborted(const faulty_upstream& u, int n) {
  auto begin = std::chrono::steady_clock::now();
  auto took = [&] {
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() -
                                                                 begin);
  };
  while (u.aborted() < n && took() < 1s)
    std::this_thread::sleep_for(1ms);
  return took();
}

} // namespace

TEST_CASE_METHOD(fixture, "U3 U12 a sound answer arrives whole") {
  for (auto script : {"ok", "split", "slow-50", "usage"}) {
    INFO(script);
    auto c = run(script);
    CHECK(c.text() == "word1 word2 word3");
    REQUIRE(c.finished());
    CHECK(c.finished()->finish_reason == "stop");
    CHECK(c.finished()->model == "upstream-1");
    CHECK(c.finished()->used.has_value() == (script == std::string{"usage"}));
  }
  CHECK(upstream.last_header().find("Authorization: Bearer sk-test") != std::string::npos);
  CHECK(upstream.last_header().find("/v1/chat/completions") != std::string::npos);
  CHECK(upstream.last_body().find("\"stream\":true") != std::string::npos);
}

TEST_CASE_METHOD(fixture, "U10 connections are used again") {
  auto m = model("ok");
  for (int i = 0; i < 10; ++i) {
    collector c;
    auto call = m->start(ask("hi"), c.sink());
    REQUIRE(c.finish());
    CHECK(c.finished());
    call.reset();
    std::this_thread::sleep_for(5ms);
  }
  CHECK(upstream.requests() == 10);
  CHECK(upstream.connections() == 1);
}

TEST_CASE_METHOD(fixture, "a handle that is used again has nothing of the request before") {
  auto m = model("slow-100");
  int n = 0;
  for (auto prompt : {"the first, which is rather long", "second"}) {
    auto last = upstream.requests();
    collector left;
    auto call = m->start(ask(std::string{"left: "} + prompt), left.sink());
    while (upstream.requests() == last)
      std::this_thread::sleep_for(1ms);
    call.reset();
    REQUIRE(until_aborted(upstream, ++n) < 1s);
    collector c;
    call = m->start(ask(prompt), c.sink());
    REQUIRE(c.finish());
    CHECK(c.finished());
    CHECK(c.text() == "word1 word2 word3");
    CHECK(upstream.requests() == last + 2);
    CHECK(upstream.last_body().find(prompt) != std::string::npos);
    CHECK(upstream.last_body().find("left: ") == std::string::npos);
    CHECK(upstream.last_header().find("Authorization: Bearer sk-test") != std::string::npos);
  }
}

TEST_CASE_METHOD(fixture, "U1 U7 U8 failures keep their names") {
  struct expectation {
    const char* script;
    errc code;
    bool can_pass;
    const char* text;
  };
  for (auto& x : {expectation{"refuse", errc::upstream_unreachable, true, ""},
                  expectation{"cut-3", errc::upstream_truncated, true, "word1 word2 word3"},
                  expectation{"eof", errc::upstream_truncated, true, "word1 word2"},
                  expectation{"rst", errc::upstream_truncated, true, "word1 word2"},
                  expectation{"done-only", errc::upstream_truncated, true, "word1 word2"},
                  expectation{"garbage", errc::upstream_protocol, true, "word1"},
                  expectation{"error", errc::upstream_error, true, "word1"},
                  expectation{"html", errc::upstream_protocol, false, ""},
                  expectation{"json-error", errc::upstream_error, true, ""},
                  expectation{"redirect", errc::upstream_protocol, false, ""},
                  expectation{"huge", errc::upstream_too_large, false, ""},
                  expectation{"429", errc::upstream_rate_limited, true, ""},
                  expectation{"500", errc::upstream_error, true, ""},
                  expectation{"401", errc::upstream_auth, false, ""},
                  expectation{"404", errc::upstream_rejected, false, ""}}) {
    INFO(x.script);
    auto before = upstream.requests();
    auto c = run(x.script);
    REQUIRE(c.failed());
    INFO(c.failed()->detail);
    CHECK(c.failed()->code == x.code);
    CHECK(c.failed()->can_pass == x.can_pass);
    CHECK(c.text() == x.text);
    CHECK(c.failed()->detail.find("secret") == std::string::npos);
    CHECK(upstream.requests() == before + 1);
  }
  CHECK(run("429-2").failed()->retry_after == 2s);
}

TEST_CASE("U7 a stream of HTTP/2 that is reset before it answers is a lost connection") {
  for (auto code : {CURLE_HTTP2, CURLE_HTTP2_STREAM}) {
    CHECK(failure_of_curl(code).code == errc::upstream_unreachable);
    CHECK(failure_of_curl(code).can_pass);
  }
}

TEST_CASE_METHOD(fixture, "U10 nobody listening is upstream_unreachable") {
  auto m = make_openai(b.io, {"http://127.0.0.1:1/v1/", "", "nobody", 8});
  collector c;
  auto call = m->start(ask("hi"), c.sink());
  REQUIRE(c.finish());
  CHECK(c.failed()->code == errc::upstream_unreachable);
  CHECK(c.failed()->can_pass);
}

namespace {

/// Takes no connection: the one that its queue has room for is there.
class full_listener {
public:
  full_listener() {
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* address = reinterpret_cast<sockaddr*>(&any);
    socklen_t size = sizeof any;
    REQUIRE(::bind(listens_, address, size) == 0);
    REQUIRE(::listen(listens_, 0) == 0);
    REQUIRE(::getsockname(listens_, address, &size) == 0);
    REQUIRE(::connect(waits_, address, size) == 0);
    port_ = ntohs(any.sin_port);
  }
  ~full_listener() {
    ::close(waits_);
    ::close(listens_);
  }
  std::string base_url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/v1"; }

private:
  int listens_ = ::socket(AF_INET, SOCK_STREAM, 0);
  int waits_ = ::socket(AF_INET, SOCK_STREAM, 0);
  std::uint16_t port_ = 0;
};

} // namespace

TEST_CASE_METHOD(fixture, "U2 a connection that is not there in time is upstream_timeout") {
  full_listener full;
  auto m = make_openai(b.io, {full.base_url(), "", "silent", 8});
  auto start = [&](collector& c, std::chrono::milliseconds patience) {
    auto request = ask("hi");
    request.connect_timeout = patience;
    return m->start(std::move(request), c.sink());
  };
  collector never, later, sooner, left;
  auto begin = std::chrono::steady_clock::now();
  auto a = start(never, 1h);
  auto l = start(left, 150ms);
  auto b1 = start(later, 300ms);
  auto c1 = start(sooner, 100ms);
  l->cancel();
  REQUIRE(sooner.finish());
  CHECK(std::chrono::steady_clock::now() - begin >= 100ms);
  CHECK(later.events().empty());
  REQUIRE(later.finish());
  CHECK(std::chrono::steady_clock::now() - begin >= 300ms);
  for (auto* c : {&sooner, &later}) {
    CHECK(c->failed()->code == errc::upstream_timeout);
    CHECK(c->failed()->can_pass);
  }
  CHECK(never.events().empty());
  CHECK(left.events().empty());
}

TEST_CASE_METHOD(fixture, "U2 what is connected may take longer than connecting may") {
  collector c;
  auto request = ask("hi");
  request.connect_timeout = 40ms;
  auto call = model("slow-50")->start(std::move(request), c.sink());
  REQUIRE(c.finish());
  CHECK(c.finished());
}

TEST_CASE_METHOD(fixture, "U11 cancel reaches the upstream within 50 ms") {
  int n = 0;
  for (auto script : {"pace-5", "stall-2", "hang", "drip"}) {
    INFO(script);
    collector c;
    auto m = model(script);
    auto call = m->start(ask("hi"), c.sink());
    if (script[0] == 'p' || script[0] == 's')
      REQUIRE(c.says("word1 word2"));
    while (upstream.requests() < n + 1)
      std::this_thread::sleep_for(1ms);
    std::this_thread::sleep_for(20ms);
    call->cancel();
    call->cancel();
    CHECK(until_aborted(upstream, ++n) < 50ms);
    auto seen = c.events().size();
    std::this_thread::sleep_for(20ms);
    CHECK(c.events().size() == seen);
    CHECK_FALSE(c.failed());
  }
  collector c;
  auto call = model("hang")->start(ask("hi"), c.sink());
  while (upstream.requests() < n + 1)
    std::this_thread::sleep_for(1ms);
  call.reset(); // destroying is cancelling
  CHECK(until_aborted(upstream, n + 1) < 50ms);
}

TEST_CASE_METHOD(fixture, "what has arrived together is one piece") {
  auto c = run("ok-50"); // 50 HTTP chunks in one write
  CHECK(c.text().ends_with(" word50"));
  auto events = c.events();
  CHECK(std::count_if(events.begin(), events.end(),
                      [](auto& e) { return std::holds_alternative<call_delta>(e); }) == 1);
}

TEST_CASE_METHOD(fixture, "many calls at once do not mix") {
  auto m = make_openai(b.io, {upstream.base_url("ok-50"), "", "faulty", 16});
  std::vector<collector> all(64);
  std::vector<std::unique_ptr<call>> calls;
  for (auto& c : all)
    calls.push_back(m->start(ask("hi"), c.sink()));
  for (auto& c : all) {
    REQUIRE(c.finish());
    CHECK(c.finished());
    CHECK(c.text().ends_with(" word50"));
  }
  CHECK(upstream.connections() <= 16);
}
