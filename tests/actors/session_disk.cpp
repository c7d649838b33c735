#include "house.hpp"

// A session when the disk is full, and when it has room again.

using namespace parlor;
using namespace std::chrono_literals;
using parlor::test::house;
using strings = std::vector<std::string>;

TEST_CASE("a full disk refuses new turns and nothing is left of them; with room again they go on") {
  house h;
  h.open();
  auto& e = h.new_ear();
  h.disk.full = true;
  for (int i = 0; i < 20; ++i) { // more than there are places at the model
    auto r = h.submit("r" + std::to_string(i), &e);
    REQUIRE(h.code(r) == errc::store_full);
  }
  REQUIRE(e.log.empty());
  REQUIRE(h.tasks() == 0);
  REQUIRE(h.limit->in_flight() + h.limit->waiting() == 0);
  for (auto& c : h.model->calls)
    REQUIRE(c->closed);
  h.disk.full = false;
  h.chat("a", &e);
  REQUIRE(e.kinds() == strings{"accepted a", "started a", "delta a", "completed a"});
  REQUIRE(e.log[0].what->seq == 1);
}

TEST_CASE("the end of a turn is recorded again each 250 ms until there is room") {
  house h;
  h.open();
  auto& e = h.new_ear();
  h.submit("a", &e);
  h.say("a", "hi");
  h.time.advance(100ms);
  h.disk.full = true;
  h.finish("a");
  h.time.advance(1s);
  REQUIRE(h.disk.refused == std::vector<std::int64_t>{100, 350, 600, 850, 1100});
  REQUIRE(e.kinds().back() == "delta a");
  h.disk.full = false;
  h.time.advance(249ms);
  REQUIRE(e.kinds().back() == "delta a");
  h.time.advance(1ms);
  REQUIRE(e.kinds().back() == "completed a");
  REQUIRE(e.at("completed a") == 1350);
  REQUIRE(h.disk.all<store::usage_recorded>().size() == 1);
  REQUIRE(h.disk.data.tasks.at("a").text == "hi");
  h.chat("b", &e);
  for (std::size_t i = 0; i < e.log.size(); i++)
    REQUIRE(e.log[i].what->seq == i + 1);
}

TEST_CASE("a session with something to record does not leave memory") {
  house h;
  h.open();
  h.submit("a");
  h.disk.full = true;
  h.finish("a");
  h.time.advance(10min);
  REQUIRE(h.sessions() == 1);
  h.disk.full = false;
  h.time.advance(250ms + 60s);
  REQUIRE(h.sessions() == 0);
  REQUIRE(h.disk.data.tasks.at("a").ended_seq != 0);
}

TEST_CASE("a checkpoint that found no room is not lost") {
  house h;
  h.open();
  h.submit("a");
  h.say("a", "one ");
  h.disk.full = true;
  h.time.advance(3s);
  h.say("a", "two ");
  h.disk.full = false;
  h.time.advance(1s);
  REQUIRE(h.disk.data.tasks.at("a").text == "one two ");
  h.say("a", "three");
  h.finish("a");
  REQUIRE(h.disk.data.tasks.at("a").text == "one two three");
  auto& e = h.new_ear();
  h.time.advance(60s); // told again from the disk: as it was told
  auto all = h.watch(e, 0)->answer;
  std::string text;
  for (std::size_t i = 0; i < all->events.size(); ++i) {
    REQUIRE(all->events[i]->seq == i + 1);
    text += all->events[i]->text;
  }
  REQUIRE(text == "one two three");
}

TEST_CASE("what was shown when the server stops in order is on the disk when it has") {
  house h;
  h.open();
  h.submit("a");
  h.say("a", "half a second old");
  REQUIRE(h.disk.data.tasks.at("a").text.empty());
  h.restart(true);
  REQUIRE(h.disk.data.tasks.at("a").text == "half a second old");
}

TEST_CASE("a deletion that found no room is refused; what ran ends as cancelled, what waits runs") {
  house h;
  h.open();
  auto& e = h.new_ear();
  h.submit("a", &e);
  h.submit("b");
  h.disk.full = true;
  REQUIRE(h.code(h.remove()) == errc::store_full);
  REQUIRE(e.find("session_deleted") == nullptr);
  h.disk.full = false;
  h.time.advance(250ms);
  REQUIRE(e.find("cancelled a") != nullptr);
  REQUIRE(e.find("started b") != nullptr);
  h.finish("b");
  REQUIRE(e.kinds().back() == "completed b");
  REQUIRE(h.yes(h.remove()));
  REQUIRE(e.kinds().back() == "session_deleted");
}

TEST_CASE("what waits for room when the session is deleted is given up with it") {
  house h;
  h.open();
  auto& e = h.new_ear();
  h.submit("a", &e);
  h.disk.full = true;
  auto c = h.cancel("a");
  h.time.advance(100ms);
  REQUIRE(c->times == 0);
  h.disk.full = false;
  REQUIRE(h.yes(h.remove()));
  REQUIRE(c->times == 1);
  auto facts = h.disk.facts.size();
  h.time.advance(1s);
  REQUIRE(h.disk.facts.size() == facts); // nothing is recorded again of what is gone
  REQUIRE(h.sessions() == 0);
}

TEST_CASE("what a deleted session had still to record is not taken for its successor's") {
  house h;
  h.open();
  h.submit("a");
  h.disk.full = true;
  auto cancelled = h.cancel("a"); // its end is to be recorded again
  h.disk.full = false;
  REQUIRE(h.yes(h.remove()));
  h.hold_keeper = true;
  auto b = h.submit("b"); // the same actor: it has not left yet
  h.time.advance(250ms);
  REQUIRE(h.sessions() == 1);
  auto c = h.submit("c");
  auto d = h.submit("d");
  for (auto n = h.held_writes(); n > 0; --n) {
    h.release_writes(1);
    for (auto& [name, r] : {std::pair{"b", b}, std::pair{"c", c}, std::pair{"d", d}})
      REQUIRE(static_cast<std::size_t>(r->times) == h.disk.data.tasks.count(name));
  }
  REQUIRE(d->times == 1);
}

TEST_CASE("a broken disk: nothing is acknowledged and nothing is told") {
  house h;
  h.open();
  auto& e = h.new_ear();
  h.submit("a", &e);
  h.disk.broken = true;
  h.finish("a");
  auto b = h.submit("b", &e);
  h.time.advance(60s);
  REQUIRE(b->times == 0);
  REQUIRE(e.kinds() == strings{"accepted a", "started a"});
  REQUIRE(h.disk.refused.size() == 2); // and it is not tried again
}
