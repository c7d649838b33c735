// Streams over real sockets: slow readers, silence, and every way a stream can end.

#include "served.hpp"

using namespace parlor;
using namespace parlor::testing;
using namespace std::chrono_literals;

namespace {

/// Opens a stream for the next request.
visitor stream(served& s, signals& told, std::string keepalive = {}) {
  auto v = s.next();
  told.watch(v.exchange);
  v.exchange->open({}, std::move(keepalive));
  return v;
}

std::string numbered(int from, int to, std::size_t size) {
  std::string out;
  for (int i = from; i < to; ++i) {
    auto n = std::to_string(i);
    out += n + std::string(size - n.size() - 1, '.') + '\n';
  }
  return out;
}

} // namespace

TEST_CASE("S4 a slow reader holds the backlog up, and is told of when it has caught up") {
  served s;
  signals told;
  raw_client c{s.port(), 4096};
  c.send(get("/"));
  auto v = stream(s, told);
  // The kernel takes some megabytes for a peer that reads nothing; after that the backlog grows.
  int pushed = 0;
  while (v.exchange->backlog() <= http::exchange::high_water) {
    v.exchange->push(piece(numbered(pushed, pushed + 1, 1000)));
    ++pushed;
    if (pushed % 64 == 0)
      std::this_thread::sleep_for(1ms);
    REQUIRE(pushed < 200'000);
  }
  CHECK(told.drained() == 0);
  auto before = v.exchange->backlog();
  std::this_thread::sleep_for(50ms);
  CHECK(v.exchange->backlog() <= before); // it does not grow by itself
  CHECK(s.server().stats().connections_open == 1);
  auto reading = std::thread{[&] { c.until_terminator(60s); }};
  CHECK(told.wait_drained());
  CHECK(v.exchange->backlog() <= http::exchange::low_water);
  v.exchange->push(piece("the end"));
  v.exchange->close();
  reading.join();
  CHECK(c.until_terminator());
  auto all = dechunk(c.text());
  CHECK(all.valid);
  CHECK(all.terminated);
  auto whole = all.body == numbered(0, pushed, 1000) + "the end";
  CHECK(whole); // nothing lost, nothing twice
  CHECK(told.wait_gone());
  CHECK(v.exchange->backlog() == 0);
}

TEST_CASE("whoever saw the backlog above high water is told, even if one write took all of it") {
  served s;
  for (int round = 0; round < 50; ++round) {
    signals told;
    raw_client c{s.port()};
    c.send(get("/"));
    auto v = stream(s, told);
    auto size = 9000U;
    while (v.exchange->backlog() <= http::exchange::high_water) // faster than the strand can write
      v.exchange->push(piece(std::string(size += 1000, 'x')));
    INFO(round);
    REQUIRE(told.wait_drained());
    v.exchange->close();
    CHECK(c.until_terminator());
  }
}

TEST_CASE("many small pieces arrive in order") {
  served s;
  signals told;
  raw_client c{s.port()};
  c.send(get("/"));
  auto v = stream(s, told);
  for (int i = 0; i < 1000; ++i)
    v.exchange->push(piece(numbered(i, i + 1, 8)));
  v.exchange->close();
  CHECK(c.until_terminator());
  CHECK(dechunk(c.text()).body == numbered(0, 1000, 8));
  CHECK(dechunk(c.text()).terminated);
}

TEST_CASE("S4 a peer that takes nothing is cut after the write timeout, and only then") {
  auto o = patient();
  o.write_timeout = 700ms;
  served s{o};
  signals told, of_reader;
  raw_client stuck{s.port(), 4096}, reader{s.port()};
  stuck.send(get("/stuck"));
  auto v = stream(s, told);
  reader.send(get("/reader"));
  auto w = stream(s, of_reader);
  auto from = std::chrono::steady_clock::now();
  for (int i = 0; i < 8; ++i)
    v.exchange->push(piece(std::string(1 << 20, 'x')));
  CHECK(told.wait_gone());
  auto took = std::chrono::steady_clock::now() - from;
  CHECK(took >= 700ms);
  CHECK(eventually([&] { return v.exchange->backlog() == 0; })); // what was pushed is let go
  w.exchange->push(piece("still here"));
  CHECK(reader.until("still here")); // silence is no stall
  CHECK(of_reader.gone() == 0);
  stuck.until_end();
  auto terminated = dechunk(stuck.text()).terminated;
  CHECK_FALSE(terminated);
  CHECK(told.gone() == 1);
}

TEST_CASE("S4 who reads slowly is not taken for one who does not read") {
  auto o = patient();
  o.write_timeout = 1s;
  served s{o};
  signals told;
  raw_client slow{s.port(), 4096}; // its kernel is far from having room for the next write
  slow.send(get("/slow"));
  auto v = stream(s, told);
  for (int i = 0; i < 8; ++i)
    v.exchange->push(piece(std::string(1 << 20, 'x')));
  CHECK(slow.dawdle(40, 100ms));
  CHECK(slow.text().size() < (1 << 20));
  CHECK(told.gone() == 0);
  CHECK(s.server().stats().stalled_total == 0);
  CHECK(told.wait_gone()); // and now it takes nothing more
  CHECK(s.server().stats().stalled_total == 1);
}

TEST_CASE("a whole answer is not cut while the peer takes some of it now and then") {
  auto o = patient();
  o.write_timeout = 1500ms;
  served s{o};
  raw_client c{s.port(), 4096};
  c.send(get("/"));
  auto v = s.next();
  std::string body(12 << 20, 'x');
  v.exchange->respond(plain(body));
  auto from = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() - from < 4s) { // slowly: longer than the write timeout
    auto have = c.text().size();
    if (!c.until_true([&] { return c.text().size() > have + (1 << 20); }, 1s))
      break;
    std::this_thread::sleep_for(450ms);
  }
  CHECK(c.until_true([&] { return c.text().size() >= body.size() + 4; }, 20s));
  auto whole = c.text().substr(c.text().find("\r\n\r\n") + 4) == body;
  CHECK(whole);
}

