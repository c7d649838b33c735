#include "front.hpp"

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

TEST_CASE(
    "who waits for a disk that hangs is told so after a minute, and nobody listens in its place") {
  front f;
  f.begin();
  f.hold_keeper = true;
  auto streamed = f.chat_stream("a");
  auto whole = f.serve(f.taking(kind::chat, "b"));
  auto generated = f.serve(f.taking(kind::generate, "c"));
  f.time.advance(59s);
  for (auto& p : f.peers)
    REQUIRE(p->answers.empty());
  REQUIRE(f.alarms<give_up>() == 1);
  f.time.advance(1s);
  for (auto& p : f.peers)
    CHECK(p->status() == 500);
  CHECK(f.watchers() == 0);
  f.time.advance(5s);
  f.release_keeper(); // too late for them; the turns go on
  f.finish("a");
  f.finish("b");
  f.finish("c");
  CHECK(f.disk.data.tasks.at("a").view.status == task_status::completed);
  for (auto& p : f.peers)
    CHECK((p->answers.size() == 1 && p->heads.empty() && p->body.empty()));
  CHECK(f.alarms<give_up>() == 0);
  f.time.advance(60s);
  CHECK(f.sessions() == 0); // it has left memory: nobody listens
}

TEST_CASE("a refusal that comes when nobody waits any more is told to nobody") {
  front f;
  f.begin();
  f.hold_keeper = true;
  auto streamed = f.chat_stream("a");
  f.time.advance(60s);
  REQUIRE(streamed->status() == 500);
  f.disk.full = true;
  f.release_keeper();
  CHECK(f.disk.data.tasks.empty());
  CHECK(streamed->answers.size() == 1);
  f.disk.full = false;
  CHECK(f.chat_stream("b")->heads.size() == 1);
  f.finish("b");
}

TEST_CASE("a turn that nobody attends since its asker was given up is stopped") {
  front f;
  f.begin();
  f.hold_keeper = true;
  auto v = f.taking(kind::chat_stream, "a");
  v.turn.cancel_on_disconnect = true;
  auto streamed = f.serve(std::move(v));
  f.time.advance(60s);
  REQUIRE(streamed->status() == 500);
  f.time.advance(10s);
  f.release_keeper();
  f.time.advance(1s);
  CHECK(f.disk.data.tasks.at("a").view.status == task_status::cancelled);
  CHECK(f.watchers() == 0);
}

