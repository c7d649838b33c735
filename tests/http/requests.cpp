// Requests over real sockets: order, bodies in parts, what a client may do to a connection.

#include "served.hpp"

using namespace parlor;
using namespace parlor::testing;
using namespace std::chrono_literals;

namespace {

std::size_t count(std::string_view text, std::string_view what) {
  std::size_t n = 0;
  for (auto at = text.find(what); at != text.npos; at = text.find(what, at + 1))
    ++n;
  return n;
}

} // namespace

TEST_CASE("pipelined requests are handed over and answered one after the other") {
  served s;
  raw_client c{s.port()};
  constexpr int n = 200;
  std::string all;
  for (int i = 0; i < n; ++i)
    all += get("/" + std::to_string(i));
  c.send(all);
  std::vector<visitor> kept;
  for (int i = 0; i < n; ++i) {
    auto v = s.next();
    REQUIRE(v.request.path == "/" + std::to_string(i));
    CHECK(s.waiting() == 0); // the next one only once this one is answered
    for (auto& old : kept)   // an answer twice, or too late, is not another's answer
      old.exchange->respond(plain("late"));
    v.exchange->respond(plain("answer " + v.request.path + "\n"));
    v.exchange->respond(plain("twice"));
    if (kept.size() < 5)
      kept.push_back(std::move(v));
  }
  REQUIRE(c.until("answer /199\n"));
  CHECK(count(c.text(), "HTTP/1.1 200 OK\r\n") == n);
  CHECK(count(c.text(), "late") + count(c.text(), "twice") == 0);
  std::size_t at = 0;
  for (int i = 0; i < n; ++i) {
    auto here = c.text().find("answer /" + std::to_string(i) + "\n");
    CHECK(here > at);
    at = here;
  }
}

TEST_CASE("a pipelined request may come in parts around the answer before it") {
  served s;
  const std::string body = "0123456789";
  const std::string second =
      "POST /second HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n" + body;
  for (std::size_t cut = 0; cut <= second.size(); ++cut) { // every place it can be cut at
    INFO(cut);
    raw_client c{s.port()};
    c.send(get("/first") + second.substr(0, cut));
    auto v = s.next();
    v.exchange->respond(plain("one"));
    REQUIRE(c.until("one"));
    c.send(second.substr(cut));
    v = s.next();
    CHECK(v.request.path == "/second");
    CHECK(v.request.body == body);
    v.exchange->respond(plain("two"));
    REQUIRE(c.until("two"));
  }
}

TEST_CASE("bodies arrive whole, in parts of any size") {
  served s;
  raw_client c{s.port()};
  std::string body;
  for (int i = 0; i < 200'000; ++i)
    body += static_cast<char>('a' + i % 26);
  const std::string head = "POST / HTTP/1.1\r\nHost: a\r\n";
  c.send(head + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n");
  for (std::size_t at = 0; at < body.size(); at += 7919)
    c.send(std::string_view{body}.substr(at, 7919));
  auto v = s.next();
  auto same = v.request.body == body;
  CHECK(same);
  v.exchange->respond(plain("got it"));
  CHECK(c.until("got it"));
  c.take();
  // The same in chunks, one after the other and every byte of the frame by itself.
  c.send(head + "Transfer-Encoding: chunked\r\n\r\n");
  for (char b : std::string{"4;name=value\r\nabcd\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n"})
    c.send({&b, 1});
  v = s.next();
  CHECK(v.request.body == "abcd0123456789abcdef");
  v.exchange->respond(plain("got it"));
  CHECK(c.until("got it"));
}

TEST_CASE("H4 trailers are not headers") {
  served s;
  raw_client c{s.port()};
  c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"
         "Authorization: Bearer x\r\nHost: b\r\nX-Request-Id: forged\r\n\r\n");
  auto v = s.next();
  CHECK(v.request.get("Authorization").empty());
  CHECK(v.request.get("Host") == "a");
  CHECK(v.request.headers.size() == 2);
  CHECK(v.request.id != "forged");
  CHECK(v.request.body == "abc");
  v.exchange->respond(plain("ok"));
  CHECK(c.until("HTTP/1.1 200"));
  c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
         "Content-Length: 5\r\n\r\n"); // which would mean something else to somebody
  CHECK(c.until("HTTP/1.1 400"));
}

TEST_CASE("H6 chunk extensions and trailers without end are refused") {
  served s;
  for (auto start : {"1;", "0\r\nA: "}) {
    INFO(start);
    raw_client c{s.port()};
    c.send(std::string{"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"} + start);
    c.send(std::string(1 << 20, 'x'));
    c.until_end();
    CHECK(c.text().substr(0, 12) == "HTTP/1.1 400");
    CHECK(s.waiting() == 0);
  }
}

