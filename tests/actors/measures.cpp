// What the actors count and say for operators.

#include "actors/keeper.hpp"
#include "actors/task.hpp"
#include "support/catch.hpp"
#include "virtual_time.hpp"

using namespace parlor;
using namespace std::chrono_literals;

namespace {

/// What was said while it lives, one line each: "level msg name=value …", values that are empty
/// left out. One at a time.
struct listening {
  listening() {
    lines().clear();
    for (auto& s : the_journal.said) // other tests have had their trouble, too
      s.forget();
    set_notice_sink([](log_level l, std::string_view msg, std::initializer_list<log_field> fields) {
      static constexpr const char* names[] = {"trace", "debug", "info", "warn", "error", "off"};
      std::string line = std::string{names[static_cast<int>(l)]} + ' ' + std::string{msg};
      for (auto& [name, value] : fields)
        if (!value.empty())
          line += ' ' + std::string{name} + '=' + std::string{value};
      lines().push_back(std::move(line));
    });
  }
  ~listening() { set_notice_sink(nullptr); }
  static std::vector<std::string>& lines() {
    static std::vector<std::string> all;
    return all;
  }
};

event ended(task_status status, errc error) {
  event e;
  e.kind = event_kind::failed;
  e.at = 5'500;
  task_header h;
  h.id = "task_1";
  h.session = "s";
  h.model = "m";
  h.created_at = 3'000;
  h.request_id = "req_1";
  e.task = std::make_shared<const task_header>(std::move(h));
  outcome end;
  end.status = status;
  end.error = error;
  end.content = "what the model said";
  end.attempts = 2;
  end.detail = "HTTP 503";
  end.upstream_status = 503;
  e.end = std::make_shared<const outcome>(std::move(end));
  return e;
}

std::uint64_t total(const histogram& h) {
  std::uint64_t n = 0;
  for (std::size_t i = 0; i <= h.bounds().size(); ++i)
    n += h.count(i);
  return n;
}

/// A disk that is full, broken or well, as the test says.
struct moody_disk final : store::writer {
  std::vector<store::group_result> apply(std::span<const store::fact_group_ptr> groups) override {
    if (trouble)
      throw store::store_error{*trouble, "no space left"};
    return std::vector<store::group_result>(groups.size());
  }
  std::size_t prune(std::int64_t, std::int64_t, std::size_t) override { return 0; }
  void checkpoint() override {}
  std::optional<store::store_error::kind> trouble;
};

} // namespace

TEST_CASE("a failed turn leaves one line with all that helps, and nothing that was said") {
  listening heard;
  auto before = all_turns.by_result[turn_stats::failed].load();
  auto turns = total(all_turns.duration);
  auto seconds = all_turns.duration.sum();
  turn_ended(ended(task_status::failed, errc::upstream_error), "p");
  REQUIRE(heard.lines().size() == 1);
  CHECK(heard.lines()[0] ==
        "warn task_failed code=upstream_error detail=HTTP 503 upstream_status=503 model=m "
        "provider=p attempts=2 session=s task=task_1 request_id=req_1");
  CHECK(all_turns.by_result[turn_stats::failed] == before + 1);
  CHECK(total(all_turns.duration) == turns + 1);
  CHECK(all_turns.duration.sum() - seconds == Approx(2.5));
}

TEST_CASE("turns are counted by how they ended; those that did not fail are not said") {
  listening heard;
  auto count = [](turn_stats::result r) { return all_turns.by_result[r].load(); };
  auto done = count(turn_stats::completed), stopped = count(turn_stats::cancelled),
       late = count(turn_stats::timeout);
  turn_ended(ended(task_status::completed, errc::none), "p");
  turn_ended(ended(task_status::cancelled, errc::cancelled), "p");
  CHECK(heard.lines().empty());
  turn_ended(ended(task_status::failed, errc::upstream_timeout), "p");
  turn_ended(ended(task_status::failed, errc::upstream_stalled), "p");
  CHECK(count(turn_stats::completed) == done + 1);
  CHECK(count(turn_stats::cancelled) == stopped + 1);
  CHECK(count(turn_stats::timeout) == late + 2);
  CHECK(heard.lines().size() == 2);
}

