// What the writer remembers of sessions between the two commits of a turn is what is on disk.

#include "fixture.hpp"

using namespace parlor;
using namespace parlor::store;
using namespace parlor::store::test;

namespace {

fact_group begun(const session_key& key, const std::string& task, std::int64_t at,
                 std::uint64_t seq) {
  return {session_opened{key, at, {}, {}}, seq_leased{key, seq + 100}, accepted(key, task, at, seq),
          task_started{task, at, seq + 1}};
}

} // namespace

TEST_CASE_METHOD(fixture, "turns of many sessions, in several orders and across a restart",
                 "[store]") {
  constexpr int sessions = 40;
  auto key = [](int i) { return session_key{i % 2 == 0 ? "" : "acme", "s" + std::to_string(i)}; };
  auto task = [](int i, int n) { return "t" + std::to_string(i) + "-" + std::to_string(n); };
  std::vector<fact_group> groups;
  for (int i = 0; i < sessions; ++i)
    groups.push_back(begun(key(i), task(i, 0), 10 + i, 1));
  for (int i = 0; i < sessions; i += 3) // waits behind the first
    groups.push_back({accepted(key(i), task(i, 1), 100 + i, 5)});
  apply(groups);
  reopen();
  groups.clear();
  for (int i = sessions - 1; i >= 0; --i)
    groups.push_back({ended(key(i), task(i, 0), 200 + i, 10)});
  apply(groups);
  for (int i = 0; i < sessions; i += 3)
    apply({{task_started{task(i, 1), 300, 11}}, {ended(key(i), task(i, 1), 301 + i, 12)}});
  for (int i = 0; i < sessions; ++i) {
    auto image = r->load_session(key(i), {100});
    auto turns = i % 3 == 0 ? 2 : 1;
    REQUIRE(image.session);
    auto& v = image.session->view;
    CHECK(v.message_count == 2 * turns);
    CHECK(v.question_count == turns);
    CHECK(v.total_tokens == 7 * turns);
    CHECK(v.created_at == 10 + i);
    CHECK(v.last_accessed == (turns == 2 ? 301 : 200) + i);
    CHECK(v.last_seq == (turns == 2 ? 12U : 10U));
    CHECK(v.state == "idle");
    CHECK(image.history.size() == static_cast<std::size_t>(2 * turns));
    CHECK(image.open_tasks.empty());
  }
  CHECK(r->list_sessions("acme", 100, {}).sessions.size() == sessions / 2);
}

TEST_CASE_METHOD(fixture, "a session removed in the middle of a turn begins anew", "[store]") {
  session_key key{"", "s"};
  apply({begun(key, "t1", 1, 1)});
  apply({{session_removed{key, 2}}});
  CHECK_FALSE(r->find_session(key));
  apply({{ended(key, "t1", 3, 3)}}); // too late: of nobody
  CHECK_FALSE(r->find_session(key));
  auto image = r->load_session(key, {10});
  CHECK_FALSE(image.session);
  CHECK(image.first_free_seq == 102);
  apply({begun(key, "t2", 4, 200), {ended(key, "t1", 5, 5)}});
  auto s = r->find_session(key).value();
  CHECK(s.view.created_at == 4);
  CHECK(s.view.message_count == 1);
  CHECK(s.view.active_task == "t2");
}

TEST_CASE_METHOD(fixture, "tasks of one millisecond have rows of their own", "[store]") {
  session_key key{"", "s"};
  std::vector<std::string> names;
  std::vector<fact_group> groups{{session_opened{key, 1, {}, {}}, seq_leased{key, 5000}}};
  for (std::uint64_t i = 0; i < 300; ++i) {
    names.push_back(make_task_id(1'758'000'000'000 + static_cast<std::int64_t>(i / 100)));
    groups.push_back({accepted(key, names.back(), 1, i + 1)});
    if (i % 50 == 49) {
      apply(std::exchange(groups, {}));
      groups.push_back({ended(key, names[i - 7], 2, 1000 + i)});
      if (i % 100 == 99)
        reopen();
    }
  }
  apply(groups);
  for (auto& n : names) {
    auto t = r->find_task("", n);
    REQUIRE(t);
    CHECK(t->view.id == n);
  }
  CHECK_THROWS_AS(apply({{accepted(key, names[17], 1, 6000)}}), store_error); // accepted twice
}
