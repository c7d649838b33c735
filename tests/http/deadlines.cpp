// What a connection may take its time for. Deadlines are looked at twice a second, so every limit
// here is a few hundred milliseconds and every bound a few seconds.

#include "served.hpp"

using namespace parlor;
using namespace parlor::testing;
using namespace std::chrono_literals;

namespace {

using clock_type = std::chrono::steady_clock;

/// Sends `bytes` one by one, slowly, until the server has had enough. How long that took.
clock_type::duration drip(raw_client& c, std::string_view bytes, clock_type::duration at_most) {
  auto from = clock_type::now();
  std::size_t i = 0;
  while (clock_type::now() - from < at_most) {
    c.send(bytes.substr(i++ % bytes.size(), 1));
    c.until_end(50ms);
    if (!c.text().empty())
      break;
  }
  return clock_type::now() - from;
}

} // namespace

TEST_CASE("H10 the deadline of the headers is not moved by another byte") {
  auto o = patient();
  o.header_timeout = 700ms;
  served s{o};
  raw_client c{s.port()};
  c.send("GET / HTTP/1.1\r\n");
  auto took = drip(c, "A", 10s);
  CHECK(took >= 600ms);
  CHECK(took < 5s);
  CHECK(c.until_end() == ending::closed);
  CHECK(c.text().substr(0, 12) == "HTTP/1.1 408");
  CHECK(c.text().find("request_timeout") != std::string::npos);
}

TEST_CASE("H10 nor by empty lines before it") {
  auto o = patient();
  o.header_timeout = 700ms;
  served s{o};
  raw_client c{s.port()};
  auto from = clock_type::now();
  while (clock_type::now() - from < 10s && c.send("\r\n") && c.until_end(50ms) == ending::open)
    ;
  CHECK(clock_type::now() - from < 5s);
  CHECK(s.server().stats().requests_total == 0);
  CHECK(eventually([&] { return s.server().stats().connections_open == 0; }));
}

TEST_CASE("H10 who connects and says nothing is sent away") {
  auto o = patient();
  o.header_timeout = 500ms;
  served s{o};
  raw_client c{s.port()};
  CHECK(c.until_end(5s) == ending::closed);
  CHECK(eventually([&] { return s.server().stats().connections_open == 0; }));
}

TEST_CASE("H10 the second request of a connection has the same deadline") {
  auto o = patient();
  o.header_timeout = 700ms;
  served s{o};
  raw_client c{s.port()};
  c.send(get("/"));
  s.next().exchange->respond(plain("one"));
  REQUIRE(c.until("one"));
  c.take();
  c.send("GET / HTTP/1.1\r\n");
  CHECK(drip(c, "A", 10s) < 5s);
  CHECK(c.text().substr(0, 12) == "HTTP/1.1 408");
}

TEST_CASE("H10 the deadline of the body is not moved by another byte") {
  auto o = patient();
  o.body_timeout = 700ms;
  served s{o};
  for (auto framing :
       {"Content-Length: 900\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n384\r\n"}) {
    INFO(framing);
    raw_client c{s.port()};
    c.send(std::string{"POST / HTTP/1.1\r\nHost: a\r\n"} + framing);
    auto took = drip(c, "x", 10s);
    CHECK(took < 6s);
    CHECK(c.until_end() == ending::closed);
    CHECK(c.text().substr(0, 12) == "HTTP/1.1 408");
  }
  CHECK(s.waiting() == 0);
}

TEST_CASE("an unused connection is closed without a word after the idle timeout") {
  auto o = patient();
  o.idle_timeout = 700ms;
  served s{o};
  raw_client c{s.port()};
  c.send(get("/"));
  s.next().exchange->respond(plain("one"));
  REQUIRE(c.until("one"));
  c.take();
  auto from = clock_type::now();
  CHECK(c.until_end(10s) == ending::closed);
  auto took = clock_type::now() - from;
  CHECK(took >= 600ms);
  CHECK(took < 5s);
  CHECK(c.text().empty());
}

TEST_CASE("while a request is handled no deadline of the connection runs") {
  auto o = patient();
  o.header_timeout = o.idle_timeout = o.write_timeout = 300ms;
  served s{o};
  raw_client c{s.port()}, d{s.port()};
  c.send(get("/"));
  d.send(get("/"));
  auto v = s.next(), w = s.next();
  w.exchange->open({}, {}); // a stream that is silent
  std::this_thread::sleep_for(1500ms);
  v.exchange->respond(plain("at last"));
  w.exchange->push(piece("at last"));
  CHECK(c.until("at last") != d.until("nothing of the kind", 1ms));
  CHECK(c.until("at last", 1s));
  CHECK(d.until("at last", 1s));
}

TEST_CASE("slow clients do not hold up the others") {
  auto o = patient();
  o.header_timeout = 2s;
  served s{o};
  std::vector<std::unique_ptr<raw_client>> slow;
  for (int i = 0; i < 300; ++i) {
    slow.push_back(std::make_unique<raw_client>(s.port()));
    slow.back()->send("GET / HTTP/1.1\r\nA");
  }
  raw_client c{s.port()};
  auto worst = clock_type::duration::zero();
  for (int i = 0; i < 50; ++i) {
    auto from = clock_type::now();
    c.send(get("/"));
    s.next().exchange->respond(plain("quick"));
    REQUIRE(c.until("quick"));
    c.take();
    worst = std::max(worst, clock_type::now() - from);
  }
  CHECK(worst < 1s);
  CHECK(eventually([&] { return s.server().stats().connections_open == 1; }));
  for (auto& one : slow) // 408, every one of them
    CHECK((one->until_end(5s) == ending::closed && one->text().substr(9, 3) == "408"));
}
