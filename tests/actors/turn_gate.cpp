#include "actors/turn_gate.hpp"

#include "support/catch.hpp"

#include <atomic>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

using namespace parlor;
using namespace std::chrono_literals;

namespace {

/// A machine behind a gate, in steps of a millisecond: turns are accepted in the order in which
/// they came in, so many a millisecond.
struct machine {
  explicit machine(std::chrono::milliseconds longest)
      : gate{std::make_shared<turn_gate>(longest)} {}

  struct turn {
    turn_gate::ticket_ptr ticket;
    turn_gate::clock::time_point since;
  };

  void come(int n) {
    for (int i = 0; i < n; ++i) {
      if (auto t = gate->enter(now))
        inside.push_back({std::move(t), now});
      else
        ++refused;
    }
  }
  void step(int can_accept) {
    now += 1ms;
    for (int i = 0; i < can_accept && !inside.empty(); ++i) {
      longest_wait = std::max<turn_gate::clock::duration>(longest_wait, now - inside.front().since);
      inside.front().ticket->accepted(now);
      inside.pop_front();
      ++accepted;
    }
    fewest = std::min(fewest, inside.size());
  }
  void forget() { // what was seen
    accepted = refused = 0;
    fewest = inside.size();
    longest_wait = {};
  }

  std::shared_ptr<turn_gate> gate;
  turn_gate::clock::time_point now{1h};
  std::deque<turn> inside;
  int accepted = 0, refused = 0;
  std::size_t fewest = 0;
  turn_gate::clock::duration longest_wait{};
};

} // namespace

TEST_CASE("at twice the peak the gate lets in what is accepted in time, and work never runs out") {
  machine m{100ms};
  for (int ms = 0; ms < 1000; ++ms) {
    m.come(8);
    m.step(4);
  }
  m.forget();
  for (int ms = 0; ms < 2000; ++ms) {
    m.come(8);
    m.step(4);
  }
  CHECK(m.accepted == 8000);
  CHECK(m.fewest > 350);
  CHECK(m.longest_wait <= 105ms);
  CHECK(m.refused > 7000);
  // The machine becomes slower, as when another takes half of it: so does what is let in.
  for (int ms = 0; ms < 1000; ++ms) {
    m.come(8);
    m.step(2);
  }
  m.forget();
  for (int ms = 0; ms < 1000; ++ms) {
    m.come(8);
    m.step(2);
  }
  CHECK(m.accepted == 2000);
  CHECK(m.longest_wait <= 105ms);
  // Fewer come than it can do: nobody is refused.
  for (int ms = 0; ms < 200; ++ms)
    m.step(2);
  m.forget();
  for (int ms = 0; ms < 1000; ++ms) {
    m.come(2);
    m.step(2);
  }
  CHECK((m.refused == 0 && m.accepted == 2000));
}

TEST_CASE("a crowd that can be accepted in time is let in, at once") {
  machine m{100ms};
  m.come(1000);
  CHECK(m.refused == 0);
  for (int ms = 0; ms < 90; ++ms)
    m.step(10);
  m.come(1000); // what is known of them yet is that they are quick
  CHECK(m.refused == 0);
  for (int ms = 0; ms < 20; ++ms)
    m.step(10);
  CHECK(m.inside.size() == 900);
  m.come(200); // 10 a millisecond: about 1000 are accepted in time
  CHECK(m.refused > 90);
  CHECK(m.refused < 120);
}

TEST_CASE("while the disk stalls those who wait are few, and then the gate opens by itself") {
  machine m{100ms};
  m.come(50);
  for (int ms = 0; ms < 150; ++ms)
    m.step(0);
  m.come(100);
  CHECK(m.inside.size() == static_cast<std::size_t>(turn_gate::few));
  CHECK(m.refused == 150 - turn_gate::few);
  for (int ms = 0; ms < 300; ++ms)
    m.step(0);
  m.come(10);
  CHECK(m.inside.size() == static_cast<std::size_t>(turn_gate::few));
  m.step(64);
  m.forget();
  m.come(1000);
  CHECK(m.refused == 0);
}

TEST_CASE("a turn that is refused inside or lost has left, and does not count as work done") {
  machine m{100ms};
  m.come(100);
  m.inside.clear();
  for (int ms = 0; ms < 200; ++ms) { // 50 wait, and many come and are refused at once
    m.come(ms == 0 ? 50 : 10);
    m.inside.resize(50);
    m.step(0);
  }
  m.forget();
  m.come(100);
  CHECK(m.inside.size() == static_cast<std::size_t>(turn_gate::few));
  auto copy = m.inside.front().ticket;
  copy->accepted(m.now);
  copy->accepted(m.now); // once is enough
  copy.reset();
  m.inside.clear();
  m.come(64);
  CHECK(m.inside.size() == 64);
}