TEST_CASE("a clock that went back makes no negative duration") {
  auto e = ended(task_status::completed, errc::none);
  e.at = 0;
  auto seconds = all_turns.duration.sum();
  turn_ended(e, "p");
  CHECK(all_turns.duration.sum() == seconds);
}

TEST_CASE("calls are counted by code, and only the codes of calls") {
  call_stats s;
  for (std::size_t i = 0; i < upstream_codes; ++i) {
    CHECK(std::string{to_string(upstream_code(i))}.rfind("upstream_", 0) == 0);
    call_stats::count(s.failures, upstream_code(i));
    CHECK(s.failures[i] == 1);
  }
  for (auto code : {errc::none, errc::cancelled, errc::internal, errc::bad_framing})
    call_stats::count(s.failures, code);
  std::uint64_t all = 0;
  for (auto& c : s.failures)
    all += c;
  CHECK(all == upstream_codes);
}

TEST_CASE("an actor that ends by an exception is counted and named") {
  listening heard;
  virtual_time time;
  auto before = stats_of(actor_kind::lobby).failures.load();
  auto bad = time.owned(time.system.spawn([](caf::event_based_actor* self) -> caf::behavior {
    guard(actor_kind::lobby, self);
    return {[](int) { throw std::runtime_error{"out of something"}; }};
  }));
  caf::anon_send(bad, 1);
  time.settle();
  CHECK(stats_of(actor_kind::lobby).failures == before + 1);
  REQUIRE(heard.lines().size() == 1);
  CHECK(heard.lines()[0] == "error actor_failed kind=lobby error=out of something");
}

TEST_CASE("commits are timed and their facts counted, a full disk is said once and so is its end") {
  listening heard;
  virtual_time time;
  auto disk = std::make_shared<moody_disk>();
  keeper_options options;
  options.wall = [] { return 0; };
  options.on_broken = [](const std::string&) { FAIL("it is not broken"); };
  auto keep = time.owned(
      time.system.spawn(keeper, std::shared_ptr<store::writer>{disk}, std::move(options)));
  auto send = [&](store::fact_group g) {
    caf::anon_send(keep, std::make_shared<const store::fact_group>(std::move(g)));
  };
  auto started = std::size_t{3}; // in store::fact
  REQUIRE(journal_stats::fact_names[started] == std::string_view{"task_started"});
  auto commits = total(the_journal.commit_time);
  auto facts = the_journal.facts[started].load(), errors = the_journal.errors[0].load();
  auto sum = the_journal.batch.sum();

  send({store::task_started{"a", 1, 1}, store::task_started{"b", 1, 1}});
  send({store::task_started{"c", 1, 1}});
  time.settle();
  CHECK(total(the_journal.commit_time) == commits + 1); // both in one
  CHECK(the_journal.facts[started] == facts + 3);
  CHECK(the_journal.batch.sum() == sum + 3);
  CHECK(heard.lines().empty());

  disk->trouble = store::store_error::kind::full;
  for (int i = 0; i < 5; ++i) {
    send({store::task_started{"d", 1, 1}});
    time.settle();
  }
  CHECK(the_journal.errors[0] == errors + 5);
  CHECK(the_journal.facts[started] == facts + 3);
  REQUIRE(heard.lines().size() == 1);
  CHECK(heard.lines()[0].rfind("warn store_trouble during=commit error=no space left", 0) == 0);

  disk->trouble.reset();
  for (int i = 0; i < 3; ++i) {
    send({store::task_started{"e", 1, 1}});
    time.settle();
  }
  REQUIRE(heard.lines().size() == 2);
  CHECK(heard.lines()[1] == "info store_has_room");
}
