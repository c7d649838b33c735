#include "front.hpp"
#include "protocol/dialects/generate_async.hpp"

using namespace parlor;
using namespace std::chrono_literals;
using http::signal;
using parlor::test::front;
using parlor::test::peer_ptr;
using kind = visit::kind;

// -- turns ---

TEST_CASE("a stream begins, and a task is named, when the turn is durable") {
  front f;
  f.begin();
  f.hold_keeper = true;
  auto streamed = f.chat_stream("a");
  auto generated = f.serve(f.taking(kind::generate, "b"));
  auto whole = f.serve(f.taking(kind::chat, "c"));
  f.say("a", "hi");
  f.time.advance(5s);
  for (auto& p : f.peers)
    REQUIRE((p->answers.empty() && p->heads.empty() && p->body.empty()));

  f.release_keeper();
  REQUIRE(streamed->heads.size() == 1);
  REQUIRE(streamed->heads[0].status == 200);
  REQUIRE(streamed->told("\"type\":\"start\""));
  REQUIRE(streamed->told("hi"));
  REQUIRE(generated->status() == 200);
  REQUIRE(generated->answers[0].body.find("\"b\"") != std::string::npos);
  REQUIRE(whole->answers.empty()); // that comes with the end

  f.finish("a");
  REQUIRE(streamed->told("\"type\":\"done\""));
  REQUIRE(streamed->closed == 1);
  f.finish("b");
  f.say("c", "text of c");
  f.hold_keeper = true;
  f.finish("c");
  REQUIRE(whole->answers.empty());
  f.release_keeper();
  REQUIRE(whole->status() == 200);
  REQUIRE(whole->answers[0].body.find("text of c") != std::string::npos);
  REQUIRE(f.watchers() == 0);
  f.time.advance(60s);
  REQUIRE(f.sessions() == 0);
}

TEST_CASE("a refused turn is an answer with a status, and leaves nothing behind") {
  front f;
  f.begin();
  f.disk.full = true;
  REQUIRE(f.chat_stream("a")->status() == 507);
  REQUIRE(f.serve(f.taking(kind::chat, "b"))->status() == 507);
  REQUIRE(f.serve(f.taking(kind::generate, "c"))->status() == 507);
  f.disk.full = false;
  f.draining = true;
  REQUIRE(f.chat_stream("d")->status() == 503);
  f.draining = false;
  f.submit("e");
  auto v = f.taking(kind::chat_stream, "f");
  v.turn.when_busy = on_busy::reject;
  REQUIRE(f.serve(v)->status() == 409);
  REQUIRE(f.watchers() == 0);
  f.finish("e");
  f.time.advance(60s);
  REQUIRE(f.sessions() == 0);
}

TEST_CASE("a peer that has gone before the turn is durable gets nothing; the turn goes on") {
  front f;
  f.begin();
  f.hold_keeper = true;
  auto p = f.chat_stream("a");
  f.signal(p, signal::gone);
  f.release_keeper();
  REQUIRE(p->heads.empty());
  REQUIRE(p->answers.empty());
  REQUIRE(f.watchers() == 0);
  f.say("a", "hi");
  f.finish("a");
  REQUIRE(f.disk.data.tasks.at("a").view.status == task_status::completed);
  f.time.advance(60s); // nobody is counted who does not listen
  REQUIRE(f.sessions() == 0);
}

// -- watchers ---

TEST_CASE("an event is encoded once for all who watch in the same dialect and language") {
  front f;
  f.begin();
  f.submit("a");
  auto one = f.session_stream();
  auto two = f.session_stream();
  auto three = f.task_stream("a");
  auto chinese = f.session_stream({}, language::zh);
  auto v = f.asking_for(kind::task_stream, "a");
  v.shape = &generate_async::shape_with_deltas;
  auto other = f.serve(v);
  f.say("a", "some text");
  REQUIRE(one->told("some text"));
  REQUIRE(one->body.back().get() == two->body.back().get());
  REQUIRE(one->body.back().get() == three->body.back().get());
  REQUIRE(one->body.back().get() != chinese->body.back().get());
  REQUIRE(chinese->told("some text"));
  REQUIRE(other->told("some text"));
  REQUIRE(f.watchers() == 5);
  f.finish("a");
  REQUIRE(f.watchers() == 3);
  REQUIRE(three->closed == 1);
  REQUIRE(one->closed == 0);
}

