// What comes after a stream on the same connection, and what a stream costs on the wire.

#include "served.hpp"

#include <sys/socket.h>

#include <cstring>

using namespace parlor;
using namespace parlor::testing;
using namespace std::chrono_literals;

namespace {

void stream_once(served& s, std::string_view text) {
  auto v = s.next();
  v.exchange->open({}, {});
  v.exchange->push(piece(std::string{text}));
  v.exchange->close();
}

/// The server's socket that talks to whoever has this port.
int accepted_socket(unsigned short peers_port, unsigned short listening) {
  for (int fd = 0; fd < 1024; ++fd) {
    sockaddr_in peer{}, own{};
    socklen_t a = sizeof peer, b = sizeof own;
    if (getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &a) == 0 &&
        getsockname(fd, reinterpret_cast<sockaddr*>(&own), &b) == 0 &&
        ntohs(own.sin_port) == listening && ntohs(peer.sin_port) == peers_port)
      return fd;
  }
  return -1;
}

int option(int fd, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  return getsockopt(fd, level, name, &value, &size) == 0 ? value : -1;
}

} // namespace

TEST_CASE("after a stream the connection serves the next request") {
  served s;
  raw_client c{s.port()};
  for (int i = 0; i < 50; ++i) {
    INFO(i);
    auto text = "stream " + std::to_string(i);
    c.send(get("/"));
    stream_once(s, text);
    REQUIRE(c.until_terminator());
    CHECK(dechunk(c.text()).body == text);
    CHECK(c.text().find("Connection: keep-alive\r\n") != std::string::npos);
    c.take();
    c.send(get("/"));
    s.next().exchange->respond(plain("whole"));
    REQUIRE(c.until("whole"));
    c.take();
  }
  CHECK(s.server().stats().connections_total == 1);
}

TEST_CASE("requests pipelined behind a stream wait for its end") {
  served s;
  raw_client c{s.port()};
  c.send(get("/1") + get("/2"));
  auto v = s.next();
  v.exchange->open({}, {});
  v.exchange->push(piece("one"));
  REQUIRE(c.until("one"));
  c.send(get("/3").substr(0, 7)); // the rest comes when the stream is over
  std::this_thread::sleep_for(50ms);
  CHECK(s.waiting() == 0);
  v.exchange->close();
  REQUIRE(c.until_terminator());
  auto w = s.next();
  CHECK(w.request.path == "/2");
  w.exchange->respond(plain("two"));
  REQUIRE(c.until("two"));
  c.send(get("/3").substr(7));
  w = s.next();
  CHECK(w.request.path == "/3");
  w.exchange->respond(plain("three"));
  CHECK(c.until("three"));
}

TEST_CASE("nothing said to a stream that is over stands in the next answer") {
  served s;
  raw_client c{s.port()};
  c.send(get("/old"));
  auto old = s.next();
  old.exchange->open({}, ": k\n");
  old.exchange->push(piece("old"));
  old.exchange->close();
  old.exchange->push(piece("after its end"));
  REQUIRE(c.until_terminator());
  CHECK(dechunk(c.take()).body == "old");
  signals late;
  for (auto streamed : {true, false}) {
    c.send(get("/new"));
    auto v = s.next();
    auto disturb = [&] {
      old.exchange->push(piece("forged"));
      old.exchange->close();
      old.exchange->abort();
      CHECK(old.exchange->backlog() == 0);
    };
    disturb();
    if (streamed) {
      v.exchange->open({}, {});
      disturb();
      v.exchange->push(piece("new"));
      disturb();
      REQUIRE(c.until("new"));
      v.exchange->close();
      REQUIRE(c.until_terminator());
      CHECK(dechunk(c.take()).body == "new");
    } else {
      v.exchange->respond(plain("new"));
      REQUIRE(c.until("new"));
      CHECK(c.take().find("forged") == std::string::npos);
    }
  }
  late.watch(old.exchange);
  CHECK(late.wait_gone());
}

