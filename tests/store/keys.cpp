// Idempotency keys: the whole group of a repeated request is skipped.

#include "fixture.hpp"

#include "store/task_id.hpp"

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
  CHECK(r->load_session({"", "s0"}, {10}).history.size() ==
        2); // the history stays with its session
}

TEST_CASE_METHOD(fixture, "pruning waits for what was accepted before and ended late", "[store]") {
  session_key key{"", "s"};
  std::vector<fact_group> groups;
  auto name = [](int at) { return "task_" + std::to_string(at) + "_x"; };
  for (int i = 0; i < 4; ++i)
    groups.push_back({accepted(key, name(1000 + i), 1000 + i, static_cast<std::uint64_t>(i) + 1)});
  apply(groups);
  // In another order, the first one much later.
  apply({{usage_recorded{name(1001), 1, "m", 1500, {}, errc::internal}},
         {ended(key, name(1001), 2000, 10)},
         {ended(key, name(1003), 2001, 11)},
         {ended(key, name(1002), 2002, 12)},
         {ended(key, name(1000), 9000, 13)}});
  CHECK(tasks_after(*r, key, 11) == std::vector<std::string>{name(1002), name(1000)});
  auto gap = false;
  CHECK(tasks_after(*r, key, 9, &gap).size() == 4);
  CHECK_FALSE(gap);
  CHECK(tasks_after(*r, key, 13).empty());
  CHECK(w->prune(3000, 0, 10) == 0);
  CHECK(r->find_task("", name(1001)));
  CHECK(w->prune(9500, 0, 10) == 4);
  CHECK(w->prune(9500, 0, 10) == 0);
  CHECK_FALSE(r->find_task("", name(1000)));
  CHECK_FALSE(r->find_task("", name(1001)));
  CHECK(r->usage_of(name(1001)).empty());
  CHECK(r->load_session(key, {10}).history.size() == 8);
  apply({turn(key, name(5000), 10000, 20)});
  CHECK(tasks_after(*r, key, 13).size() == 1);
  CHECK(tasks_after(*r, key, 9, &gap).size() == 1);
  CHECK(gap);
  CHECK(w->prune(20000, 0, 10) == 1);
  apply({{session_removed{key, 30000, false}}});
  CHECK(r->count_sessions() == 0);
}

TEST_CASE_METHOD(fixture, "names whose rows would be the same are told apart", "[store]") {
  auto id = task_ids_of("task_5_x").first;
  std::vector<std::string> alike{"task_5_x"};
  for (int i = 0; alike.size() < 3; ++i)
    if (auto n = "task_5_" + std::to_string(i); task_ids_of(n).first == id)
      alike.push_back(n);
  std::string next; // its own row is that of the second
  for (int i = 0; next.empty(); ++i)
    if (auto n = "task_5_" + std::to_string(i); task_ids_of(n).first == id + 1)
      next = n;
  for (std::size_t i = 0; i < alike.size(); ++i)
    apply({turn({"", "s" + std::to_string(i)}, alike[i], 5, 1, "hello", alike[i])});
  apply({turn({"", "next"}, next, 5, 1, "hello", next)});
  CHECK(r->find_task("", next)->view.text == next);
  for (auto& n : alike)
    CHECK(r->find_task("", n)->view.text == n);
  CHECK_FALSE(r->find_task("", "task_5_none"));
  apply({{session_removed{{"", "s0"}, 6, false}}}); // the first of them leaves a gap
  CHECK_FALSE(r->find_task("", alike[0]));
  CHECK(r->find_task("", alike[2])->view.text == alike[2]);
  apply({turn({"", "again"}, alike[0], 7, 1, "hello", "anew")});
  CHECK(r->find_task("", alike[0])->view.text == "anew");
  CHECK_THROWS_AS(apply({turn({"", "twice"}, alike[1], 8, 1)}), store_error);
}

TEST_CASE("rows of tasks are in order of time", "[store]") {
  CHECK(task_ids_of("task_1758000000001_aaaa").first > task_ids_of("task_1758000000000_zzzz").last);
  CHECK(task_ids_of("task_1758000000000_zzzz").last < task_ids_before(1758000000001));
  CHECK(task_ids_of("task_1758000000000_zzzz").first >= task_ids_before(1758000000000) - 16);
  for (auto* odd :
       {"", "t", "task_", "task__x", "task_-5_x", "task_5", "task_99999999999999999_x"}) {
    CAPTURE(odd);
    CHECK(task_ids_of(odd).first > 0);
    CHECK(task_ids_of(odd).last < task_ids_before(0));
  }
}