TEST_CASE("a watcher that reads slowly is told nothing until it has drained, then all at once") {
  front f;
  f.begin();
  f.submit("a");
  auto slow = f.session_stream(0);
  auto quick = f.session_stream(0);
  f.say("a", "one ");
  auto before = slow->body.size();
  slow->unread = http::exchange::high_water + 1;
  f.say("a", "two ");
  f.say("a", "three ");
  f.say("a", "four ");
  REQUIRE(slow->body.size() == before);
  slow->unread = 0;
  f.say("a", "five "); // it has room, but not heard what was before
  REQUIRE(slow->body.size() == before);
  f.signal(slow, signal::drained);
  REQUIRE(slow->body.size() == before + 1); // merged
  REQUIRE(slow->told("two three four five "));
  REQUIRE(slow->ids().back() == quick->ids().back());
  f.say("a", "six");
  REQUIRE(slow->body.size() == before + 2);
  REQUIRE(slow->body.back().get() == quick->body.back().get());
  f.signal(slow, signal::drained); // nothing to catch up with
  REQUIRE(slow->body.size() == before + 2);
  f.finish("a");
  REQUIRE(slow->told("\"type\":\"done\""));
  auto ids = slow->ids();
  REQUIRE(std::is_sorted(ids.begin(), ids.end()));
  REQUIRE(std::adjacent_find(ids.begin(), ids.end()) == ids.end());
  f.signal(slow, signal::gone);
  f.signal(quick, signal::gone);
  f.time.advance(60s);
  REQUIRE(f.sessions() == 0); // it was counted once, however often it caught up
}

TEST_CASE("that its session is gone is told to a watcher that is behind, too") {
  front f;
  f.begin();
  f.submit("a");
  auto slow = f.session_stream(0);
  slow->unread = http::exchange::high_water + 1;
  f.say("a", "hi");
  auto gone = f.serve(f.asking_for(kind::remove));
  REQUIRE(gone->status() == 200);
  REQUIRE(slow->told("session_deleted"));
  REQUIRE(slow->closed == 1);
  REQUIRE(f.watchers() == 0);
  f.signal(slow, signal::gone);
  f.time.advance(1s);
  REQUIRE(f.sessions() == 0);
}

TEST_CASE("a watcher that has gone while the disk was read for it is not counted") {
  front f;
  f.world->limits.recent_events = 4;
  f.begin();
  f.chat("a");
  f.hold_archive = true;
  auto p = f.session_stream(0);
  f.signal(p, signal::gone);
  f.release_archive();
  REQUIRE(p->heads.empty());
  REQUIRE(f.watchers() == 0);
  f.time.advance(60s);
  REQUIRE(f.sessions() == 0);
}

TEST_CASE("a watcher of a session that crashed goes on where it was, with the new one") {
  front f;
  f.begin();
  auto p = f.chat_stream("a");
  auto all = f.session_stream(0);
  f.say("a", "hi");
  f.crash();
  f.time.settle();
  REQUIRE(f.lost.size() == 1);
  f.say("a", "anew");
  f.finish("a");
  for (auto& x : {p, all}) {
    REQUIRE(x->told("anew"));
    REQUIRE(x->told("\"type\":\"done\""));
    auto ids = x->ids();
    REQUIRE(std::is_sorted(ids.begin(), ids.end()));
    REQUIRE(std::adjacent_find(ids.begin(), ids.end()) == ids.end());
  }
  REQUIRE(p->closed == 1);
  f.signal(all, signal::gone);
  REQUIRE(f.watchers() == 0);
  f.time.advance(60s);
  REQUIRE(f.sessions() == 0);
}

// -- tasks by name ---

TEST_CASE("a poll that meets the end of its task asks again and answers with the end") {
  front f;
  f.begin();
  f.submit("a");
  REQUIRE(f.poll("a")->answers[0].body.find("completed") == std::string::npos);
  f.hold_archive = true;
  auto p = f.poll("a"); // the store has said: running
  f.say("a", "the text");
  f.finish("a");
  REQUIRE(p->answers.empty());
  f.release_archive();
  REQUIRE(p->status() == 200);
  REQUIRE(p->answers[0].body.find("the text") != std::string::npos);
}

TEST_CASE("a stream that meets the end of its task tells the whole of it") {
  front f;
  f.begin();
  f.submit("a");
  f.hold_archive = true;
  auto p = f.task_stream("a");
  f.say("a", "the text");
  f.finish("a");
  f.release_archive();
  REQUIRE(p->told("the text"));
  REQUIRE(p->told("\"type\":\"done\""));
  REQUIRE(p->closed == 1);
  REQUIRE(f.watchers() == 0);
  f.time.advance(60s);
  REQUIRE(f.sessions() == 0);
}

TEST_CASE("a task that neither the store nor the session can account for is no endless loop") {
  front f;
  f.begin();
  f.submit("a");
  auto lie = f.disk.data.tasks.at("a"); // as if its end were never to be stored
  f.finish("a");
  f.disk.data.tasks["a"] = lie;
  f.time.advance(10s);
  auto reads = f.disk.reads;
  auto p = f.poll("a");
  REQUIRE(p->status() == 500);
  REQUIRE(f.disk.reads <= reads + 3);
}

TEST_CASE("an unknown task, and one of another tenant, are not found") {
  front f;
  f.begin();
  f.submit("a");
  REQUIRE(f.poll("b")->status() == 404);
  f.room.tenant = "other";
  REQUIRE(f.poll("a")->status() == 404);
  REQUIRE(f.task_stream("a")->status() == 404);
  REQUIRE(f.session_stream()->status() == 404);
  REQUIRE(f.watchers() == 0);
}
