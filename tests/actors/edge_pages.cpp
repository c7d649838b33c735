#include "front.hpp"
#include "protocol/dialects/generate_async.hpp"

// Who comes for a long past, or fell far behind, is told it page by page, at the pace at which it
// reads: never more than a page waits for it, nothing is missing, and nothing comes twice.

using namespace parlor;
using namespace std::chrono_literals;
using http::signal;
using parlor::test::front;
using parlor::test::peer_ptr;
using kind = visit::kind;

namespace {

struct slow_front : front {
  static constexpr std::size_t page = 100'000; // a few of the pieces below
  static constexpr std::size_t most = http::exchange::high_water + page + 2'000;
  static constexpr int pieces = 40;

  slow_front() {
    world->page = edging.page = page;
    world->limits.recent_events = 8;
  }
  void say_much(const std::string& task) {
    for (int i = 0; i < pieces; ++i)
      say(task, std::string(20'000, static_cast<char>('a' + i % 26)));
  }
  /// A task that has ended with a text of several pages, and out of memory.
  void long_task(const std::string& task) {
    submit(task);
    say_much(task);
    finish(task);
    chat("next" + task);
    chat("last" + task);
  }
  /// Looks at what it is given, and reads nothing.
  peer_ptr slowly(visit v) {
    auto p = std::make_shared<test::peer>();
    p->slow = true;
    peers.push_back(p);
    v.exchange = p;
    caf::anon_send(desk, visit_ptr{std::make_shared<const visit>(std::move(v))});
    time.settle();
    return p;
  }
  peer_ptr slow_task(const std::string& task, std::optional<cursor> after = {}) {
    auto v = asking_for(kind::task_stream, task);
    v.after = std::move(after);
    return slowly(std::move(v));
  }
  peer_ptr slow_session(std::uint64_t after) {
    auto v = asking_for(kind::session_stream);
    v.after = cursor{world->epoch, after};
    return slowly(std::move(v));
  }
  /// It reads until no more comes. How often it had to.
  int read_all(const peer_ptr& p) {
    int times = 0;
    while (drain(p))
      ++times;
    return times;
  }
  /// Every event from `first` to `last` that has a form in this dialect, once.
  void require_same(const peer_ptr& p, const peer_ptr& quick) const {
    REQUIRE(p->ids() == quick->ids());
    REQUIRE((p->text() == quick->text()));
  }
  void leave_all() {
    for (auto& p : peers)
      if (p->on_signal)
        signal(p, signal::gone);
    REQUIRE(watchers() == 0);
    time.advance(60s);
    REQUIRE(sessions() == 0); // everybody was counted once
  }
};

} // namespace

TEST_CASE("the past of an ended task comes page by page, and is the same for the slow") {
  slow_front f;
  f.begin();
  f.long_task("a");
  auto quick = f.task_stream("a");
  REQUIRE(quick->closed == 1);
  REQUIRE(quick->text().size() > 2 * 20'000 * slow_front::pieces); // its pieces, and the end
  f.disk.pages.clear();
  auto slow = f.slow_task("a");
  REQUIRE(slow->heads.size() == 1);
  REQUIRE(slow->unread <= slow_front::most);
  REQUIRE(f.disk.pages.size() == 1);
  REQUIRE(f.watchers() == 1);
  auto before_end = 0;
  while (slow->closed == 0) {
    if (!slow->told("\"type\":\"done\""))
      REQUIRE(slow->unread <= slow_front::most);
    REQUIRE(f.drain(slow));
    ++before_end;
  }
  REQUIRE(before_end >= 8);
  f.require_same(slow, quick);
  REQUIRE(f.watchers() == 0);
  // Long ends are shared by those who are at them.
  auto other = f.slow_task("a", cursor{f.world->epoch, quick->ids().end()[-2]});
  REQUIRE(other->closed == 1);
  REQUIRE(other->body.back().get() == slow->body.back().get());
  f.leave_all();
}

TEST_CASE("who says that it has drained while a page is read is not read another one") {
  slow_front f;
  f.begin();
  f.long_task("a");
  auto slow = f.slow_task("a");
  f.disk.pages.clear();
  f.hold_archive = true;
  REQUIRE(f.drain(slow));
  f.signal(slow, signal::drained);
  f.signal(slow, signal::drained);
  REQUIRE(f.held_reads() == 1);
  f.release_archive();
  f.read_all(slow);
  f.require_same(slow, f.task_stream("a"));
  f.leave_all();
}

TEST_CASE("a session's past comes page by page, and what happens meanwhile follows it") {
  slow_front f;
  SECTION("from memory") { f.world->limits.recent_events = 10'000; }
  SECTION("from the disk") {}
  f.begin();
  f.long_task("a");
  f.submit("b");
  f.say_much("b");
  auto quick = f.session_stream(0);
  auto slow = f.slow_session(0);
  REQUIRE(slow->unread <= slow_front::most);
  f.say("b", "meanwhile ");
  f.finish("b"); // what memory held goes
  f.chat("c");
  f.chat("d");
  REQUIRE(slow->unread <= slow_front::most);
  REQUIRE_FALSE(slow->told("meanwhile"));
  REQUIRE(f.read_all(slow) > 10);
  f.require_same(slow, quick);
  f.submit("e");
  f.say("e", "and live");
  REQUIRE(slow->body.back().get() == quick->body.back().get());
  f.finish("e");
  f.leave_all();
}

TEST_CASE("who fell far behind what happens catches up page by page, with the pieces merged") {
  slow_front f;
  f.begin();
  f.submit("a");
  auto slow = f.slow_session(0);
  auto quick = f.session_stream(0);
  f.say_much("a");
  f.say("a", "last");
  REQUIRE(slow->unread <= slow_front::most);
  f.finish("a");
  f.read_all(slow);
  REQUIRE(slow->ids().back() == quick->ids().back());
  REQUIRE(slow->ids().size() < quick->ids().size());
  auto ids = slow->ids();
  REQUIRE(std::is_sorted(ids.begin(), ids.end()));
  REQUIRE(std::adjacent_find(ids.begin(), ids.end()) == ids.end());
  for (char c = 'a'; c < 'a' + slow_front::pieces % 26; ++c) {
    auto letters = [c](const std::string& s) { return std::count(s.begin(), s.end(), c); };
    REQUIRE(std::abs(letters(slow->text()) - letters(quick->text())) < 400); // of frames
  }
  f.leave_all();
}

TEST_CASE("a session that leaves memory while its past is read slowly takes nothing away") {
  slow_front f;
  f.begin();
  f.long_task("a");
  auto slow = f.slow_task("a");
  f.time.advance(61s);
  REQUIRE(f.sessions() == 0);
  f.read_all(slow);
  REQUIRE(slow->closed == 1);
  f.require_same(slow, f.task_stream("a"));
  REQUIRE(f.sessions() == 0); // nobody had to load it
}

TEST_CASE("a session deleted while its past is read slowly ends the streams") {
  slow_front f;
  f.begin();
  f.long_task("a");
  SECTION("of a task: they are cut, for they are not whole") {
    auto slow = f.slow_task("a");
    REQUIRE(f.serve(f.asking_for(kind::remove))->status() == 200);
    f.read_all(slow);
    REQUIRE(slow->aborted == 1);
    REQUIRE(slow->closed == 0);
    REQUIRE(f.task_stream("a")->status() == 404);
  }
  SECTION("of a task, while somebody watches the session: they are told") {
    auto slow = f.slow_task("a");
    f.session_stream();
    REQUIRE(f.serve(f.asking_for(kind::remove))->status() == 200);
    REQUIRE(slow->told("session_deleted"));
    REQUIRE(slow->closed == 1);
  }
  SECTION("of the session: they are told") {
    auto slow = f.slow_session(0);
    auto before = slow->body.size();
    REQUIRE(f.serve(f.asking_for(kind::remove))->status() == 200);
    REQUIRE(slow->body.size() == before + 1);
    REQUIRE(slow->told("session_deleted"));
    REQUIRE(slow->closed == 1);
  }
  SECTION("and while a page is on its way") {
    auto slow = f.slow_session(0);
    f.hold_archive = true;
    f.drain(slow);
    auto gone = f.send(f.asking_for(kind::remove));
    f.time.settle();
    f.release_archive();
    REQUIRE(gone->status() == 200);
    REQUIRE(slow->told("session_deleted"));
    REQUIRE(slow->closed == 1);
  }
  f.leave_all();
}

TEST_CASE("a session that crashes while its past is read slowly is gone on with") {
  slow_front f;
  f.begin();
  f.long_task("a");
  f.submit("b");
  f.say_much("b");
  f.time.advance(1500ms); // a checkpoint
  auto slow = f.slow_session(0);
  auto half = f.slow_session(0);
  f.drain(half);
  f.hold_archive = true; // a page is on its way when it happens
  f.drain(half);
  f.crash();
  f.release_archive();
  f.time.settle();
  REQUIRE(f.lost.size() == 1);
  f.say("b", "anew");
  REQUIRE(slow->unread <= slow_front::most + slow_front::page);
  f.read_all(slow);
  f.read_all(half);
  f.finish("b");
  auto quick = f.session_stream(0);
  for (auto& p : {slow, half}) {
    REQUIRE(p->told("anew"));
    f.read_all(p);
    REQUIRE(p->ids() == quick->ids());
  }
  f.leave_all();
}

TEST_CASE("a cursor of another store is told the snapshot, and the end when that has been read") {
  slow_front f;
  f.begin();
  f.long_task("a");
  auto resets = stats_of_edges().resets.load();
  auto slow = f.slow_task("a", cursor{"another", 7});
  REQUIRE(stats_of_edges().resets == resets + 1);
  REQUIRE(slow->told("\"type\":\"reset\""));
  REQUIRE_FALSE(slow->told("\"type\":\"done\""));
  REQUIRE(f.drain(slow));
  REQUIRE(slow->told("\"type\":\"done\""));
  REQUIRE(slow->closed == 1);
  REQUIRE(slow->ids().size() == 2);
  REQUIRE(slow->text().find("\"chunk\"") == std::string::npos);
  f.leave_all();
}

TEST_CASE("who wants the end only of a long task is told nothing else") {
  slow_front f;
  f.begin();
  f.long_task("a");
  f.disk.pages.clear();
  auto v = f.asking_for(kind::task_stream, "a");
  v.shape = &generate_async::shape;
  auto p = f.serve(v);
  REQUIRE(p->ids().size() == 1);
  REQUIRE(p->closed == 1);
  REQUIRE(f.disk.pages.size() == 1);
  v.shape = &generate_async::shape_with_deltas;
  v.after = cursor{f.world->epoch, p->ids()[0] - 3};
  REQUIRE(f.serve(v)->ids().size() == 3);
  v.after = cursor{f.world->epoch, p->ids()[0]};
  REQUIRE(f.serve(v)->status() == 204);
  f.leave_all();
}

TEST_CASE("a repeated request for a turn of many pages is answered with its end") {
  slow_front f;
  f.begin();
  auto v = f.taking(kind::chat, "a");
  v.turn.once = {"key", "print"};
  auto first = f.serve(v);
  f.say_much("a");
  v.turn.task_id = "b";
  auto second = f.serve(v);
  REQUIRE(second->answers.empty());
  f.finish("a");
  v.turn.task_id = "c";
  auto third = f.serve(v);
  for (auto& p : {second, third}) {
    REQUIRE(p->status() == 200);
    REQUIRE((p->answers[0].body == first->answers[0].body));
  }
  f.leave_all();
}

TEST_CASE("a task that ends while its past is read slowly is told to its end") {
  slow_front f;
  f.begin();
  f.submit("a");
  f.say_much("a");
  auto slow = f.slow_task("a");
  auto quick = f.task_stream("a");
  REQUIRE_FALSE(slow->told("\"type\":\"done\""));
  f.finish("a");
  f.chat("b"); // it leaves memory
  f.chat("c");
  f.read_all(slow);
  REQUIRE(slow->closed == 1);
  f.require_same(slow, quick);
  f.leave_all();
}
