#include "front.hpp"

// How long a watcher waits for its session, and what an answer does that comes later.

using namespace parlor;
using namespace std::chrono_literals;
using parlor::test::front;
using kind = visit::kind;

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

TEST_CASE("a connection that goes while the disk hangs is let go of at once") {
  front f;
  f.begin();
  f.hold_keeper = true;
  for (auto what : {kind::chat_stream, kind::chat}) {
    auto task = what == kind::chat ? "b" : "a";
    std::weak_ptr<parlor::test::peer> gone = f.serve(f.taking(what, task));
    f.signal(f.peers.back(), http::signal::gone);
    REQUIRE(f.disk.data.tasks.empty()); // its turn waits still
    f.peers.clear();                    // the test's own hold of it
    CHECK(gone.expired());
  }
  f.release_keeper();
  f.finish("a");
  f.finish("b");
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

TEST_CASE("who has gone or been given up is not in the way of the turns behind") {
  front f;
  auto gate = f.edging.gate = std::make_shared<turn_gate>(0ms);
  f.begin();
  f.hold_keeper = true;
  std::vector<turn_gate::ticket_ptr> others;
  std::int64_t begun = 0;
  auto begin = [&] {
    auto ticket = gate->enter(turn_gate::clock::now());
    gate->begin(ticket, [&] { ++begun; });
    return ticket;
  };
  auto come = [&](const std::string& task) {
    auto v = f.taking(kind::chat, task);
    v.inside = begin();
    return f.serve(std::move(v));
  };
  auto leaves = come("a");
  come("b");
  for (auto i = turn_gate::abreast; i > 0; --i)
    others.push_back(begin());
  REQUIRE(begun == turn_gate::abreast);
  f.signal(leaves, http::signal::gone);
  CHECK(begun == turn_gate::abreast + 1);
  f.time.advance(60s); // the other one is told that there is no answer
  CHECK(begun == turn_gate::abreast + 2);
}
