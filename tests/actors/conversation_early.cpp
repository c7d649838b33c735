#include "talk.hpp"

// The model is asked while the disk writes; what it says waits for the disk.

using namespace parlor;
using parlor::test::talk;

TEST_CASE("the model is asked at once; what it says is told when the turn is durable") {
  talk t;
  auto p = t.submit("a");
  REQUIRE(t.orders.size() == 1);
  t.say("hi ");
  t.say("there");
  t.finish();
  REQUIRE(t.told.empty());
  REQUIRE_FALSE(t.answered(p));
  REQUIRE(t.pending.size() == 1); // no usage and no end of a turn that may be refused
  t.commit_one();
  REQUIRE(t.answer(p) == errc::none);
  REQUIRE(t.kinds() ==
          std::vector<std::string>{"accepted a", "started a", "delta a", "progress a", "delta a"});
  t.commit();
  REQUIRE(t.kinds().back() == "completed a");
  REQUIRE(t.told.back()->end->content == "hi there");
}

TEST_CASE("a refused acceptance stops the model that was asked, and leaves nothing") {
  talk t;
  auto p = t.submit("a");
  t.say("hi");
  t.refuse_one();
  REQUIRE(t.answer(p) == errc::store_full);
  REQUIRE(t.stops == 1);
  t.stopped(); // what it says now is nobody's
  REQUIRE(t.told.empty());
  REQUIRE(t.pending.empty());
  REQUIRE_FALSE(t.c->exists());

  t.chat("b");
  REQUIRE(t.kinds().front() == "accepted b");
  REQUIRE(t.kinds().back() == "completed b");
  REQUIRE(t.told.front()->seq == 1);
}

TEST_CASE("what may be a repetition does not ask the model before the disk has spoken") {
  talk t;
  auto turn = t.turn("a");
  turn.once.scope_and_key = "k";
  turn.once.fingerprint = "f";
  t.submit(std::move(turn));
  REQUIRE(t.orders.empty());
  t.commit();
  REQUIRE(t.orders.size() == 1);
}

TEST_CASE("a turn cancelled before it is durable ends as cancelled, with what it has used") {
  talk t;
  t.submit("a");
  auto c = t.cancel("a");
  REQUIRE(t.stops == 1);
  t.stopped();
  REQUIRE_FALSE(t.answered(c));
  t.commit();
  REQUIRE(t.answer(c) == errc::none);
  REQUIRE(t.kinds().back() == "cancelled a");
}

TEST_CASE("the next turn is asked for before the end of the last one is durable, not told before") {
  talk t;
  t.submit("a");
  t.submit("b");
  t.commit();
  t.say("one");
  t.finish();
  REQUIRE(t.running() == "b");
  t.say("two");
  REQUIRE(t.count("completed a") + t.count("delta b") == 0);
  t.commit();
  REQUIRE(t.count("completed a") == 1);
  REQUIRE(t.count("delta b") == 1);
}