TEST_CASE("a gate without a limit is never shut") {
  machine m{0ms};
  for (int ms = 0; ms < 500; ++ms) {
    m.come(10);
    m.step(0);
  }
  CHECK(m.refused == 0);
  m.inside.clear();
  auto last = std::weak_ptr{m.gate};
  auto ticket = m.gate->enter(m.now);
  m.gate.reset(); // at the end of the server some turns are still on their way
  CHECK_FALSE(last.expired());
  ticket.reset();
  CHECK(last.expired());
}

namespace {

/// Turns that have come in, and which of them are under way.
struct begun {
  explicit begun(int n) {
    for (int i = 0; i < n; ++i) {
      tickets.push_back(gate->enter(now));
      gate->begin(tickets.back(), [this, i] { order.push_back(i); });
    }
  }
  std::shared_ptr<turn_gate> gate = std::make_shared<turn_gate>(0ms);
  turn_gate::clock::time_point now{1h};
  std::vector<int> order; // which the last tickets add to as they go
  std::vector<turn_gate::ticket_ptr> tickets;
};

constexpr int abreast = turn_gate::abreast;

} // namespace

TEST_CASE("so many turns are under way at once; the others begin in their order as there is room") {
  begun b{abreast + 5};
  CHECK(b.order.size() == abreast);
  b.tickets[7]->accepted(b.now);
  CHECK(b.order.back() == abreast);
  b.tickets[8].reset(); // refused by its session, or lost
  CHECK(b.order.back() == abreast + 1);
  b.tickets[9]->give_way(); // nobody waits for it any longer
  CHECK(b.order.back() == abreast + 2);
  CHECK(b.order.size() == abreast + 3);
  b.tickets[9]->accepted(b.now); // made room once
  b.tickets[7].reset();
  CHECK(b.order.size() == abreast + 3);
}

TEST_CASE("a turn that has given way is inside until it is accepted") {
  auto gate = std::make_shared<turn_gate>(1ms);
  turn_gate::clock::time_point now{1h};
  std::vector<turn_gate::ticket_ptr> all;
  for (auto i = turn_gate::few; i > 0; --i) {
    all.push_back(gate->enter(now));
    gate->begin(all.back(), [] {});
    all.back()->give_way();
  }
  CHECK(gate->enter(now + 1h) == nullptr); // none has been accepted in an hour
  all.pop_back();
  CHECK(gate->enter(now + 1h) != nullptr);
}

TEST_CASE(
    "a hundred thousand turns that nobody takes end one after the other, not one within another") {
  auto gate = std::make_shared<turn_gate>(0ms);
  turn_gate::clock::time_point now{1h};
  int ended = 0;
  {
    std::vector<turn_gate::ticket_ptr> under_way;
    for (int i = 0; i < abreast; ++i) {
      under_way.push_back(gate->enter(now));
      gate->begin(under_way.back(), [] {});
    }
    for (int i = 0; i < 100'000; ++i)
      gate->begin(gate->enter(now), [&] { ++ended; }); // its ticket is held by nobody else
    CHECK(ended == 0);
  }
  CHECK(ended == 100'000);
}

TEST_CASE("turns that come and go on many threads all begin, and never too many at once") {
  constexpr int each = 10'000;
  auto gate = std::make_shared<turn_gate>(0ms);
  std::mutex mutex;
  std::vector<turn_gate::ticket_ptr> under_way;
  std::size_t most = 0;
  std::atomic<int> ended{0};
  auto come = [&] {
    for (int i = 0; i < each; ++i) {
      auto ticket = gate->enter(turn_gate::clock::now());
      gate->begin(ticket, [&, ticket] {
        std::lock_guard lock{mutex};
        under_way.push_back(ticket);
        most = std::max(most, under_way.size());
      });
    }
  };
  auto end = [&](int how) {
    while (ended < 2 * each) {
      turn_gate::ticket_ptr one;
      {
        std::lock_guard lock{mutex};
        if (!under_way.empty()) {
          one = std::move(under_way.back());
          under_way.pop_back();
        }
      }
      if (!one) {
        std::this_thread::yield();
        continue;
      }
      if (++how % 3 == 0)
        one->accepted(turn_gate::clock::now());
      else if (how % 3 == 1)
        one->give_way();
      one.reset(); // or lost
      ++ended;
    }
  };
  std::vector<std::thread> all;
  for (int i = 0; i < 2; ++i) {
    all.emplace_back(come);
    all.emplace_back(end, i);
  }
  for (auto& t : all)
    t.join();
  CHECK(most <= turn_gate::abreast);
  CHECK(ended == 2 * each);
}
