#include "sockets.hpp"

#include <boost/json.hpp>

using namespace parlor;
using namespace std::chrono_literals;
using http::close_code;
using http::signal;
using parlor::test::socket_house;
using parlor::test::strings;

TEST_CASE("an answer comes in the order of the contract, and done when it is durable") {
  socket_house h;
  h.begin();
  auto s = h.connect();
  CHECK(h.disk.data.sessions.empty()); // who only connects leaves nothing behind
  h.ask_on(s, "a", "r1");
  h.say("a", "one ");
  h.say("a", "two");
  h.hold_keeper = true;
  h.finish("a");
  CHECK(s->words() ==
        strings{"content[r1] one ", "content[r1] two", "content_finished[r1] one two"});
  h.release_keeper();
  CHECK(s->words().back() == "done[r1]");
  auto done = boost::json::parse(s->log.back().text);
  CHECK(done.at("usage").at("total_tokens") == 7);
  CHECK(done.at("session").at("total_tokens") == 7);
  CHECK(done.at("session").at("question_count") == 1);
  CHECK(h.disk.data.tasks.size() == 1);
  h.ask_on(s, "b", "r2", R"(,"full_content":true)");
  h.say("b", "x");
  h.say("b", "y");
  h.finish("b");
  CHECK(s->words_from(4) ==
        strings{"content[r2] x|x", "content[r2] y|xy", "content_finished[r2] xy", "done[r2]"});
  auto seqs = s->seqs();
  CHECK(std::is_sorted(seqs.begin(), seqs.end()));
}

// -- time ---

TEST_CASE("five seconds of silence with a question open bring a sign of life, exactly") {
  socket_house h;
  h.begin();
  auto s = h.connect();
  h.time.advance(20s);
  CHECK(s->log.empty()); // nothing is open
  CHECK(h.alarms<socket_alarm>() == 0);
  auto start = h.time.now_ms();
  h.ask_on(s, "a", "r1");
  h.time.advance(4999ms);
  CHECK(s->log.empty());
  h.time.advance(7001ms); // 12 s
  CHECK(s->times("keepalive") == std::vector<std::int64_t>{start + 5000, start + 10000});
  CHECK(s->log[0].text == R"({"type":"keepalive","content":"","full_content":""})");
  h.say("a", "hi"); // at 12 s
  h.time.advance(3s);
  h.say("a", "hi"); // at 15 s
  h.time.advance(4999ms);
  CHECK(s->times("keepalive").size() == 2);
  h.time.advance(1ms);
  CHECK(s->times("keepalive").back() == start + 20000);
  h.finish("a");
  auto n = s->log.size();
  h.time.advance(20s);
  CHECK(s->log.size() == n); // none while nothing is open
  CHECK(h.alarms<socket_alarm>() == 0);
  auto again = h.time.now_ms();
  h.ask_on(s, "b", "r2");
  h.time.advance(2s);
  h.finish("b");
  h.ask_on(s, "c", "r3"); // the alarm of the last question is still out
  h.time.advance(10s);
  CHECK(s->times("keepalive").size() == 5);
  CHECK(s->times("keepalive")[3] == again + 7000);
  CHECK(s->times("keepalive")[4] == again + 12000);
}

TEST_CASE("signs of life come before the question is durable, and while it waits its turn") {
  socket_house h;
  h.begin();
  auto s = h.connect();
  h.hold_keeper = true;
  h.ask_on(s, "a", "r1");
  h.time.advance(5s);
  CHECK(s->words() == strings{"keepalive"});
  h.release_keeper();
  h.ask_on(s, "b", "r2"); // behind a
  h.time.advance(5s);
  CHECK(s->words() == strings{"keepalive", "keepalive"});
  h.finish("a");
  h.time.advance(5s); // b runs
  CHECK(s->words().back() == "keepalive");
}

TEST_CASE("120 s of processing without content is processing_timeout") {
  socket_house h;
  h.begin();
  auto s = h.connect();
  h.ask_on(s, "a", "r1");
  auto start = h.time.now_ms();
  h.time.advance(119999ms);
  CHECK(s->times("error").empty());
  CHECK(s->times("keepalive").size() == 23);
  h.time.advance(1ms);
  CHECK(s->words().back() == "error[r1] processing_timeout");
  CHECK(s->log.back().at == start + 120000);
  h.ask_on(s, "b", "r2"); // the connection lives
  h.say("b", "hi");
  CHECK(s->words().back() == "content[r2] hi");
}