TEST_CASE("a refusal reaches the client though it is still sending") {
  auto o = patient();
  o.max_body = 64 * 1024;
  served s{o};
  // Bytes nobody has read would make the kernel reset the connection, and the answer be lost.
  for (auto head :
       {"Content-Length: 4000000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n3D0900\r\n"}) {
    raw_client c{s.port()};
    c.send(std::string{"POST / HTTP/1.1\r\nHost: a\r\n"} + head);
    for (int i = 0; i < 40 && c.send(std::string(100'000, 'x')); ++i)
      ;
    INFO(head);
    CHECK(c.until_end() == ending::closed);
    CHECK(c.text().substr(0, 12) == "HTTP/1.1 413");
    CHECK(c.text().find("body_too_large") != std::string::npos);
    CHECK(c.text().find("Connection: close") != std::string::npos);
    CHECK(s.waiting() == 0);
  }
  CHECK(eventually([&] { return s.server().stats().connections_open == 0; }));
}

TEST_CASE("who goes on sending after a refusal is cut in the end") {
  auto o = patient();
  o.max_body = 10;
  served s{o};
  raw_client c{s.port()};
  c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n");
  auto from = std::chrono::steady_clock::now();
  auto passed = [&] { return std::chrono::steady_clock::now() - from; };
  while (passed() < 20s && c.send(std::string(1000, 'x')))
    std::this_thread::sleep_for(20ms);
  CHECK(passed() < 15s);
  CHECK(eventually([&] { return s.server().stats().connections_open == 0; }));
}

TEST_CASE("100 Continue is said when it is waited for, and only then") {
  served s;
  const std::string head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n";
  raw_client c{s.port()};
  c.send(head + "Content-Length: 5\r\n\r\n");
  REQUIRE(c.until("HTTP/1.1 100 Continue\r\n\r\n"));
  c.take();
  c.send("hello");
  auto v = s.next();
  CHECK(v.request.body == "hello");
  v.exchange->respond(plain("done"));
  CHECK(c.until("done"));
  CHECK(c.take().substr(0, 12) == "HTTP/1.1 200");
  // The body is there already: nobody waits.
  c.send(head + "Content-Length: 5\r\n\r\nhello");
  s.next().exchange->respond(plain("done"));
  CHECK(c.until("done"));
  CHECK(c.take().substr(0, 12) == "HTTP/1.1 200");
  // HTTP/1.0 does not know it.
  raw_client old{s.port()};
  old.send("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
  CHECK_FALSE(old.until("100", 100ms));
  old.send("hello");
  s.next().exchange->respond(plain("done"));
  CHECK(old.until_end() == ending::closed);
  CHECK(old.text().substr(0, 12) == "HTTP/1.1 200");
}

TEST_CASE("HEAD is answered without a body, and what follows it has one") {
  served s;
  raw_client c{s.port()};
  c.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
  s.next().exchange->respond(plain("twelve bytes"));
  REQUIRE(c.until("\r\n\r\n"));
  CHECK(c.text().find("Content-Length: 12\r\n") != std::string::npos);
  c.send(get("/"));
  s.next().exchange->respond(plain("seen"));
  REQUIRE(c.until("seen"));
  CHECK(c.take().find("twelve") == std::string::npos);
  c.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
  s.next().exchange->respond(plain("twelve bytes"));
  REQUIRE(c.until("\r\n\r\n"));
  c.take();
  c.send("nonsense\r\n\r\n"); // not HEAD: the refusal has its body
  CHECK(c.until_end() == ending::closed);
  CHECK(c.text().find("bad_framing") != std::string::npos);
}

TEST_CASE("HTTP/1.0 ends with the answer, unless keep-alive was asked for") {
  served s;
  raw_client c{s.port()};
  c.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  s.next().exchange->respond(plain("one"));
  REQUIRE(c.until("one"));
  CHECK(c.take().find("Connection: keep-alive") != std::string::npos);
  c.send("GET / HTTP/1.0\r\n\r\n");
  s.next().exchange->respond(plain("two"));
  CHECK(c.until_end() == ending::closed);
  CHECK(c.text().find("Connection: close") != std::string::npos);
  CHECK(count(c.text(), "two") == 1);
}

TEST_CASE("Connection: close is obeyed and what follows is ignored") {
  served s;
  raw_client c{s.port()};
  c.send(get("/one", "Connection: close\r\n") + get("/two"));
  s.next().exchange->respond(plain("one"));
  CHECK(c.until_end() != ending::open);
  CHECK(count(c.text(), "HTTP/1.1 200") == 1);
  CHECK(s.waiting() == 0);
}

TEST_CASE("empty lines before a request are skipped, however many") {
  served s;
  raw_client c{s.port()};
  std::string lines;
  for (int i = 0; i < 500'000; ++i)
    lines += "\r\n";
  auto from = std::chrono::steady_clock::now();
  c.send(lines);
  c.send(get("/here"));
  CHECK(s.next().request.path == "/here");
  CHECK(std::chrono::steady_clock::now() - from < 2s); // no more work than bytes
}

TEST_CASE("half a goodbye is a goodbye: who will send no more is not there any more") {
  // The other end of a half-closed connection looks like one that has gone; a server that waits to
  // find out would go on with cancelled work.
  served s;
  signals told;
  raw_client c{s.port()};
  c.send(get("/"));
  auto v = s.next();
  told.watch(v.exchange);
  c.half_close();
  CHECK(told.wait_gone());
  v.exchange->respond(plain("nobody"));
  c.until_end();
  CHECK(told.gone() == 1);
  v = {};
  CHECK(eventually([&] { return s.server().stats().connections_open == 0; }));
}

TEST_CASE("gone is told once for each request of a connection, when it is answered") {
  served s;
  raw_client c{s.port()};
  for (int i = 0; i < 3; ++i) {
    signals told;
    c.send(get("/"));
    auto v = s.next();
    told.watch(v.exchange);
    v.exchange->respond(plain("done"));
    CHECK(c.until("done"));
    c.take();
    CHECK(told.wait_gone());
    CHECK(told.gone() == 1);
    // Of a request that is over nothing can be said any more, nor can it harm the next.
    v.exchange->abort();
    v.exchange->close();
    v.exchange->open({}, {});
  }
}

TEST_CASE("a peer that goes while its request is handled is noticed") {
  served s;
  for (auto rst : {false, true}) {
    signals told;
    raw_client c{s.port()};
    c.send(get("/"));
    auto v = s.next();
    told.watch(v.exchange);
    c.leave(rst);
    CHECK(told.wait_gone());
    v.exchange->respond(plain("nobody"));
    CHECK(told.gone() == 1);
  }
  CHECK(eventually([&] { return s.server().stats().connections_open == 0; }));
}

TEST_CASE("H11 a peer that goes is noticed though it has pipelined more than is read") {
  served s;
  std::string much;
  while (much.size() < 100'000)
    much += get("/");
  for (auto rst : {false, true}) {
    signals told;
    raw_client c{s.port()};
    c.send(much);
    auto v = s.next();
    told.watch(v.exchange);
    std::this_thread::sleep_for(700ms); // it has been looked at, and it is there
    CHECK(told.gone() == 0);
    c.leave(rst);
    CHECK(told.wait_gone());
  }
  CHECK(eventually([&] { return s.server().stats().connections_open == 0; }));
  raw_client stays{s.port()};
  stays.send(much);
  auto v = s.next();
  std::this_thread::sleep_for(700ms);
  v.exchange->open({}, {}); // what it is looked at for is over
  v.exchange->push(piece("one"));
  REQUIRE(stays.until("one"));
  std::this_thread::sleep_for(1200ms);
  v.exchange->push(piece("two"));
  REQUIRE(stays.until("two"));
}

TEST_CASE("connections beyond the limit wait until one has gone") {
  auto o = patient();
  o.max_connections = 2;
  served s{o};
  auto a = std::make_unique<raw_client>(s.port());
  raw_client b{s.port()};
  a->send(get("/a"));
  b.send(get("/b"));
  for (int i = 0; i < 2; ++i)
    s.next().exchange->respond(plain("served"));
  CHECK(a->until("served"));
  CHECK(b.until("served"));
  raw_client c{s.port()};
  c.send(get("/c"));
  CHECK_FALSE(eventually([&] { return s.waiting() > 0; }, 300ms));
  CHECK(s.server().stats().connections_open == 2);
  b.send(get("/b again")); // refused for its space, but heard
  CHECK(b.until("bad_framing"));
  a.reset();
  auto v = s.next();
  CHECK(v.request.path == "/c");
  v.exchange->respond(plain("served"));
  CHECK(c.until("served"));
}

TEST_CASE("a header of an answer cannot start another") {
  served s;
  raw_client c{s.port()};
  c.send(get("/", "X-Request-Id: bad\tid\r\n"));
  auto v = s.next();
  CHECK(v.request.id != "bad\tid");
  http::response r;
  r.headers.push_back({"X-Test", "a\r\nSet-Cookie: b"});
  v.exchange->respond(std::move(r));
  REQUIRE(c.until("\r\n\r\n"));
  CHECK(c.text().find("X-Test: aSet-Cookie: b\r\n") != std::string::npos);
  CHECK(c.text().find("X-Request-Id: " + v.request.id + "\r\n") != std::string::npos);
}
