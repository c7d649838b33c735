#include "front.hpp"

// Who attends a turn that is to end with its client.

using namespace parlor;
using namespace std::chrono_literals;
using http::signal;
using parlor::test::front;
using kind = visit::kind;

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
