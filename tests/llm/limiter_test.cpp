#include "llm/limiter.hpp"

#include "support/catch.hpp"

#include <vector>

using namespace parlor::llm;

TEST_CASE("a limiter grants in order of asking and refuses beyond its bounds") {
  auto l = make_limiter(1, 2);
  auto a = l->admit();
  auto b = l->admit();
  auto c = l->admit();
  REQUIRE((a && b && c));
  CHECK_FALSE(l->admit());
  {
    auto before = l->admit(true); // of a process that is no more
    REQUIRE(before);
    CHECK(l->waiting() == 4);
  }
  std::vector<int> order;
  a->acquire([&] { order.push_back(1); });
  b->acquire([&] { order.push_back(2); });
  c->acquire([&] { order.push_back(3); });
  CHECK(order == std::vector{1});
  CHECK(l->in_flight() == 1);
  CHECK(l->waiting() == 2);

  SECTION("release keeps the place but not the turn") {
    a->release();
    CHECK(order == std::vector{1, 2});
    a->acquire([&] { order.push_back(4); });
    b.reset();
    CHECK(order == std::vector{1, 2, 3});
    c.reset();
    CHECK(order == std::vector{1, 2, 3, 4});
    CHECK(l->in_flight() == 1);
    CHECK(l->waiting() == 0);
  }
  SECTION("one that leaves while it waits is passed over") {
    b.reset();
    CHECK(l->waiting() == 1);
    a.reset();
    CHECK(order == std::vector{1, 3});
    CHECK(l->admit());
  }
  SECTION("tickets outlive the limiter") {
    l.reset();
    a.reset();
    CHECK(order == std::vector{1, 2});
  }
}
