#include "actors/task.hpp"

#include "support/catch.hpp"
#include "virtual_time.hpp"

using namespace parlor;
using namespace std::chrono_literals;

namespace {

/// A provider that does what the test says, when it says it.
struct puppet final : llm::provider {
  struct handle final : llm::call {
    explicit handle(puppet& p) : owner{p} {}
    ~handle() override { cancel(); }
    void cancel() override {
      if (!std::exchange(over, true))
        ++owner.closed;
    }
    puppet& owner;
    bool over = false;
  };
  std::unique_ptr<llm::call> start(llm::call_request r, llm::call_sink s) override {
    requests.push_back(std::move(r));
    sink = std::move(s);
    return std::make_unique<handle>(*this);
  }
  std::vector<llm::call_request> requests;
  llm::call_sink sink;
  int closed = 0;
};

struct seen {
  std::int64_t at;
  std::string what;
};

struct bench {
  virtual_time time;
  std::shared_ptr<puppet> provider = std::make_shared<puppet>();
  std::shared_ptr<llm::limiter> limit = llm::make_limiter(1, 1);
  std::shared_ptr<model_entry> model = std::make_shared<model_entry>();
  std::vector<seen> log;
  usage last_used;
  task_actor worker;

  bench() {
    model->name = "m";
    model->provider = provider;
    model->limit = limit;
  }
  ~bench() { worker = nullptr; }

  static std::string used(const task_attempt_ended& u) {
    return "used " + std::to_string(u.attempt) + (u.used.exact ? " exact" : " estimated");
  }
  void begin() {
    auto sink = time.owned(
        time.system.spawn([this](task_sink_actor::pointer) -> task_sink_actor::behavior_type {
          return {[this](const task_report& r) {
            std::string what;
            if (auto* d = std::get_if<task_delta>(&r.what))
              what = "delta " + d->text;
            else if (auto* w = std::get_if<task_retrying>(&r.what))
              what = "retry " + std::to_string(w->attempt) + (w->discard ? " discard" : "");
            else if (auto* u = std::get_if<task_attempt_ended>(&r.what))
              what = used(*u), last_used = u->used;
            else if (auto* o = std::get_if<task_over>(&r.what)) {
              if (o->last) {
                log.push_back({time.now_ms(), used(*o->last)});
                last_used = o->last->used;
              }
              what = std::string{to_string(o->end.status)} + " " +
                     std::string{to_string(o->end.error)};
            }
            log.push_back({time.now_ms(), what});
          }};
        }));
    auto order = std::make_shared<task_order>();
    order->header = std::make_shared<task_header>(task_header{"t", "s", "m", 0});
    order->messages = {{role::user, "hello", {}}};
    worker = time.owned(time.system.spawn(task, task_order_ptr{order},
                                          std::shared_ptr<const model_entry>{model}, limit->admit(),
                                          sink, random_source{[] { return 0.0; }}));
    time.settle();
  }
  void news(llm::call_event e) {
    provider->sink(std::move(e));
    time.settle();
  }
  llm::call_failed unavailable(std::optional<std::chrono::milliseconds> after = {}) {
    llm::call_failed f;
    f.code = errc::upstream_error;
    f.can_pass = true;
    f.retry_after = after;
    return f;
  }
};

} // namespace

TEST_CASE(
    "U7 a provider that fails three times is asked at 0, 1 and 3 seconds, to the millisecond") {
  bench b;
  b.begin();
  REQUIRE(b.provider->requests.size() == 1);
  b.news(b.unavailable());
  b.time.advance(999ms);
  REQUIRE(b.provider->requests.size() == 1);
  b.time.advance(1ms);
  REQUIRE(b.provider->requests.size() == 2);
  b.news(b.unavailable());
  b.time.advance(1999ms);
  REQUIRE(b.provider->requests.size() == 2);
  b.time.advance(1ms);
  REQUIRE(b.provider->requests.size() == 3);
  b.news(b.unavailable());
  REQUIRE(b.log.back().what == "failed upstream_error");
  REQUIRE(b.log.back().at == 3000);
  REQUIRE(std::count_if(b.log.begin(), b.log.end(),
                        [](auto& s) { return s.what.rfind("used", 0) == 0; }) == 3);
}

