#include "actors/turn_gate.hpp"

#include "support/catch.hpp"

using namespace parlor;
using namespace std::chrono_literals;

TEST_CASE("the gate shuts while turns wait too long, and opens by itself") {
  turn_gate gate{250ms};
  turn_gate::clock::time_point now{1h};
  CHECK(gate.open(now));
  for (int i = 1; i < turn_gate::in_a_row; ++i)
    gate.answered(300ms, now);
  CHECK(gate.open(now)); // not so many in a row
  gate.answered(250ms, now);
  for (int i = 1; i < turn_gate::in_a_row; ++i)
    gate.answered(300ms, now);
  CHECK(gate.open(now)); // one was quick enough
  gate.answered(300ms, now);
  CHECK_FALSE(gate.open(now));
  now += 60ms;
  gate.answered(300ms, now); // of those that were inside
  now += 60ms;
  CHECK_FALSE(gate.open(now));
  gate.answered(10ms, now); // does not open it early: more may be behind
  CHECK_FALSE(gate.open(now));
  now += turn_gate::shut_for;
  CHECK(gate.open(now));
  gate.answered(300ms, now);
  CHECK(gate.open(now)); // counted anew since the quick one
}

TEST_CASE("a gate without a limit is never shut") {
  turn_gate gate{0ms};
  turn_gate::clock::time_point now{1h};
  for (int i = 0; i < 100; ++i)
    gate.answered(1h, now);
  CHECK(gate.open(now));
}
