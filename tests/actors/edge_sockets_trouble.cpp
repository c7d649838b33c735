// WebSockets when something goes wrong: slow readers, crashes, ends.

#include "sockets.hpp"

#include <boost/json.hpp>

using namespace parlor;
using namespace std::chrono_literals;
using http::close_code;
using http::signal;
using parlor::test::socket_house;
using parlor::test::strings;

TEST_CASE("a socket that does not read is a cursor, and catches up with pieces merged") {
  socket_house h;
  h.begin();
  auto s = h.connect();
  h.ask_on(s, "a", "r1", R"(,"full_content":true)");
  h.say("a", "one ");
  s->unread = http::outbox::high_water + 1;
  h.say("a", "two ");
  h.say("a", "three ");
  h.time.advance(20s); // not a sign of life on top of what is not read
  CHECK(s->words() == strings{"content[r1] one |one "});
  s->unread = 0;
  h.signal(s, signal::drained);
  CHECK(s->words_from(1) == strings{"content[r1] two three |one two three "});
  h.say("a", "four");
  h.finish("a");
  CHECK(s->words_from(2) == strings{"content[r1] four|one two three four",
                                    "content_finished[r1] one two three four", "done[r1]"});
}

TEST_CASE("a socket that is far behind is told the rest page by page, and so is who resumes") {
  socket_house h;
  h.world->page = 200'000;
  h.begin();
  auto s = h.connect();
  h.ask_on(s, "a", "r1");
  h.say("a", "one");
  auto seen = s->seqs().back();
  s->unread = http::outbox::high_water + 1;
  std::string text = "one";
  for (int i = 0; i < 40; ++i) {
    h.say("a", std::string(50'000, static_cast<char>('a' + i % 26)));
    text += std::string(50'000, static_cast<char>('a' + i % 26));
  }
  h.finish("a");
  CHECK(s->log.size() == 1);
  auto drain = [&](const parlor::test::fake_socket_ptr& p) {
    p->slow = true;
    int pages = 0;
    for (p->unread = http::outbox::high_water + 1; p->unread > http::outbox::high_water; ++pages) {
      p->unread = 0;
      h.signal(p, signal::drained);
      if (pages > 0 && p->words().back().starts_with("content[r1]"))
        CHECK(p->unread <= http::outbox::high_water + 200'000);
    }
    CHECK(pages > 10);
    CHECK(p->closed.empty());
    std::string all;
    for (auto& w : p->words())
      if (w.starts_with("content[r1] "))
        all += w.substr(12);
    CHECK(p->words_from(p->log.size() - 2) == strings{"content_finished[r1] " + text, "done[r1]"});
    return all;
  };
  CHECK(drain(s) == text);
  auto again = h.connect();
  again->unread = 1024 * 1024;
  h.tell(again, R"({"type":"resume","last_seq":)" + std::to_string(seen) + "}");
  CHECK(again->log.empty());
  CHECK(drain(again) == text.substr(3));
  h.ask_on(again, "b", "r2"); // and both are live
  h.say("b", "more");
  CHECK(again->words().back() == "content[r2] more");
  CHECK(s->words().back() == "content[r2] more");
}

TEST_CASE("a session that crashes is gone on with, and the socket is told each thing once") {
  socket_house h;
  h.begin();
  auto s = h.connect();
  h.ask_on(s, "a", "r1");
  h.say("a", "one ");
  h.time.advance(1500ms); // a checkpoint
  h.crash();
  h.time.settle();
  REQUIRE(h.lost.size() == 1);
  CHECK(s->words() == strings{"content[r1] one ", "content[r1] |"}); // void: it is asked again
  h.say("a", "two");
  h.finish("a");
  CHECK(s->words_from(2) == strings{"content[r1] two", "content_finished[r1] two", "done[r1]"});
  auto seqs = s->seqs();
  CHECK(std::adjacent_find(seqs.begin(), seqs.end(), std::greater_equal<>{}) == seqs.end());
  h.ask_on(s, "b", "r2");
  h.say("b", "B");
  CHECK(s->words().back() == "content[r2] B");
}

TEST_CASE("a resume that a crash overtakes is answered all the same") {
  socket_house h;
  h.begin();
  h.chat("old");
  auto s = h.connect();
  h.time.advance(60s); // the session stays, for it is listened to
  h.send(s, R"({"type":"resume","last_seq":0})");
  auto a = h.turn("crash");
  a.turn.settings.model = std::string{"crash"};
  h.post(std::move(a));
  h.time.settle();
  CHECK(s->closed.empty());
  CHECK(s->words() == strings{"content hi", "content_finished hi", "done"});
}

TEST_CASE("a resume waits for the session that its socket is being joined to again") {
  socket_house h;
  h.begin();
  h.chat("old");
  auto s = h.connect();
  h.hold_archive = true;
  h.crash();
  h.time.settle();
  auto reads = h.held_reads();
  REQUIRE(reads > 0); // the next actor of the session loads it, for who is joined
  h.send(s, R"({"type":"resume","last_seq":0})");
  h.time.settle();
  CHECK(s->words().empty());
  h.release_archive();
  CHECK(s->closed.empty());
  CHECK(s->words() == strings{"content hi", "content_finished hi", "done"});
  h.ask_on(s, "b", "r2"); // and it listens
  h.say("b", "B");
  CHECK(s->words().back() == "content[r2] B");
  h.finish("b");
}

TEST_CASE("a question that waited for that is taken also from a socket that does not read") {
  socket_house h;
  h.begin();
  auto s = h.connect();
  h.ask_on(s, "a", "r1");
  h.say("a", "one");
  s->unread = http::outbox::high_water + 1;
  h.say("a", "two"); // it is behind now
  h.time.advance(1500ms);
  h.hold_archive = true;
  h.crash();
  h.send(s, h.question("b", "r2"));
  h.time.settle();
  CHECK(h.disk.data.tasks.size() == 1);
  h.release_archive();
  CHECK(h.disk.data.tasks.size() == 2);
  CHECK(s->words() == strings{"content[r1] one"});
}

TEST_CASE("a question that a crash takes along is answered with an error") {
  socket_house h;
  h.begin();
  h.chat("old");
  auto s = h.connect();
  h.hold_keeper = true;
  h.ask_on(s, "a", "r1");
  h.crash();
  CHECK(s->words() == strings{"error[r1] internal"});
  h.time.advance(20s);
  CHECK(s->times("keepalive").empty());
}

TEST_CASE("a cancel that waits for the disk holds back what its client says next") {
  socket_house h;
  h.begin();
  auto s = h.connect();
  h.ask_on(s, "a", "r1");
  h.hold_keeper = true;
  auto text = std::make_shared<const std::string>(R"({"type":"cancel","request_id":"r1"})");
  std::weak_ptr<const std::string> held = text;
  s->sink(std::move(text));
  h.time.settle();
  CHECK_FALSE(held.expired()); // until then its connection reads no other message
  h.release_keeper();
  CHECK(held.expired());
  CHECK(s->words() == strings{"error[r1] cancelled"});
}

TEST_CASE("S11 a socket that asks while its session goes is told how it went") {
  socket_house h;
  h.begin();
  h.submit("a");
  h.finish("a");
  auto s = h.connect();
  h.hold_keeper = true;
  auto gone = h.remove();
  h.time.advance(2s); // it has waited for `resume` for long enough, and wants to go live
  CHECK(s->closed.empty());
  h.release_keeper();
  h.time.settle();
  CHECK(h.refusals(s, "session_deleted") == 1);
  REQUIRE(s->closed.size() == 1);
  CHECK(s->closed[0].first == http::close_code::going_away);
  CHECK(h.watchers() == 0);
}

TEST_CASE("the end of a session closes its sockets with 1001") {
  socket_house h;
  h.world->idle_expiry = 30min;
  h.begin();
  h.chat("old");
  auto live = h.connect();
  h.time.advance(5s);
  auto held = h.connect();
  h.remove();
  for (auto& s : {live, held}) {
    CHECK(s->words() == strings{"error session_deleted"});
    REQUIRE(s->closed.size() == 1);
    CHECK(s->closed[0].first == close_code::going_away);
    CHECK_FALSE(s->closed[0].second.empty());
  }
  CHECK(h.watchers() == 0);
  h.chat("new");
  auto idle = h.connect();
  h.time.advance(31min);
  CHECK(idle->words() == strings{"error session_expired"});
  CHECK(idle->closed.size() == 1);
  CHECK(h.watchers() == 0);
  CHECK(h.sessions() == 0);
}

TEST_CASE("a session leaves memory when its last socket has gone") {
  socket_house h;
  h.begin();
  auto one = h.connect();
  auto two = h.connect();
  h.ask_on(one, "a", "r1");
  h.finish("a");
  h.time.advance(2min);
  CHECK(h.sessions() == 1);
  h.signal(one, signal::gone);
  h.signal(two, signal::gone);
  CHECK(h.watchers() == 0);
  h.time.advance(2min);
  CHECK(h.sessions() == 0);
}

TEST_CASE("questions go on without their socket, unless they said otherwise") {
  socket_house h;
  h.edging.disconnect_grace = std::chrono::seconds{0};
  h.begin();
  auto s = h.connect();
  h.ask_on(s, "a", "r1");
  h.ask_on(s, "b", "r2", R"(,"cancel_on_disconnect":true)");
  h.signal(s, signal::gone);
  CHECK_FALSE(h.call("a")->closed);
  h.say("a", "A");
  h.finish("a");
  CHECK(h.call("b") == nullptr); // it waited, and was taken back
  auto again = h.connect();
  h.tell(again, R"({"type":"resume","last_seq":0})");
  CHECK(again->words() ==
        strings{"error[r2] cancelled", "content[r1] A", "content_finished[r1] A", "done[r1]"});
}

TEST_CASE("U11 a socket that comes back attends the questions that end with it") {
  socket_house h;
  h.begin();
  auto s = h.connect();
  h.ask_on(s, "a", "r1", R"(,"cancel_on_disconnect":true)");
  std::shared_ptr<parlor::test::fake_socket> again;
  SECTION("soon") {
    h.signal(s, signal::gone);
    h.time.advance(9s);
    again = h.connect();
  }
  SECTION("before the first is known to be cut") {
    again = h.connect();
    h.time.advance(30s);
    h.signal(s, signal::gone);
  }
  h.time.advance(30s);
  CHECK_FALSE(h.call("a")->closed);
  h.signal(again, signal::gone);
  h.time.advance(9s);
  CHECK_FALSE(h.call("a")->closed);
  h.time.advance(1s);
  CHECK(h.call("a")->closed);
}

TEST_CASE("a server that stops takes no sockets and no questions") {
  socket_house h;
  h.begin();
  auto s = h.connect();
  h.ask_on(s, "a", "r1");
  h.draining = true;
  auto p = h.knock();
  REQUIRE(p->answers.size() == 1);
  CHECK(p->answers[0].status == 503);
  CHECK_FALSE(p->socket);
  h.ask_on(s, "b", "r2");
  CHECK(s->words() == strings{"error[r2] draining"});
  h.say("a", "A"); // what runs goes on
  h.finish("a");
  CHECK(s->words().back() == "done[r1]");
}

TEST_CASE("a full disk refuses a question, and says so") {
  socket_house h;
  h.begin();
  auto s = h.connect();
  h.disk.full = true;
  h.ask_on(s, "a", "r1");
  CHECK(s->words() == strings{"error[r1] store_full"});
  h.disk.full = false;
  h.ask_on(s, "b", "r2");
  h.say("b", "B");
  CHECK(s->words().back() == "content[r2] B");
}

TEST_CASE("photos go to the model as parts, and a question with them counts by what they show") {
  socket_house h;
  h.begin();
  auto s = h.connect();
  auto photo = "data:image/png;base64,iVBORw0KGgo" + std::string(400'000, 'A') + "=";
  h.tell(s, R"({"type":"question","content":"say a","request_id":"r1","images":[")" + photo +
                R"(","https://example.org/page2.jpg"]})");
  REQUIRE(s->words() == strings{});
  REQUIRE(h.model->calls.size() == 1);
  auto& said = h.model->calls[0]->request.messages.back();
  auto parts = boost::json::parse(std::string_view{said.extra}).as_array();
  REQUIRE(parts.size() == 3);
  CHECK(parts[0].at("text") == "say a");
  CHECK(parts[1].at("image_url").at("url").as_string() == photo);
  CHECK(parts[2].at("image_url").at("url") == "https://example.org/page2.jpg");
  CHECK(estimate_tokens(said) < 2000);
}

TEST_CASE("a question past what the machine can do waits, and counts as one that waits") {
  socket_house h;
  auto gate = h.edging.gate = std::make_shared<turn_gate>(1ms);
  h.begin();
  auto s = h.connect();
  h.ask_on(s, "a", "r1");
  auto outside = gate.use_count(); // what has been accepted is no longer inside
  {
    std::vector<turn_gate::ticket_ptr> crowd; // for an hour, and none has been accepted
    for (auto i = turn_gate::few; i > 0; --i)
      crowd.push_back(gate->enter(turn_gate::clock::now() - 1h));
    CHECK(gate->enter(turn_gate::clock::now()) == nullptr);
    h.ask_on(s, "b", "r2");
    h.say("a", "A");
    h.finish("a");
    CHECK(h.call("b") != nullptr);
  }
  h.disk.full = true;
  h.ask_on(s, "c", "r3");
  CHECK(s->words().back() == "error[r3] store_full");
  CHECK(gate.use_count() == outside);
  h.disk.full = false;
  h.finish("b");
  CHECK(s->words().back() == "done[r2]");
}
