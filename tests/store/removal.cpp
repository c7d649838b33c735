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
  CHECK(tasks_after(*r, key, 0) == std::vector<std::string>{"t2"});
  apply({{session_removed{key, 40, false}}}); // deleting by name means the old ones too
  CHECK_FALSE(r->find_task("", "t1"));
}

TEST_CASE_METHOD(fixture, "numbers of removed sessions are not used again", "[store]") {
  CHECK(r->load_session(key, {1}).first_free_seq == 1);
  apply({turn(key, "t1", 1, 1)});
  CHECK(r->load_session(key, {1}).session->lease == 101);
  apply({{session_removed{key, 2, false}}});
  reopen();
  auto image = r->load_session(key, {1});
  CHECK_FALSE(image.session);
  CHECK(image.first_free_seq == 102);
  apply({turn(key, "t2", 3, 102)});
  CHECK(r->find_session(key)->first_seq == 102);
  apply({{session_removed{{"", "unknown"}, 4, false}}});
  CHECK(r->load_session({"", "unknown"}, {1}).first_free_seq == 102);
}

TEST_CASE_METHOD(fixture, "deleting a name takes along what expired sessions of it left",
                 "[store]") {
  auto first = turn(key, "t1", 1, 1);
  std::get<task_accepted>(first[2]).once = {"scope:k", "same"};
  apply({first,
         {usage_recorded{"t1", 1, "m", 3, {}, errc::none}},
         turn(key, "t2", 5, 10),
         {session_removed{key, 20, true}}});
  auto again = accepted({"", "other"}, "t9", 30, 1, "hello", {"scope:k", "same"});
  CHECK(apply({{again}})[0].what == group_result::kind::duplicate); // t1 can still be read
  apply({{session_removed{key, 40, false}}});                       // no session has that name now
  CHECK_FALSE(r->find_task("", "t1"));
  CHECK_FALSE(r->find_task("", "t2"));
  CHECK(r->usage_of("t1").empty());
  CHECK(apply({{again}})[0].what == group_result::kind::durable);
  CHECK(slurp(dir.db() + "-wal").find("scope:k") != std::string::npos);
}

TEST_CASE_METHOD(fixture, "expiry takes open tasks along, between ended ones too", "[store]") {
  apply({turn(key, "t1", 1, 1),
         {accepted(key, "open1", 4, 10)},
         turn(key, "t2", 5, 11),
         {accepted(key, "open2", 8, 20), usage_recorded{"open2", 1, "m", 9, {}, errc::internal}},
         {session_removed{key, 30, true}}});
  CHECK(r->find_task("", "t1"));
  CHECK(r->find_task("", "t2"));
  CHECK_FALSE(r->find_task("", "open1"));
  CHECK_FALSE(r->find_task("", "open2"));
  CHECK(r->unfinished_sessions().empty());
  apply({{session_removed{key, 40, false}}});
  CHECK_FALSE(r->find_task("", "t1"));
  CHECK_FALSE(r->find_task("", "t2"));
}
