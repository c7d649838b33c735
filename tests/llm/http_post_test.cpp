#include "llm/http_post.hpp"

#include "tests/llm/collector.hpp"

#include "support/catch.hpp"
#include "support/faulty_upstream.hpp"

#include <boost/asio/error.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <cstdlib>
#include <future>
#include <thread>

using namespace parlor;
using namespace parlor::llm;
using namespace parlor::testing;
using namespace std::chrono_literals;
namespace ip = boost::asio::ip;

namespace {

/// Collects results. Its sink may outlive it.
class told {
public:
  post_sink sink() {
    return [s = state_](post_result r) {
      std::lock_guard lock{s->mutex};
      s->results.push_back(std::move(r));
      s->changed.notify_all();
    };
  }
  std::size_t count() const {
    std::lock_guard lock{state_->mutex};
    return state_->results.size();
  }
  post_result wait() {
    std::unique_lock lock{state_->mutex};
    REQUIRE(state_->changed.wait_for(lock, 20s, [this] { return !state_->results.empty(); }));
    return state_->results.front();
  }

private:
  struct state {
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<post_result> results;
  };
  std::shared_ptr<state> state_ = std::make_shared<state>();
};

template <class Predicate>
bool eventually(Predicate p) {
  for (auto end = std::chrono::steady_clock::now() + 20s; std::chrono::steady_clock::now() < end;
       std::this_thread::sleep_for(1ms))
    if (p())
      return true;
  return p();
}

struct fixture {
  faulty_upstream upstream;
  background b;
  poster_ptr plain = make_poster(b.io);

  post_request to(const std::string& script) {
    post_request r;
    r.url = upstream.base_url(script);
    r.body = R"({"sessionId":"s1"})";
    return r;
  }
  post_result run(poster& p, post_request r) {
    told t;
    auto post = p.start(std::move(r), t.sink());
    return t.wait();
  }
};

/// Leads to 127.0.0.1, where the guarded one never would.
class leads_here final : public guarded_dialer {
public:
  leads_here(unsigned short port, std::vector<std::string> addresses)
      : guarded_dialer{nullptr}, port_{port}, addresses_{std::move(addresses)} {}
  void find(std::string_view url, sink s) const override {
    dial_route route;
    route.to.url = url;
    route.to.port = port_;
    for (auto& a : addresses_)
      route.addresses.push_back(ip::make_address(a));
    s(std::move(route));
  }

private:
  unsigned short port_;
  std::vector<std::string> addresses_;
};

/// Answers for every name with one address, once told to.
class one_answer final : public resolver {
public:
  explicit one_answer(std::string address) : address_{std::move(address)} {}
  void resolve(const std::string&, sink s) override {
    if (address_.empty())
      held_ = std::move(s); // never answers
    else
      s({}, {ip::make_address(address_)});
  }

private:
  std::string address_;
  sink held_;
};

} // namespace

TEST_CASE_METHOD(fixture, "a post is sent whole, and its status is the result") {
  auto r = to("ok");
  r.headers = {"Authorization: Bearer canary", "Idempotency-Key: k1"};
  auto result = run(*plain, r);
  CHECK(result.ok());
  CHECK(result.status == 200);
  CHECK(upstream.last_body() == R"({"sessionId":"s1"})");
  auto header = upstream.last_header();
  CHECK(header.starts_with("POST /ok/v1 HTTP/1.1\r\n"));
  for (auto line : {"Content-Type: application/json\r\n", "Authorization: Bearer canary\r\n",
                    "Idempotency-Key: k1\r\n"})
    CHECK(header.find(line) != std::string::npos);
  CHECK(header.find("Expect") == std::string::npos);
}

