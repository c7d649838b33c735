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
  REQUIRE(h.code(w) == errc::session_not_found); // without waiting for the archive
  SECTION("and nothing came after it") {}
  SECTION("and its actor has gone") { h.time.advance(1s); }
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

TEST_CASE("what a dead session's watcher takes back is not taken from the session's successor") {
  house h;
  h.open();
  h.submit("a");
  auto& e = h.new_ear();
  auto w = h.watch(e);
  auto first = w->answer->life;
  REQUIRE(first != 0);
  SECTION("it crashed") { h.crash(); }
  SECTION("it was deleted, and begun again") {
    REQUIRE(h.yes(h.remove()));
    REQUIRE(h.yes(h.submit("b")));
  }
  SECTION("it left memory") {
    h.finish("a");
    h.unwatch(e);
    h.time.advance(61s);
    REQUIRE(h.sessions() == 0);
  }
  h.time.settle();
  auto again = h.watch(e); // the same edge, for another watcher
  REQUIRE(h.yes(again));
  REQUIRE(again->answer->life != first);
  REQUIRE(h.yes(h.unwatch(e, first))); // it was on its way
  e.log.clear();
  h.submit("c");
  for (auto* task : {"a", "b", "c"})
    if (h.call(task) != nullptr && !h.call(task)->over)
      h.finish(task);
  REQUIRE(e.find("completed c") != nullptr);
  h.time.advance(120s);
  REQUIRE(h.sessions() == 1); // for it is listened to
  h.unwatch(e);
  h.time.advance(61s);
  REQUIRE(h.sessions() == 0);
}

TEST_CASE(
    "a page ends where it is full, wherever the events come from, and says that there is more") {
  house h;
  h.world->page = 600; // a few events
  auto kept = GENERATE(std::size_t{4}, std::size_t{10'000});
  h.world->limits.recent_events = kept;
  h.open();
  h.chat("a");
  h.submit("b");
  h.submit("c"); // asked while b runs
  for (int i = 0; i < 30; ++i)
    h.say("b", std::string(100, 'b'));
  h.finish("b");
  h.say("c", "hi");
  h.finish("c");
  h.chat("d");
  auto last = h.look()->answer->the_session->last_seq;
  auto& e = h.new_ear();
  for (std::uint64_t after = 0; after < last; after += 7) {
    auto done = after;
    for (auto more = true; more;) {
      auto w = h.watch(e, done);
      REQUIRE(h.yes(w));
      REQUIRE_FALSE(w->answer->events.empty());
      std::size_t size = 0;
      for (auto& x : w->answer->events) {
        REQUIRE(x->seq == ++done);
        size += size_in_page(*x);
      }
      REQUIRE((size <= 600 + 300 || w->answer->events.size() == 1)); // the end has all of the text
      REQUIRE(w->answer->last_seq == done);
      more = w->answer->more;
      REQUIRE(more == (done < last));
      h.unwatch(e);
    }
    REQUIRE(done == last);
  }
  // One task's only.
  std::vector<std::uint64_t> mine;
  for (std::uint64_t done = 0;;) {
    auto w = h.watch(e, done, "c");
    REQUIRE(h.yes(w));
    for (auto& x : w->answer->events) {
      REQUIRE(x->task->id == "c");
      REQUIRE(x->seq > done);
      mine.push_back(x->seq);
    }
    done = w->answer->last_seq;
    if (!w->answer->more)
      break;
  }
  auto all = h.disk.data.events(h.room);
  auto of_c = std::count_if(all.begin(), all.end(), [](auto& x) { return x->task->id == "c"; });
  REQUIRE(mine.size() == static_cast<std::size_t>(of_c));
  REQUIRE(std::is_sorted(mine.begin(), mine.end()));
}