TEST_CASE("S8 keepalives fill silence only, and never stand inside a piece") {
  auto o = patient();
  o.keepalive_every = 600ms;
  served s{o};
  signals told;
  raw_client c{s.port()};
  c.send(get("/"));
  auto v = stream(s, told, ": k\n");
  v.exchange->push(piece("data: a\n\n"));
  // Busy for longer than the interval: no keepalive.
  std::string expected = "data: a\n\n";
  auto from = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() - from < 1500ms) {
    v.exchange->push(piece("data: b\n\n"));
    expected += "data: b\n\n";
    std::this_thread::sleep_for(20ms);
  }
  CHECK(c.until_true([&] { return dechunk(c.text()).body.size() >= expected.size(); }, 5s));
  CHECK(dechunk(c.text()).body.find(": k") == std::string::npos);
  // Quiet: they come, again and again, the first within the interval and a sweep.
  auto quiet = std::chrono::steady_clock::now();
  CHECK(c.until(": k\n"));
  CHECK(std::chrono::steady_clock::now() - quiet < 5s);
  CHECK(c.until_true([&] { return dechunk(c.text()).body.size() >= expected.size() + 12; }, 10s));
  v.exchange->push(piece("data: c\n\n"));
  v.exchange->close();
  CHECK(c.until_terminator());
  auto all = dechunk(c.text());
  CHECK(all.terminated);
  auto rest = all.body.substr(expected.size());
  while (rest.substr(0, 4) == ": k\n")
    rest.erase(0, 4);
  CHECK(rest == "data: c\n\n");
}

TEST_CASE("S8 silence is filled while the server stops, too") {
  auto o = patient();
  o.keepalive_every = 600ms;
  served s{o};
  signals told;
  raw_client c{s.port()};
  c.send(get("/"));
  auto v = stream(s, told, ": k\n");
  s.server().stop_accepting();
  CHECK(c.until_true([&] { return dechunk(c.text()).body.size() >= 12; }, 10s)); // and goes on
  v.exchange->close();
  CHECK(c.until_terminator());
}

TEST_CASE("no keepalive is written between the parts of a stream that is stuck") {
  auto o = patient();
  o.keepalive_every = 300ms;
  served s{o};
  signals told;
  raw_client c{s.port(), 4096};
  c.send(get("/"));
  auto v = stream(s, told, ": k\n");
  std::string big;
  for (int i = 0; i < 8; ++i) {
    big += std::string(1 << 20, static_cast<char>('a' + i));
    v.exchange->push(piece(std::string(1 << 20, static_cast<char>('a' + i))));
  }
  std::this_thread::sleep_for(1500ms); // several keepalives would be due
  v.exchange->close();
  CHECK(c.until_terminator(60s));
  auto all = dechunk(c.text());
  CHECK(all.terminated);
  auto whole = all.body == big;
  CHECK(whole);
}