TEST_CASE("U7 Retry-After is obeyed when it is longer, and capped") {
  bench b;
  b.begin();
  b.news(b.unavailable(5s));
  b.time.advance(4999ms);
  REQUIRE(b.provider->requests.size() == 1);
  b.time.advance(1ms);
  REQUIRE(b.provider->requests.size() == 2);
  b.news(b.unavailable(std::chrono::hours{1}));
  b.time.advance(29'999ms);
  REQUIRE(b.provider->requests.size() == 2);
  b.time.advance(1ms);
  REQUIRE(b.provider->requests.size() == 3);
}

TEST_CASE(
    "silence before the first piece ends at exactly 120 s, between pieces at 90 s after the last") {
  bench b;
  b.begin();
  b.time.advance(119'999ms);
  REQUIRE(b.log.empty());
  b.time.advance(1ms);
  REQUIRE(b.log.back().what == "failed upstream_timeout");
  REQUIRE(b.provider->closed == 1);

  bench c;
  c.begin();
  c.time.advance(1s);
  c.news(llm::call_delta{"a"});
  c.time.advance(80s);
  c.news(llm::call_delta{"b"});
  c.time.advance(89'999ms);
  REQUIRE(c.log.back().what == "delta b");
  c.time.advance(1ms);
  REQUIRE(c.log.back().what == "failed upstream_stalled");
  REQUIRE(c.log.back().at == 171'000);
}

TEST_CASE("U2 ten minutes are the end, however busy the stream is") {
  bench b;
  b.begin();
  for (int i = 0; i < 59; ++i) {
    b.time.advance(10s);
    b.news(llm::call_delta{"x"});
  }
  b.time.advance(9'999ms);
  REQUIRE(b.log.back().what == "delta x");
  b.time.advance(1ms);
  REQUIRE(b.log.back().what == "failed upstream_timeout");
  REQUIRE(b.log.back().at == 600'000);
}

TEST_CASE("U7 attempts, and the waits between them, share one deadline") {
  bench b;
  b.model->total = 5s;
  b.begin();
  b.time.advance(1s);
  b.news(b.unavailable()); // the next after a second
  b.time.advance(1s);
  REQUIRE(b.provider->requests.size() == 2);
  b.time.advance(1s);
  auto told = b.log.size();
  b.news(b.unavailable()); // the next would be after two, when the deadline is
  REQUIRE(b.log.size() == told + 2);
  REQUIRE(b.log.back().what == "failed upstream_error");
  REQUIRE(b.log.back().at == 3000);

  bench c;
  c.model->total = 5s;
  c.begin();
  c.time.advance(1s);
  c.news(c.unavailable());
  c.time.advance(3999ms);
  REQUIRE(c.provider->requests.size() == 2);
  REQUIRE(c.log.back().what == "retry 2");
  c.time.advance(1ms);
  REQUIRE(c.log.back().what == "failed upstream_timeout");
  REQUIRE(c.log.back().at == 5000);
}

TEST_CASE("U2 the deadline is met while a retry waits for its place, too") {
  bench b;
  b.model->total = 5s;
  b.begin();
  auto other = b.limit->admit();
  auto has_it = false;
  other->acquire([&] { has_it = true; });
  b.news(b.unavailable());
  REQUIRE(has_it);
  b.time.advance(4999ms);
  REQUIRE(b.log.back().what == "retry 2");
  b.time.advance(1ms);
  REQUIRE(b.log.back().what == "failed upstream_timeout");
  REQUIRE(b.provider->requests.size() == 1);
  REQUIRE(std::count_if(b.log.begin(), b.log.end(),
                        [](auto& s) { return s.what.rfind("used", 0) == 0; }) == 1);
  other.reset();
  b.time.settle();
  REQUIRE(b.limit->in_flight() == 0);
}

TEST_CASE("U12 a usage that was told before the end, or in part, does not pass for the whole") {
  auto used_of = [](std::optional<usage> told, errc error) {
    bench b;
    b.begin();
    b.news(llm::call_delta{"some words that were said"});
    if (error == errc::none) {
      llm::call_finished f;
      f.used = told;
      b.news(f);
    } else {
      llm::call_failed f;
      f.code = error;
      f.used = told;
      b.news(f);
    }
    return b.last_used;
  };
  auto said = estimate_tokens("some words that were said");
  auto whole = used_of(usage{10, 5, true}, errc::none);
  CHECK(whole.exact);
  CHECK(whole.total() == 15);
  auto cut = used_of(usage{10, 0, true}, errc::upstream_truncated);
  CHECK_FALSE(cut.exact);
  CHECK(cut.prompt_tokens == 10);
  CHECK(cut.completion_tokens == said);
  auto half = used_of(usage{10, 0, false}, errc::none);
  CHECK_FALSE(half.exact);
  CHECK(half.completion_tokens == said);
  auto other_half = used_of(usage{0, 5, true}, errc::none);
  CHECK_FALSE(other_half.exact);
  CHECK(other_half.prompt_tokens > 0);
  CHECK(other_half.completion_tokens == 5);
}

TEST_CASE("U6 after a piece was shown the retry is announced with discard; what cannot pass is not "
          "retried") {
  bench b;
  b.begin();
  b.news(llm::call_delta{"a"});
  b.news(b.unavailable());
  REQUIRE(b.log.back().what == "retry 2 discard");
  b.time.advance(1s);
  llm::call_failed f;
  f.code = errc::upstream_auth;
  b.news(f);
  REQUIRE(b.log.back().what == "failed upstream_auth");
  REQUIRE(b.provider->requests.size() == 2);
}

TEST_CASE("U11 U12 stop closes the call at once and leaves a usage record") {
  bench b;
  b.begin();
  b.news(llm::call_delta{"a"});
  caf::anon_send(b.worker, stop_task{});
  b.time.settle();
  REQUIRE(b.provider->closed == 1);
  REQUIRE(b.log[b.log.size() - 2].what == "used 1 estimated");
  REQUIRE(b.log.back().what == "cancelled cancelled");
  REQUIRE(b.log.back().at == 0);
  REQUIRE(b.limit->in_flight() == 0);
}

TEST_CASE("a task waits for its slot, and its deadlines begin when it has it") {
  bench b;
  auto first = b.limit->admit();
  first->acquire([] {});
  b.begin();
  b.time.advance(300s);
  REQUIRE(b.provider->requests.empty());
  first.reset();
  b.time.settle();
  REQUIRE(b.provider->requests.size() == 1);
  b.time.advance(119'999ms);
  REQUIRE(b.log.empty());
}