TEST_CASE("a connection ends with its stream if the client said so, or is older than chunks") {
  served s;
  for (auto request : {get("/", "Connection: close\r\n"), std::string{"GET / HTTP/1.0\r\n\r\n"},
                       std::string{"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"}}) {
    INFO(request);
    raw_client c{s.port()};
    c.send(request);
    stream_once(s, "all of it");
    CHECK(c.until_end() == ending::closed);
    CHECK(c.text().find("Connection: close\r\n") != std::string::npos);
    CHECK(c.text().find("all of it") != std::string::npos);
  }
}

TEST_CASE("who sends more than fits during a stream gets all of it, and then the end") {
  served s;
  signals told;
  raw_client c{s.port()};
  c.send(get("/"));
  auto v = s.next();
  told.watch(v.exchange);
  v.exchange->open({}, {});
  v.exchange->push(piece("one"));
  REQUIRE(c.until("one"));
  REQUIRE(c.send(std::string(1 << 20, 'x')));
  v.exchange->push(piece("two"));
  REQUIRE(c.until("two"));
  v.exchange->close();
  CHECK(c.until_end() == ending::closed); // no reset, which could have cost the end
  CHECK(c.text().find("\r\n0\r\n\r\n") != std::string::npos); // a refusal may follow
  CHECK(told.wait_gone());
  CHECK(s.waiting() == 0);
}

TEST_CASE("a connection idle after a stream is closed at the idle timeout") {
  auto o = patient();
  o.idle_timeout = 500ms;
  o.keepalive_every = 300ms;
  served s{o};
  raw_client c{s.port()};
  c.send(get("/"));
  auto v = s.next();
  v.exchange->open({}, ": k\n");
  v.exchange->push(piece("one"));
  v.exchange->close();
  REQUIRE(c.until_terminator());
  auto size = c.text().size();
  CHECK(c.until_end() == ending::closed);
  CHECK(c.text().size() == size); // no keepalive of the stream that is over
}

TEST_CASE("what is said in one turn of the loop leaves in one write") {
  // One thread, and it is kept busy while the answer is given: all of it is one turn.
  served s{patient(), 1};
  raw_client c{s.port()};
  for (int i = 0; i < 20; ++i) {
    c.send(get("/"));
    auto v = s.next();
    s.in_one_turn([&] {
      v.exchange->open({}, {});
      v.exchange->push(piece("start "));
      v.exchange->push(piece("middle "));
      v.exchange->push(piece("done"));
      v.exchange->close();
    });
    REQUIRE(c.until_terminator());
    CHECK(dechunk(c.text()).body == "start middle done");
    CHECK(c.reads() == 1); // head, pieces and terminator
    c.take();
    c.send(get("/"));
    v = s.next();
    s.in_one_turn([&] { v.exchange->open({}, {}), v.exchange->push(piece("start")); });
    REQUIRE(c.until("start\r\n"));
    CHECK(c.reads() == 1);
    s.in_one_turn([&] { v.exchange->push(piece("done")), v.exchange->close(); });
    REQUIRE(c.until_terminator());
    CHECK(c.reads() == 2); // the last piece with the terminator
    c.take();
  }
}

TEST_CASE("S5 an accepted socket notices a peer that has vanished, without a call of its own") {
  auto [patience, kernel] =
      GENERATE(std::pair{5s, 30'000}, std::pair{30s, 32'000}, std::pair{600s, 602'000});
  auto o = patient();
  o.write_timeout = patience;
  served s{o};
  raw_client c{s.port()};
  c.send(get("/"));
  s.next().exchange->respond(plain("here"));
  REQUIRE(c.until("here"));
  auto fd = accepted_socket(c.port(), s.port());
  REQUIRE(fd >= 0);
  CHECK(option(fd, SOL_SOCKET, SO_KEEPALIVE) == 1);
  CHECK(option(fd, IPPROTO_TCP, TCP_NODELAY) == 1);
  CHECK(option(fd, IPPROTO_TCP, TCP_KEEPIDLE) == 10);
  CHECK(option(fd, IPPROTO_TCP, TCP_KEEPINTVL) == 5);
  CHECK(option(fd, IPPROTO_TCP, TCP_KEEPCNT) == 3);
  CHECK(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT) == kernel); // it is never the first to cut
}