TEST_CASE("90 s without content is content_timeout; 80 s are not") {
  socket_house h;
  h.begin();
  auto s = h.connect();
  h.ask_on(s, "a", "r1");
  h.time.advance(80s);
  h.say("a", "one");
  h.time.advance(80s);
  h.say("a", "two");
  auto last = h.time.now_ms();
  h.time.advance(89999ms);
  CHECK(s->times("error").empty());
  h.time.advance(1ms);
  CHECK(s->words().back() == "error[r1] content_timeout");
  CHECK(s->log.back().at == last + 90000);
}

// -- two questions ---

TEST_CASE("a question during another waits, is refused, or interrupts, as it says") {
  socket_house h;
  h.begin();
  auto s = h.connect();
  h.ask_on(s, "a", "r1");
  h.ask_on(s, "b", "r2");
  h.ask_on(s, "c", "r3", R"(,"on_busy":"reject")");
  CHECK(s->words() == strings{"error[r3] session_busy"});
  h.say("a", "A");
  h.finish("a");
  h.say("b", "B");
  CHECK(s->words_from(1) ==
        strings{"content[r1] A", "content_finished[r1] A", "done[r1]", "content[r2] B"});
  h.ask_on(s, "d", "r4", R"(,"on_busy":"interrupt")");
  CHECK(s->words().back() == "error[r2] cancelled");
  h.say("d", "D");
  h.finish("d");
  CHECK(s->words_from(6) == strings{"content[r4] D", "content_finished[r4] D", "done[r4]"});
}

TEST_CASE("cancel ends a question that runs or waits, and no other") {
  socket_house h;
  h.begin();
  auto s = h.connect();
  h.ask_on(s, "a", "r1");
  h.ask_on(s, "b", "r2");
  h.tell(s, R"({"type":"cancel","request_id":"r2"})");
  CHECK(s->words() == strings{"error[r2] cancelled"});
  h.tell(s, R"({"type":"cancel","request_id":"r9"})");
  CHECK(s->words().back() == "error[r9] task_not_found");
  h.say("a", "A");
  h.tell(s, R"({"type":"cancel","request_id":"r1"})");
  CHECK(h.call("a")->closed);
  CHECK(s->words_from(2) == strings{"content[r1] A", "error[r1] cancelled"});
  h.tell(s, R"({"type":"cancel","request_id":"r1"})");
  CHECK(s->words().back() == "error[r1] task_not_found");
  h.ask_on(s, "c", "r1"); // the name is free again
  h.ask_on(s, "d", "r1"); // and now it is not
  CHECK(s->words().back() == "error[r1] invalid_field");
}

TEST_CASE("what is no message is answered, and the connection lives") {
  socket_house h;
  h.begin();
  auto s = h.connect(language::zh);
  h.tell(s, "{");
  h.tell(s, R"({"type":"sing"})");
  h.tell(s, R"({"type":"question","content":"say a","session_id":"other","request_id":"r1"})");
  CHECK(s->words() == strings{"error bad_json", "error invalid_field", "error[r1] invalid_field"});
  h.ask_on(s, "a", "r1");
  h.say("a", "A");
  CHECK(s->words().back() == "content[r1] A");
  CHECK(s->closed.empty());
}

// -- several that watch ---

TEST_CASE("every socket of a session sees every answer; what is asked elsewhere never takes a name "
          "in use") {
  socket_house h;
  h.begin();
  auto one = h.connect();
  auto two = h.connect();
  h.time.advance(1s);
  h.ask_on(one, "a", "r1");
  h.say("a", "A");
  CHECK(one->words() == strings{"content[r1] A"});
  CHECK(two->words() == strings{"content[r1] A"});
  CHECK(one->log[0].text == two->log[0].text);
  h.ask_on(two, "b", "r1"); // its own by that name
  h.say("a", "A");
  CHECK(two->words().back() == "content A");
  CHECK(one->words().back() == "content[r1] A");
  h.finish("a");
  h.say("b", "B");
  CHECK(two->words().back() == "content[r1] B");
  CHECK(one->words().back() == "content[r1] B"); // its own has ended
  h.time.advance(5s);
  CHECK(one->words().back() == "keepalive"); // who is told of it is told that it goes on
}