TEST_CASE_METHOD(fixture, "C4 failures of a post keep their names") {
  struct expectation {
    const char* script;
    int status;
    errc code;
    bool can_pass;
  };
  for (auto& x : {expectation{"refuse", 0, errc::upstream_unreachable, true},
                  expectation{"500", 500, errc::upstream_error, true},
                  expectation{"401", 401, errc::upstream_auth, false},
                  expectation{"404", 404, errc::upstream_rejected, false},
                  expectation{"429", 429, errc::upstream_rate_limited, true},
                  expectation{"redirect", 302, errc::upstream_protocol, false},
                  expectation{"html", 200, errc::none, false}}) {
    INFO(x.script);
    auto before = upstream.requests();
    auto result = run(*plain, to(x.script));
    INFO(result.detail);
    CHECK(result.status == x.status);
    CHECK(result.code == x.code);
    CHECK(result.can_pass == x.can_pass);
    CHECK(result.detail.find("secret") == std::string::npos);
    CHECK(upstream.requests() == before + 1); // no redirect followed, nothing tried twice
  }
  CHECK(run(*plain, to("429-2")).retry_after == 2s);
  post_request nobody = to("ok");
  nobody.url = "http://127.0.0.1:1/";
  auto result = run(*plain, nobody);
  CHECK(result.code == errc::upstream_unreachable);
  CHECK(result.can_pass);
  nobody.url = "file:///etc/passwd";
  CHECK(run(*plain, nobody).code == errc::upstream_protocol);
}

TEST_CASE_METHOD(fixture, "C4 a post waits for the header of the answer, and not for ever") {
  auto r = to("hang");
  r.total_timeout = 100ms;
  auto result = run(*plain, r);
  CHECK(result.code == errc::upstream_timeout);
  CHECK(result.can_pass);
  CHECK(result.status == 0);
  CHECK(eventually([&] { return upstream.aborted() == 1; }));
}

TEST_CASE_METHOD(fixture, "C4 what follows the header is not waited for, and not read for long") {
  for (auto script : {"drip", "stall-1", "huge"}) {
    INFO(script);
    auto before = upstream.aborted();
    told t;
    auto post = plain->start(to(script), t.sink());
    CHECK(t.wait().ok());
    CHECK(eventually([&] { return upstream.aborted() == before + 1; }));
    CHECK(t.count() == 1);
  }
}

TEST_CASE_METHOD(fixture, "a connection is used again, also when the caller has gone") {
  for (int i = 0; i < 5; ++i) {
    CHECK(run(*plain, to("500")).status == 500); // the handle is gone at once
    std::this_thread::sleep_for(5ms);
  }
  CHECK(upstream.requests() == 5);
  CHECK(upstream.connections() <= 3); // unless it was quicker than the end of the answer
}

TEST_CASE_METHOD(fixture, "a post is not sent again when a kept connection dies") {
  REQUIRE(eventually([&] { // until the connection was kept
    auto before = upstream.connections();
    run(*plain, to("500"));
    return upstream.connections() == before;
  }));
  auto requests = upstream.requests();
  CHECK(run(*plain, to("refuse")).code == errc::upstream_unreachable);
  CHECK(upstream.requests() == requests + 1);
}

TEST_CASE_METHOD(fixture, "cancelling a post closes its connection and is silent") {
  for (auto destroy : {false, true}) {
    auto before = upstream.requests();
    told t;
    auto post = plain->start(to("hang"), t.sink());
    REQUIRE(eventually([&] { return upstream.requests() == before + 1; }));
    if (destroy)
      post.reset();
    else
      post->cancel();
    CHECK(eventually([&] { return upstream.aborted() == before + 1; }));
    CHECK(t.count() == 0);
  }
  for (int i = 0; i < 50; ++i) { // at any moment
    told t;
    auto post = plain->start(to("ok"), t.sink());
    std::this_thread::sleep_for(std::chrono::microseconds{i * 20});
  }
}

TEST_CASE_METHOD(fixture, "a poster may go while its posts are under way") {
  told t;
  auto post = plain->start(to("slow-50"), t.sink());
  plain.reset();
  CHECK(t.wait().ok());
}

TEST_CASE("a post under way at the end leaks nothing") {
  faulty_upstream upstream;
  boost::asio::io_context io;
  told t;
  auto p = make_poster(io);
  post_request r;
  r.url = upstream.base_url("hang");
  auto post = p->start(r, t.sink());
  io.run_for(50ms);
  post.reset();
  p.reset(); // the io_context never runs again
  CHECK(t.count() == 0);
}

