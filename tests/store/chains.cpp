// Tasks are found from their session, one leading to the one before: pruning must not cut that off.

#include "fixture.hpp"

using namespace parlor;
using namespace parlor::store;
using namespace parlor::store::test;

namespace {

const session_key key{"", "s"};
std::string name(int at) { return "task_" + std::to_string(at) + "_x"; }

} // namespace

TEST_CASE_METHOD(fixture, "an open task is found behind a later one that is old", "[store]") {
  apply({{accepted(key, name(1000), 1000, 1, "still asked"), task_started{name(1000), 1000, 2}},
         {accepted(key, name(1001), 1001, 3)},
         {ended(key, name(1001), 1002, 4, "", task_status::cancelled)}});
  while (w->prune(50'000, 0, 10) > 0)
    ;
  reopen();
  auto image = r->load_session(key, {10});
  REQUIRE(image.open_tasks.size() == 1);
  CHECK(image.open_tasks[0].view.id == name(1000));
  CHECK(image.open_tasks.at(0).said.content == "still asked");
  CHECK(r->find_session(key)->view.active_task == name(1000));
  CHECK(tasks_after(*r, key, 0).front() == name(1000));
  apply({{ended(key, name(1000), 60'000, 5)}});
  CHECK(w->prune(100'000, 0, 10) == 2);
  CHECK(w->prune(100'000, 0, 10) == 0);
}

TEST_CASE_METHOD(fixture, "deletion finds what ended late behind what was old", "[store]") {
  const std::string canary = "CANARY-51c0de";
  for (auto expire_first : {false, true}) {
    apply({{accepted(key, name(1000), 1000, 1)},
           {accepted(key, name(1001), 1001, 2)},
           {ended(key, name(1001), 2000, 3)},
           {ended(key, name(1000), 9000, 4, canary)}});
    while (w->prune(3000, 0, 10) > 0)
      ;
    CHECK(r->find_task("", name(1000)));
    if (expire_first)
      apply({{session_removed{key, 9001, true}}});
    apply({{session_removed{key, 9002, false}}});
    CHECK_FALSE(r->find_task("", name(1000)));
    CHECK_FALSE(r->find_task("", name(1001)));
    w->checkpoint();
    CHECK(slurp(dir.db()).find(canary) == std::string::npos);
  }
}

TEST_CASE_METHOD(fixture, "a long chain is pruned in steps, and can be deleted between them",
                 "[store]") {
  std::vector<fact_group> groups;
  for (int i = 0; i < 20; ++i)
    groups.push_back(turn(key, name(1000 + i), 1000 + i, static_cast<std::uint64_t>(i) * 5 + 1));
  groups.push_back({session_removed{key, 2000, true}});
  apply(groups);
  CHECK(w->prune(3000, 0, 8) == 8);
  CHECK_FALSE(r->find_task("", name(1007)));
  CHECK(r->find_task("", name(1008)));
  apply({{session_removed{key, 2001, false}}}); // what has expired is still known by its name
  for (int i = 0; i < 20; ++i)
    CHECK_FALSE(r->find_task("", name(1000 + i)));
}
