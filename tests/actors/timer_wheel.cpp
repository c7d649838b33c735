#include "actors/timer_wheel.hpp"
#include "support/catch.hpp"

#include <map>
#include <memory>
#include <random>
#include <set>
#include <vector>

using parlor::timer_wheel;

namespace {
struct timer : timer_wheel::link {
  int id = 0;
};
std::vector<int> fired_until(timer_wheel& w, timer_wheel::tick t) {
  std::vector<int> out;
  w.advance(t, [&](timer_wheel::link& l) { out.push_back(static_cast<timer&>(l).id); });
  return out;
}
} // namespace

TEST_CASE("a timer fires at its tick and not before, at every distance") {
  for (timer_wheel::tick from : {0ULL, 255ULL, 256ULL, 65'535ULL, 16'777'215ULL, 4'294'967'290ULL})
    for (timer_wheel::tick distance :
         {1ULL, 255ULL, 256ULL, 257ULL, 65'535ULL, 65'536ULL, 65'537ULL, 16'777'216ULL,
          4'294'967'295ULL, 4'294'967'296ULL, 10'000'000'000ULL}) {
      timer_wheel w{from};
      timer t;
      t.id = 7;
      w.add(t, from + distance);
      CHECK(w.next().value() <= from + distance);
      CHECK(fired_until(w, from + distance - 1).empty());
      CHECK(t.linked());
      CHECK(fired_until(w, from + distance) == std::vector{7});
      CHECK_FALSE(w.next().has_value());
    }
}

TEST_CASE("what is already due fires at the next tick") {
  timer_wheel w{1000};
  timer t;
  w.add(t, 3);
  CHECK(w.next() == timer_wheel::tick{1001});
  CHECK(fired_until(w, 1001).size() == 1);
}

TEST_CASE("a timer that far away costs a handful of wake-ups") {
  timer_wheel w;
  timer t;
  w.add(t, 180'000); // half an hour in ticks of ten milliseconds
  int wakeups = 0;
  bool done = false;
  while (!done) {
    ++wakeups;
    w.advance(w.next().value(), [&](timer_wheel::link&) { done = true; });
  }
  CHECK(w.now() == 180'000);
  CHECK(wakeups <= 3);
}

TEST_CASE("random timers behave like an ordered map") {
  std::mt19937_64 random{42};
  for (int round = 0; round < 20; ++round) {
    timer_wheel w{random() % 100'000};
    std::map<int, std::unique_ptr<timer>> timers;
    std::map<timer_wheel::tick, std::set<int>> model;
    int next_id = 0;
    for (int step = 0; step < 3000; ++step) {
      auto what = random() % 10;
      if (what < 5) {
        auto t = std::make_unique<timer>();
        t->id = next_id++;
        auto due = w.now() + 1 + (random() >> (random() % 34 + 30)) % 40'000'000;
        w.add(*t, due);
        model[due].insert(t->id);
        timers.emplace(t->id, std::move(t));
      } else if (what < 7 && !timers.empty()) {
        auto i = timers.begin();
        std::advance(i, static_cast<long>(random() % timers.size()));
        auto due = i->second->due;
        timer_wheel::remove(*i->second);
        model[due].erase(i->first);
        if (model[due].empty())
          model.erase(due);
        timers.erase(i);
      } else {
        auto to = w.now() + (random() >> (random() % 34 + 30)) % 300'000;
        timer_wheel::tick last = 0;
        w.advance(to, [&](timer_wheel::link& l) {
          auto& t = static_cast<timer&>(l);
          REQUIRE(t.due == w.now());
          REQUIRE(t.due >= last);
          last = t.due;
          REQUIRE(model[t.due].erase(t.id) == 1);
          if (model[t.due].empty())
            model.erase(t.due);
          timers.erase(t.id);
        });
        REQUIRE(w.now() == to);
        REQUIRE((model.empty() || model.begin()->first > to));
        if (!model.empty())
          REQUIRE(w.next().value() <= model.begin()->first);
      }
    }
    std::size_t left = 0;
    w.clear([&](timer_wheel::link&) { ++left; });
    CHECK(left == timers.size());
  }
}

TEST_CASE("a timer may add and remove others while it fires") {
  timer_wheel w;
  timer first, same_tick, later;
  first.id = 1;
  same_tick.id = 2;
  later.id = 3;
  w.add(first, 10);
  w.add(same_tick, 10);
  std::vector<int> seen;
  w.advance(100, [&](timer_wheel::link& l) {
    auto& t = static_cast<timer&>(l);
    seen.push_back(t.id);
    if (t.id == 1) {
      timer_wheel::remove(same_tick);
      w.add(later, 5); // past: the next tick
    }
  });
  CHECK(seen == std::vector{1, 3});
}
