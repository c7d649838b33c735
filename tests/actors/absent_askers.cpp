#include "actors/absent_askers.hpp"

#include "support/catch.hpp"

using namespace parlor;
using strings = std::vector<std::string>;

TEST_CASE("U11 what somebody has left is taken over once, by who watches it") {
  absent_askers absent;
  const session_key one{"", "one"}, other{"", "other"};
  CHECK(absent.take_over(one, {}).empty());
  auto a = absent.left(one, "a");
  auto b = absent.left(one, "b");
  auto c = absent.left(other, "c");
  CHECK(absent.take_over(one, "c").empty());
  CHECK(absent.take_over(one, "b") == strings{"b"});
  CHECK(absent.take_over(one, "b").empty());
  CHECK_FALSE(absent.give_up(one, b));
  auto again = absent.left(one, "b");
  CHECK_FALSE(absent.give_up(one, b)); // he has left later, and has his own time
  CHECK(absent.take_over(one, {}) == strings{"a", "b"});
  CHECK_FALSE(absent.give_up(one, a));
  CHECK_FALSE(absent.give_up(one, again));
  CHECK_FALSE(absent.give_up(one, c));
  CHECK(absent.give_up(other, c));
  CHECK_FALSE(absent.give_up(other, c));
}
