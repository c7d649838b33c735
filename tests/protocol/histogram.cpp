#include "protocol/histogram.hpp"
#include "support/catch.hpp"

#include <thread>
#include <vector>

using namespace parlor;

TEST_CASE("a value is counted in the first bucket whose bound it does not exceed") {
  static constexpr double ends[] = {1, 2, 4};
  histogram h{ends};
  h.observe(0);
  h.observe(1); // bounds are inclusive, as Prometheus says
  h.observe(1.5);
  h.observe(4);
  h.observe(4.5, 3);
  CHECK(h.count(0) == 2);
  CHECK(h.count(1) == 1);
  CHECK(h.count(2) == 1);
  CHECK(h.count(3) == 3);
  CHECK(h.sum() == 0 + 1 + 1.5 + 4 + 13.5);
}

TEST_CASE("every table of bounds ascends and fits") {
  auto check = [](std::span<const double> b) {
    CHECK(b.size() <= histogram::max_bounds);
    for (std::size_t i = 1; i < b.size(); ++i)
      CHECK(b[i - 1] < b[i]);
  };
  check(bounds::request_seconds);
  check(bounds::call_seconds);
  check(bounds::call_tokens);
  check(bounds::first_seconds);
  check(bounds::turn_seconds);
  check(bounds::commit_seconds);
  check(bounds::batch);
}

TEST_CASE("nothing is lost when many threads count") {
  histogram h{bounds::batch};
  std::vector<std::thread> all;
  for (int t = 0; t < 4; ++t)
    all.emplace_back([&h] {
      for (int i = 0; i < 10'000; ++i)
        h.observe(2);
    });
  for (auto& t : all)
    t.join();
  CHECK(h.count(1) == 40'000);
  CHECK(h.sum() == 80'000);
}