TEST_CASE(
    "a question that has been answered is not given up, and waits for nobody's alarm for long") {
  front f;
  f.begin();
  auto early = f.chat_stream("a");
  f.time.advance(30s);
  auto late = f.task_stream("a");
  CHECK(f.alarms<give_up>() == 1);
  f.time.advance(31s);
  CHECK(f.alarms<give_up>() == 0);
  CHECK((early->aborted == 0 && late->aborted == 0));
  f.say("a", "hi");
  CHECK((early->told("hi") && late->told("hi")));
  f.finish("a");
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

TEST_CASE("U11 to disconnect stops a turn only where the request has said so") {
  front f;
  f.edging.disconnect_grace = 0s;
  f.begin();
  auto stays = f.chat_stream("a");
  f.signal(stays, signal::gone);
  REQUIRE_FALSE(f.call("a")->closed);
  f.finish("a");

  auto v = f.taking(kind::chat_stream, "b");
  v.turn.cancel_on_disconnect = true;
  auto stops = f.serve(v);
  f.say("b", "hi");
  f.signal(stops, signal::gone);
  REQUIRE(f.call("b")->closed);
  REQUIRE(f.disk.data.tasks.at("b").view.status == task_status::cancelled);

  v.turn = f.turn("c").turn; // also before it is durable
  v.turn.cancel_on_disconnect = true;
  f.hold_keeper = true;
  auto early = f.serve(v);
  f.signal(early, signal::gone);
  f.release_keeper();
  REQUIRE(f.disk.data.tasks.at("c").view.status == task_status::cancelled);
  REQUIRE(f.watchers() == 0);
  f.time.advance(60s);
  REQUIRE(f.sessions() == 0);
}

TEST_CASE("U11 a turn that ends when nobody attends it goes on for ten seconds without anybody") {
  front f;
  f.begin();
  const auto room = f.room;
  auto leaving = f.taking(kind::chat_stream, "a");
  leaving.turn.cancel_on_disconnect = true;
  f.chat_stream("z");
  f.finish("z");
  auto before = f.session_stream();
  auto cut = f.serve(leaving);
  f.say("a", "hi");
  auto status = [&](const char* task) { return f.disk.data.tasks.at(task).view.status; };
  SECTION("nobody comes: neither who watched before nor who watches another turn does") {
    auto next = f.chat_stream("b"); // waits for the first
    f.signal(cut, signal::gone);
    f.room.id = "another";
    f.chat_stream("c");
    f.time.advance(9s);
    REQUIRE_FALSE(f.call("a")->closed);
    f.time.advance(1s);
    REQUIRE(f.call("a")->closed);
    REQUIRE(status("a") == task_status::cancelled);
    REQUIRE_FALSE(f.call("b")->closed);
    REQUIRE_FALSE(f.call("c")->closed);
  }
  SECTION("its stream is picked up, and the turn ends with that one") {
    auto seen = cut->ids().back();
    f.signal(cut, signal::gone);
    f.time.advance(9s);
    auto again = f.task_stream("a", seen);
    f.time.advance(1min);
    REQUIRE_FALSE(f.call("a")->closed);
    f.say("a", " there");
    REQUIRE(again->told(" there"));
    f.signal(again, signal::gone);
    f.time.advance(10s);
    REQUIRE(f.call("a")->closed);
  }
  SECTION("its stream is picked up long before it is noticed that the first was cut") {
    auto again = f.task_stream("a", cut->ids().back());
    f.time.advance(30s);
    f.signal(cut, signal::gone);
    f.time.advance(30s);
    REQUIRE_FALSE(f.call("a")->closed);
    f.say("a", " there");
    f.signal(again, signal::gone);
    f.time.advance(10s);
    REQUIRE(f.call("a")->closed);
  }
  SECTION("the session is watched again") {
    f.signal(cut, signal::gone);
    auto again = f.session_stream();
    f.time.advance(20s);
    REQUIRE_FALSE(f.call("a")->closed);
    f.signal(again, signal::gone);
    auto third = f.task_stream("a");
    f.time.advance(20s);
    f.finish("a");
    REQUIRE(status("a") == task_status::completed);
  }
  SECTION("whoever asks anew does not come back") {
    f.signal(cut, signal::gone);
    f.chat_stream("b");
    REQUIRE(f.call("a")->closed);
    REQUIRE_FALSE(f.call("b")->closed);
  }
  SECTION("nor is he refused because of what he has left") {
    f.signal(cut, signal::gone);
    auto v = f.taking(kind::chat_stream, "b");
    v.turn.when_busy = on_busy::reject;
    REQUIRE(f.serve(v)->heads.size() == 1);
    REQUIRE(f.call("a")->closed);
    REQUIRE_FALSE(f.call("b")->closed);
  }
  SECTION("but whoever asks the same once more does, also before it is durable") {
    auto keyed = f.taking(kind::chat_stream, "b");
    keyed.turn.once = {"key of b", "body"};
    keyed.turn.cancel_on_disconnect = true;
    f.hold_keeper = true;
    auto gone = f.serve(keyed);
    f.signal(gone, signal::gone);
    keyed.turn.task_id = "c";
    auto again = f.serve(keyed);
    f.release_keeper();
    f.finish("a");
    f.time.advance(20s);
    REQUIRE_FALSE(f.call("b")->closed);
    f.say("b", "hi");
    f.signal(again, signal::gone);
    keyed.turn.task_id = "d";
    auto third = f.serve(keyed);
    f.time.advance(20s);
    f.finish("b");
    REQUIRE(status("b") == task_status::completed);
    REQUIRE(third->told("\"type\":\"done\""));
  }
  SECTION("he has them also when he goes before his turn is durable") {
    f.finish("a");
    auto early = f.taking(kind::chat_stream, "b");
    early.turn.cancel_on_disconnect = true;
    f.hold_keeper = true;
    auto gone = f.serve(early);
    f.signal(gone, signal::gone);
    f.release_keeper();
    f.time.advance(9s);
    REQUIRE_FALSE(f.call("b")->closed);
    f.time.advance(1s);
    REQUIRE(status("b") == task_status::cancelled);
  }
  SECTION("while the server stops nobody can come back, and nothing is stopped") {
    f.draining = true;
    f.signal(cut, signal::gone);
    f.time.advance(20s);
    REQUIRE_FALSE(f.call("a")->closed);
  }
  REQUIRE(f.draining == !f.edging.attended->come(room, {}).empty());
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
