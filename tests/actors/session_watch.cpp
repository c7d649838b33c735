#include "house.hpp"

// What a watcher is told of what it has missed, from memory and from the disk.

using namespace parlor;
using namespace std::chrono_literals;
using parlor::test::ear;
using parlor::test::house;
using parlor::test::reply_ptr;

namespace {

/// The answer and what came after it are all events from `first` on, each once.
void require_gapless(const reply_ptr& answer, const ear& e, std::uint64_t first) {
  auto next = first;
  for (auto& x : answer->answer->events)
    REQUIRE(x->seq == next++);
  REQUIRE(answer->answer->last_seq + 1 == next);
  for (auto& x : e.log)
    if (x.what->seq > answer->answer->last_seq)
      REQUIRE(x.what->seq == next++);
}

} // namespace

TEST_CASE("a watcher with a cursor is told what it has missed, from memory") {
  house h;
  h.open();
  h.submit("a");
  h.say("a", "one ");
  h.say("a", "two");
  auto& e = h.new_ear();
  auto reads = h.disk.reads;
  for (std::uint64_t after = 0; after <= 5; ++after) {
    e.log.clear();
    auto w = h.watch(e, after);
    REQUIRE(h.yes(w));
    require_gapless(w, e, after + 1);
    h.unwatch(e);
  }
  REQUIRE(h.disk.reads == reads);
  REQUIRE(h.watch(e)->answer->events.empty()); // without a cursor: what comes
  h.finish("a");
  REQUIRE(e.log.size() == 1);
}

TEST_CASE("a cursor of another store, or one of the future, is answered with a snapshot") {
  house h;
  h.open();
  h.submit("a");
  h.say("a", "hi");
  auto& e = h.new_ear();
  auto stranger = h.watching(e);
  stranger.after = cursor{"other", 1};
  stranger.task = "a";
  auto r = h.ask(stranger);
  REQUIRE(r->answer->reset);
  REQUIRE_FALSE(r->answer->ended);
  REQUIRE(r->answer->the_task->text == "hi");
  REQUIRE(r->answer->the_session->active_task == "a");
  REQUIRE(r->answer->last_seq == 4);
  auto future = h.watch(e, 5);
  REQUIRE(future->answer->reset);
  h.finish("a");
  REQUIRE(e.log.size() == 1);
  REQUIRE(e.log[0].what->seq == 5); // listening all the same
}

TEST_CASE("who watches one task gets nothing of another") {
  house h;
  h.open();
  h.chat("a");
  h.chat("b");
  h.submit("c");
  auto& e = h.new_ear();
  auto w = h.watch(e, {}, "c");
  REQUIRE(w->answer->events.size() == 2);
  for (auto& x : w->answer->events)
    REQUIRE(x->task->id == "c");
  REQUIRE_FALSE(w->answer->ended);
  h.finish("c");
  auto ended = h.watch(e, 0, "c");
  REQUIRE(ended->answer->ended);
  REQUIRE(ended->answer->events.size() == 3);
}

TEST_CASE("what is no longer in memory comes from the disk, and nothing is missing in between") {
  house h;
  h.world->limits.recent_events = 4;
  h.open();
  h.chat("a");
  h.chat("b");
  h.submit("c");
  h.say("c", "one");
  auto& e = h.new_ear();
  for (std::uint64_t after = 0; after <= 13; ++after) {
    e.log.clear();
    auto w = h.watch(e, after);
    require_gapless(w, e, after + 1);
    h.unwatch(e);
  }
  REQUIRE(h.disk.reads > 1);
}

TEST_CASE(
    "what happens while the disk is read, and leaves memory before it answers, is told, too") {
  house h;
  h.world->limits.recent_events = 4;
  h.open();
  h.chat("a");
  auto& e = h.new_ear();
  h.hold_archive = true;
  auto w = h.watch(e, 0);
  REQUIRE(h.held_reads() == 1);
  h.submit("b");
  for (int i = 0; i < 20; ++i)
    h.say("b", "x");
  h.finish("b");
  REQUIRE(w->times == 0);
  h.release_archive();
  REQUIRE(h.yes(w));
  require_gapless(w, e, 1);
  REQUIRE(w->answer->last_seq == e.log.back().what->seq);
}

TEST_CASE(
    "a session deleted while the disk is read for a watcher is not found; nor its successor") {
  house h;
  h.world->limits.recent_events = 4;
  h.open();
  h.chat("a");
  auto& e = h.new_ear();
  auto& f = h.new_ear();
  h.hold_archive = true;
  auto w = h.watch(e, 0);
  REQUIRE(h.yes(h.remove()));
  SECTION("and nothing came after it") {}
  SECTION("and another of the same name has begun") {
    auto b = h.submit("b");
    h.release_archive();
    REQUIRE(h.yes(b));
  }
  h.release_archive();
  REQUIRE(h.code(w) == errc::session_not_found);
  h.watch(f);
  h.time.advance(61s);
}

TEST_CASE("a disk that cannot be read refuses the watcher and does not count it") {
  house h;
  h.world->limits.recent_events = 4;
  h.open();
  h.chat("a");
  h.disk.unreadable = true;
  auto& e = h.new_ear();
  REQUIRE(h.code(h.watch(e, 0)) == errc::store_failed);
  h.disk.unreadable = false;
  h.time.advance(60s); // nobody listens: it leaves
  REQUIRE(h.sessions() == 0);
}
