// What waits for the disk, and what must not wait for it.

#include "talk.hpp"

using namespace parlor;
using parlor::test::talk;

namespace {

/// With a turn that it goes on with: every number that was leased may have been used, so it asks
/// for more.
void begin_again(talk& t) {
  t.submit("a");
  t.commit();
  t.say("x");
  t.checkpoint();
  t.commit();
  t.crash();
}

} // namespace

TEST_CASE("what is told after the store was full needs no other request to be told") {
  talk t;
  begin_again(t);
  t.say("answer");
  t.finish();
  while (!t.pending.empty())
    t.refuse_one();
  t.commit();
  REQUIRE(t.last("completed a") != nullptr);
  REQUIRE(t.c->idle());
}

TEST_CASE("a removal is told though something before it waits for the disk") {
  SECTION("a stage's result") {
    talk t;
    auto turn = t.turn("a");
    turn.kind = task_kind::pipeline;
    t.submit(turn);
    t.commit();
    t.say("x");
    t.checkpoint();
    t.take(t.c->stage_done("a", std::make_shared<const std::string>("s"), "{}", t.now));
    t.remove();
    t.commit();
    REQUIRE(t.kinds().back() == "session_deleted");
    REQUIRE(t.retired);
  }
  SECTION("the end of a turn that found the disk full") {
    talk t;
    t.submit("a");
    t.commit();
    t.say("x");
    t.finish();
    while (!t.pending.empty())
      t.refuse_one();
    t.remove();
    t.commit_one();
    REQUIRE(t.kinds().back() == "session_deleted");
  }
  SECTION("numbers that were asked for, and refused") {
    talk t;
    begin_again(t);
    t.remove();
    t.refuse_one();
    t.commit();
    REQUIRE(t.kinds().back() == "session_deleted");
  }
}
