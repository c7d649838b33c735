#include "actors/attendance.hpp"

#include "support/catch.hpp"

using namespace parlor;
using strings = std::vector<std::string>;

TEST_CASE("U11 a turn is abandoned when all have gone who attended it") {
  attendance all;
  const session_key one{"", "one"}, other{"", "other"};
  CHECK(all.come(one, {}).empty());
  CHECK(all.leave(one, "a") == 0);
  all.ask(one, "a");
  all.ask(one, "b");
  all.ask(other, "c");
  CHECK(all.abandoned(one).empty());
  CHECK(all.come(one, "c").empty());
  CHECK(all.come(one, {}) == strings{"a", "b"});
  CHECK(all.come(one, "b") == strings{"b"});
  CHECK(all.leave(one, "a") == 0);
  auto first = all.leave(one, "a");
  REQUIRE(first != 0);
  CHECK(all.abandoned(one) == strings{"a"});
  CHECK(all.come(one, "a") == strings{"a"});
  CHECK_FALSE(all.expire(one, "a", first)); // somebody has come
  auto second = all.leave(one, "a");
  CHECK_FALSE(all.expire(one, "a", first)); // and has his own time
  CHECK(all.expire(one, "a", second));
  CHECK_FALSE(all.expire(one, "a", second));
  CHECK(all.come(one, {}) == strings{"b"});
  all.ended(one, "b");
  CHECK(all.leave(one, "b") == 0);
  CHECK(all.come(one, {}).empty());
  CHECK(all.expire(other, "c", all.leave(other, "c")));
}