TEST_CASE("a turn of another dialect is told without a name, with its text before its end") {
  socket_house h;
  h.begin();
  auto s = h.connect();
  auto chat = h.chat_stream("a");
  h.say("a", "A");
  h.finish("a");
  CHECK(s->words() == strings{"content A", "content_finished A", "done"});
  auto poll = h.serve(h.taking(visit::kind::generate, "b"));
  h.say("b", "B");
  CHECK(s->words().back() == "content B");
}

TEST_CASE("a session that a generation makes is heard by sockets that were there before") {
  socket_house h;
  h.begin();
  auto s = h.connect();
  h.time.advance(10s);
  h.serve(h.taking(visit::kind::generate, "a"));
  h.say("a", "A");
  CHECK(s->words() == strings{"content A"});
}

// -- coming back ---

TEST_CASE("resume brings what was missed, once and in order, then what comes") {
  socket_house h;
  h.begin();
  auto first = h.connect();
  h.ask_on(first, "a", "r1");
  h.say("a", "one ");
  auto seen = first->seqs().back();
  h.signal(first, signal::gone);
  h.say("a", "two ");
  auto s = h.connect();
  h.say("a", "three "); // before the client could say anything
  CHECK(s->log.empty());
  h.tell(s, R"({"type":"resume","last_seq":)" + std::to_string(seen) + "}");
  h.say("a", "four");
  h.finish("a");
  CHECK(s->words() == strings{"content[r1] two three ", "content[r1] four",
                              "content_finished[r1] one two three four", "done[r1]"});
  auto end = s->seqs().back();
  auto late = h.connect(); // everything has ended: the end alone is not told twice
  h.tell(late, R"({"type":"resume","last_seq":)" + std::to_string(end) + "}");
  CHECK(late->log.empty());
  h.tell(late, R"({"type":"resume","last_seq":)" + std::to_string(end - 1) + "}");
  CHECK(late->words() == strings{"done[r1]"});
  h.tell(late, R"({"type":"resume","last_seq":0})");
  CHECK(late->words_from(1) == strings{"content[r1] one two three four",
                                       "content_finished[r1] one two three four", "done[r1]"});
}

TEST_CASE("who does not resume hears what has come since it connected") {
  socket_house h;
  h.begin();
  auto first = h.connect();
  h.ask_on(first, "a", "r1");
  h.say("a", "one ");
  auto s = h.connect();
  h.say("a", "two ");
  h.time.advance(999ms);
  CHECK(s->log.empty());
  h.time.advance(1ms); // a second for `resume` to come
  CHECK(s->words() == strings{"content[r1] two "});
  auto other = h.connect();
  h.say("a", "three ");
  h.ask_on(other, "b", "r2"); // no resume: at once
  CHECK(other->words() == strings{"content[r1] three "});
  h.tell(other, R"({"type":"cancel","request_id":"r1"})"); // asked elsewhere
  CHECK(h.call("a")->closed);
}

TEST_CASE("a cursor that cannot be honoured is answered with how things stand") {
  socket_house h;
  h.begin();
  auto first = h.connect();
  h.ask_on(first, "a", "r1");
  h.say("a", "one ");
  auto s = h.connect();
  h.tell(s, R"({"type":"resume","last_seq":999999})");
  CHECK(s->words() == strings{"content[r1] |one "});
  h.say("a", "two");
  CHECK(s->words().back() == "content[r1] two");
  h.finish("a");
  auto again = h.connect();
  h.tell(again, R"({"type":"resume","last_seq":999999})");
  CHECK(again->words() == strings{"content |"});
}

TEST_CASE("resume without a session is an error, and a question makes one") {
  socket_house h;
  h.begin();
  auto s = h.connect();
  h.tell(s, R"({"type":"resume","last_seq":7})");
  CHECK(s->words() == strings{"error session_not_found"});
  h.ask_on(s, "a", "r1");
  h.say("a", "A");
  CHECK(s->words().back() == "content[r1] A");
}

TEST_CASE("messages that come before the session has answered wait for it, in order") {
  socket_house h;
  h.begin();
  h.chat("old");
  h.time.advance(60s); // out of memory: the archive is asked
  h.hold_archive = true;
  auto s = h.connect();
  h.tell(s, R"({"type":"resume","last_seq":0})");
  h.tell(s, h.question("a", "r1"));
  CHECK(s->log.empty());
  h.release_archive();
  h.say("a", "A");
  CHECK(s->words() == strings{"content hi", "content_finished hi", "done", "content[r1] A"});
}
