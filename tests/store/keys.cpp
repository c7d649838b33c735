// Idempotency keys: the whole group of a repeated request is skipped.

#include "fixture.hpp"

using namespace parlor;
using namespace parlor::store;
using namespace parlor::store::test;
using kind = group_result::kind;

namespace {

fact_group asked(const session_key& key, const std::string& task, std::int64_t at,
                 std::string print) {
  return {session_opened{key, at, {}, {}}, seq_leased{key, 100},
          accepted(key, task, at, 1, "hello", {"scope:k", std::move(print)})};
}

} // namespace

TEST_CASE_METHOD(fixture, "a repeated key names the first task", "[store]") {
  auto one = apply({asked({"", "a"}, "t1", 1000, "same"), asked({"", "b"}, "t2", 1000, "same"),
                    asked({"", "c"}, "t3", 1000, "other")});
  REQUIRE(one.size() == 3);
  CHECK(one[0].what == kind::durable);
  CHECK(one[1].what == kind::duplicate); // within one transaction, too
  CHECK(one[1].task == "t1");
  CHECK(one[1].session == "a");
  CHECK(one[2].what == kind::mismatch);
  CHECK(r->count_sessions() == 1);
  reopen();
  CHECK(apply({asked({"", "d"}, "t4", 2000, "same")})[0].what == kind::duplicate);
}

TEST_CASE_METHOD(fixture, "a key is forgotten after a day", "[store]") {
  constexpr std::int64_t day = 24 * 3600 * 1000;
  apply({asked({"", "a"}, "t1", 1000, "same")});
  CHECK(apply({asked({"", "b"}, "t2", 999 + day, "same")})[0].what == kind::duplicate);
  CHECK(apply({asked({"", "b"}, "t3", 1000 + day, "other")})[0].what == kind::durable);
  CHECK(apply({asked({"", "c"}, "t4", 1001 + day, "other")})[0].task == "t3");
}

TEST_CASE_METHOD(fixture, "a deleted session takes its keys along", "[store]") {
  apply({asked({"", "a"}, "t1", 1000, "same"), {session_removed{{"", "a"}, 1001, false}}});
  CHECK(apply({asked({"", "a"}, "t2", 1002, "same")})[0].what == kind::durable);
}

TEST_CASE_METHOD(fixture, "pruning is bounded and says when there is more", "[store]") {
  std::vector<fact_group> groups;
  for (int i = 0; i < 5; ++i) {
    auto n = std::to_string(i);
    auto g = turn({"", "s" + n}, "t" + n, 1000, 1);
    g.push_back(usage_recorded{"t" + n, 1, "m", 1000, {}, errc::none});
    groups.push_back(std::move(g));
  }
  groups.push_back(asked({"", "open"}, "open", 1000, "x"));
  apply(groups);
  CHECK(w->prune(1002, 1000, 2) == 0);
  CHECK(w->prune(2000, 2000, 3) == 3);
  CHECK(w->prune(2000, 2000, 3) == 2);
  CHECK(w->prune(2000, 2000, 3) == 0);
  CHECK_FALSE(r->find_task("", "t0"));
  CHECK(r->usage_of("t0").empty());
  CHECK(r->find_task("", "open"));
  CHECK(r->load_session({"", "s0"}, 10).history.size() == 2); // the history stays with its session
}
