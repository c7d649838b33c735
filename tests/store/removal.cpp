// What is deleted is gone from the disk; what has expired keeps its ended tasks; numbers are not
// used again.

#include "fixture.hpp"

using namespace parlor;
using namespace parlor::store;
using namespace parlor::store::test;

namespace {

const session_key key{"", "s"};
const std::string canary = "CANARY-7f3a9b";

} // namespace

TEST_CASE_METHOD(fixture, "deletion leaves no text on the disk", "[store]") {
  std::string large = canary;
  for (int i = 0; i < 20000; ++i)
    large += " padding " + canary;
  auto open = accepted(key, "t2", 10, 10, canary);
  open.settings.passthrough = canary;
  apply({turn(key, "t1", 1, 1, large, large),
         {open, task_started{"t2", 11, 11}, task_checkpoint{"t2", 12, large, canary}},
         turn({"", "other"}, "t3", 1, 1)});
  w->checkpoint();
  CHECK(slurp(dir.db()).find(canary) != std::string::npos);
  apply({{session_removed{key, 20, false}}});
  w->checkpoint();
  CHECK(slurp(dir.db()).find(canary) == std::string::npos);
  CHECK(slurp(dir.db() + "-wal").find(canary) == std::string::npos);
  CHECK_FALSE(r->find_session(key));
  CHECK_FALSE(r->find_task("", "t1"));
  CHECK_FALSE(r->find_task("", "t2"));
  CHECK_FALSE(r->list_messages(key, 10, ""));
  CHECK(r->find_task("", "t3"));
  apply({{ended(key, "t2", 30, 30, canary)}}); // too late: it writes nothing
  w->checkpoint();
  CHECK(slurp(dir.db()).find(canary) == std::string::npos);
  CHECK(slurp(dir.db() + "-wal").find(canary) == std::string::npos);
}

TEST_CASE_METHOD(fixture, "an expired session keeps its ended tasks", "[store]") {
  apply({turn(key, "t1", 1, 1, canary, "kept"), {session_removed{key, 20, true}}});
  reopen();
  CHECK_FALSE(r->find_session(key));
  auto t = r->find_task("", "t1");
  REQUIRE(t);
  CHECK(t->key == key);
  CHECK(t->view.text == "kept");
  apply({turn(key, "t2", 30, 500)}); // a new session of the same name does not inherit them
  auto tasks = r->tasks_after(key, 0, 10);
  REQUIRE(tasks.size() == 1);
  CHECK(tasks[0].view.id == "t2");
  apply({{session_removed{key, 40, false}}}); // deleting by name means the old ones too
  CHECK_FALSE(r->find_task("", "t1"));
}

TEST_CASE_METHOD(fixture, "numbers of removed sessions are not used again", "[store]") {
  CHECK(r->load_session(key, 1).first_free_seq == 1);
  apply({turn(key, "t1", 1, 1)});
  CHECK(r->load_session(key, 1).session->lease == 101);
  apply({{session_removed{key, 2, false}}});
  reopen();
  auto image = r->load_session(key, 1);
  CHECK_FALSE(image.session);
  CHECK(image.first_free_seq == 102);
  apply({turn(key, "t2", 3, 102)});
  CHECK(r->find_session(key)->first_seq == 102);
  apply({{session_removed{{"", "unknown"}, 4, false}}});
  CHECK(r->load_session({"", "unknown"}, 1).first_free_seq == 102);
}