TEST_CASE("abort leaves the body without its end") {
  served s;
  signals told;
  raw_client c{s.port()};
  c.send(get("/"));
  auto v = stream(s, told);
  v.exchange->push(piece("half of it"));
  CHECK(c.until("half of it"));
  v.exchange->abort();
  CHECK(c.until_end() != ending::open);
  CHECK_FALSE(dechunk(c.text()).terminated);
  CHECK(told.wait_gone());
  v.exchange->push(piece("nobody")); // does nothing any more
  v.exchange->close();
  v.exchange->abort();
  CHECK(told.gone() == 1);
}

TEST_CASE("S6 gone is told exactly once, whichever way the peer goes") {
  served s;
  for (auto rst : {false, true}) {
    INFO(rst);
    signals told, late;
    raw_client c{s.port()};
    c.send(get("/"));
    auto v = stream(s, told);
    v.exchange->push(piece("one"));
    CHECK(c.until("one"));
    c.leave(rst);
    CHECK(told.wait_gone());
    for (int i = 0; i < 100; ++i)
      v.exchange->push(piece("more"));
    v.exchange->close();
    late.watch(v.exchange); // who asks late is told at once
    CHECK(late.wait_gone());
    CHECK(late.gone() == 1);
    CHECK(told.gone() == 1);
    CHECK(told.drained() == 0);
  }
  CHECK(eventually([&] { return s.server().stats().connections_open == 0; }));
}

TEST_CASE("a peer that goes is noticed though it had sent far too much before") {
  served s;
  signals told;
  raw_client c{s.port()};
  c.send(get("/") + std::string(40'000, 'x'));
  auto v = s.next();
  std::this_thread::sleep_for(50ms); // let it be read
  told.watch(v.exchange);
  v.exchange->open({}, {});
  v.exchange->push(piece("one"));
  CHECK(c.until("one"));
  c.leave();
  CHECK(told.wait_gone());
}

TEST_CASE("HEAD gets the head of a stream and nothing else") {
  served s;
  signals told;
  raw_client c{s.port()};
  c.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
  auto v = s.next();
  CHECK(v.request.method == "HEAD");
  told.watch(v.exchange);
  v.exchange->open({}, ": k\n");
  v.exchange->push(piece("not for HEAD"));
  CHECK(told.wait_gone());
  v.exchange->push(piece("nor later"));
  v.exchange->close();
  CHECK(told.gone() == 1);
  c.send(get("/next"));
  s.next().exchange->respond(plain("next"));
  REQUIRE(c.until("next"));
  CHECK(c.text().substr(0, 12) == "HTTP/1.1 200");
  CHECK(c.text().find("\r\n\r\n") + 4 == c.text().rfind("HTTP/1.1 200"));
  CHECK(c.text().find("not for HEAD") + c.text().find("nor later") == 2 * c.text().npos);
}

TEST_CASE("an HTTP/1.0 client gets a stream without chunks that ends with the connection") {
  served s;
  signals told;
  raw_client c{s.port()};
  c.send("GET / HTTP/1.0\r\n\r\n");
  auto v = stream(s, told);
  v.exchange->push(piece("one "));
  for (int i = 0; i < 200; ++i)
    v.exchange->push(piece("x"));
  v.exchange->close();
  CHECK(c.until_end() == ending::closed);
  CHECK(c.text().find("chunked") == std::string::npos);
  CHECK(c.text().substr(c.text().find("\r\n\r\n") + 4) == "one " + std::string(200, 'x'));
}

TEST_CASE("close_all ends streams in order and cuts the rest") {
  served s;
  signals told, waiting;
  raw_client c{s.port()}, d{s.port()};
  c.send(get("/"));
  auto v = stream(s, told);
  v.exchange->push(piece("last words"));
  d.send(get("/"));
  auto w = s.next();
  waiting.watch(w.exchange);
  s.server().close_all();
  CHECK(c.until_end() == ending::closed);
  CHECK(dechunk(c.text()).body == "last words");
  CHECK(dechunk(c.text()).terminated);
  CHECK(d.until_end() != ending::open);
  CHECK(told.wait_gone());
  CHECK(waiting.wait_gone());
}