TEST_CASE_METHOD(fixture, "C2 header lines that would be more than one header are refused") {
  for (auto good : {"X-A: b", "Authorization: Bearer x\ty", "x_1:", "X-A:b"})
    CHECK(valid_header_line(good));
  using namespace std::string_literals;
  for (auto& bad : {"X-A: b\r\nX-B: c"s, "X-A: b\n"s, "X-A: \0"s, "X A: b"s, ": b"s, "X-A"s, ""s,
                    "X-A\r: b"s, "X-A : b"s, "X-\x80: b"s, "Host: evil"s, "content-LENGTH: 5"s,
                    "Transfer-Encoding: chunked"s}) {
    INFO(bad);
    CHECK_FALSE(valid_header_line(bad));
    auto r = to("ok");
    r.headers = {bad};
    auto result = run(*plain, r);
    CHECK(result.code == errc::invalid_field);
    CHECK_FALSE(result.can_pass);
  }
  CHECK(upstream.connections() == 0);
}

TEST_CASE_METHOD(fixture, "C1 a guarded post goes nowhere private") {
  auto guard = [&](std::string answer) {
    return make_guarded_poster(
        b.io, std::make_shared<guarded_dialer>(std::make_shared<one_answer>(std::move(answer)),
                                               dial_rules{true}));
  };
  auto ask_for = [&](poster& p, std::string url) {
    post_request r;
    r.url = std::move(url);
    r.total_timeout = 100ms;
    return run(p, std::move(r));
  };
  auto port = ':' + std::to_string(upstream.port());
  for (auto& url : {"http://127.0.0.1" + port + "/ok/v1", "http://localhost" + port + "/ok/v1",
                    std::string{"http://127.0.0.1/"}, std::string{"http://hooks.example.org/"},
                    std::string{"https://hooks.example.org/"}, std::string{"file:///etc/passwd"}}) {
    INFO(url);
    auto result = ask_for(*guard("127.0.0.1"), url);
    CHECK(result.code == errc::url_not_allowed);
    CHECK_FALSE(result.can_pass);
  }
  auto silent = ask_for(*guard(""), "http://hooks.example.org/"); // its name server, that is
  CHECK(silent.code == errc::upstream_timeout);
  CHECK(silent.can_pass);
  CHECK(upstream.connections() == 0);
}

TEST_CASE_METHOD(fixture, "C1 a guarded post connects to the address that was checked, by name") {
  auto guard = [&](std::vector<std::string> addresses) {
    return make_guarded_poster(b.io, std::make_shared<leads_here>(upstream.port(), addresses));
  };
  post_request r = to("ok");
  r.url = "http://hooks.invalid/ok/hook?x=1"; // no name server knows it
  auto result = run(*guard({"127.0.0.1"}), r);
  CHECK(result.ok());
  CHECK(upstream.last_header().starts_with("POST /ok/hook?x=1 HTTP/1.1\r\n"));
  CHECK(upstream.last_header().find("\r\nHost: hooks.invalid\r\n") != std::string::npos);
  SECTION("the next address, if the first does not answer") {
    CHECK(run(*guard({"::1", "127.0.0.2", "127.0.0.1"}), r).ok());
    auto none = run(*guard({"127.0.0.2", "127.0.0.3"}), r);
    CHECK(none.code == errc::upstream_unreachable);
    CHECK(none.can_pass);
  }
  SECTION("no proxy, and no redirect") {
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    CHECK(run(*plain, r).code == errc::upstream_unreachable); // there is nobody at the proxy's
    CHECK(run(*guard({"127.0.0.1"}), r).ok());
    unsetenv("http_proxy");
    r.url = "http://hooks.invalid/redirect/hook";
    auto before = upstream.requests();
    CHECK(run(*guard({"127.0.0.1"}), r).status == 302);
    CHECK(upstream.requests() == before + 1);
  }
  SECTION("a connection of its own for each") {
    auto p = guard({"127.0.0.1"});
    auto before = upstream.connections();
    for (int i = 0; i < 3; ++i) {
      CHECK(run(*p, r).ok());
      std::this_thread::sleep_for(2ms);
    }
    CHECK(upstream.connections() == before + 3);
  }
}
