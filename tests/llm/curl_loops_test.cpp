#include "llm/curl_loops.hpp"

#include "support/catch.hpp"

#include <sys/resource.h>

using namespace parlor::llm;
using namespace std::chrono_literals;

TEST_CASE("calls share a loop until it is full") {
  boost::asio::io_context io;
  curl_loops loops{io, 256, {}, 2};
  auto a = loops.take(), b = loops.take(), c = loops.take();
  CHECK(a.loop == b.loop);
  CHECK(c.loop != a.loop);
  a.seat.reset(); // the first that has room again
  CHECK(loops.take().loop == b.loop);
}

TEST_CASE("loops that a crowd has left go after a while, the first never") {
  boost::asio::io_context io;
  curl_loops loops{io, 256, {}, 1};
  auto now = curl_loops::clock::now();
  auto a = loops.take(now), b = loops.take(now), c = loops.take(now);
  std::weak_ptr<curl_loop> first = a.loop, second = b.loop, third = c.loop;
  a = c = {};
  b.loop.reset(); // its call is still under way
  auto again = loops.take(now + curl_loops::idle);
  CHECK_FALSE(third.expired()); // for the next crowd
  again = {};
  again = loops.take(now + curl_loops::idle + 1ms);
  CHECK(third.expired());
  CHECK_FALSE(second.expired());
  b = {};
  again = {};
  again = loops.take(now + curl_loops::idle + 1ms);
  CHECK(second.expired());
  CHECK(again.loop == first.lock());
}

TEST_CASE("without descriptors for another loop the last one gets more") {
  boost::asio::io_context io;
  curl_loops loops{io, 256, {}, 1};
  auto a = loops.take();
  rlimit was{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &was) == 0);
  rlimit none{0, was.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  auto b = loops.take();
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &was) == 0);
  CHECK(b.loop == a.loop);
  CHECK(loops.take().loop != a.loop);
}
