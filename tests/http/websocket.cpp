// WebSockets frame by frame: what is refused, with which code, and what is said to the end.

#include "frames.hpp"

#include "protocol/json.hpp"

using namespace parlor;
using namespace parlor::testing;
using namespace std::chrono_literals;
using http::close_code;

namespace {

http::websocket_options small() {
  http::websocket_options o;
  o.max_message = 1000;
  return o;
}

/// The code that closes a connection after these bytes.
unsigned answered(served& s, std::string_view bytes, const http::websocket_options& o = small(),
                  std::string_view headers = "") {
  linked l{s, o, headers};
  l.peer.send(bytes);
  auto code = l.peer.close_code();
  CHECK(l.in.waiting() == 0);
  l.peer.leave();
  CHECK(l.told.wait_gone());
  return code;
}

} // namespace

TEST_CASE("W1 a handshake is answered with its proof") {
  served s;
  linked l{s};
  CHECK(l.head.find("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n") != std::string::npos);
  CHECK(l.head.find("X-Request-Id: req_") != std::string::npos);
  CHECK(l.head.find("Sec-WebSocket-Extensions") == std::string::npos);
  CHECK(l.head.find("Beast") == std::string::npos);
  CHECK(eventually([&] { return s.server().stats().websockets_open == 1; }));
  CHECK(s.server().stats().connections_open == 1);
  l.ours->close();
  CHECK(l.peer.close_code() == 1000);
  l.peer.tell(op::bye, closing(1000));
  CHECK(l.peer.until_end() == ending::closed);
  CHECK(l.told.wait_gone());
  CHECK(l.told.gone() == 1);
  CHECK(eventually([&] { return s.server().stats().websockets_open == 0; }));
  l.ours.reset();
  CHECK(eventually([&] { return s.server().stats().connections_open == 0; }));
}

TEST_CASE("W6 what is no handshake is refused, and the connection lives") {
  served s;
  auto version = "Sec-WebSocket-Version: 13\r\n", upgrade = "Upgrade: websocket\r\n";
  auto key = "Sec-WebSocket-Key: " + sample_key + "\r\n";
  auto connection = "Connection: Upgrade\r\n";
  struct {
    std::string headers;
    int status;
  } cases[] = {
      {"", 426},
      {std::string{connection} + upgrade + key, 426},
      {std::string{connection} + upgrade + key + "Sec-WebSocket-Version: 8\r\n", 426},
      {std::string{connection} + upgrade + key + version + version, 426},
      {std::string{upgrade} + key + version, 426},
      {std::string{connection} + "Upgrade: h2c\r\n" + key + version, 426},
      {std::string{connection} + upgrade + version, 400},
      {std::string{connection} + upgrade + version + "Sec-WebSocket-Key: short\r\n", 400},
      {std::string{connection} + upgrade + version + key + key, 400},
  };
  for (auto& c : cases) {
    INFO(c.headers);
    raw_client peer{s.port()};
    peer.send(get("/", c.headers));
    signals told;
    inbox in;
    auto ours = s.next().exchange->upgrade({}, in.sink());
    told.watch(ours);
    ours->push(piece("never"));
    CHECK(told.wait_gone());
    REQUIRE(peer.until("\r\n\r\n"));
    CHECK(peer.text().substr(9, 3) == std::to_string(c.status));
    if (c.status != 426)
      continue;
    CHECK(peer.text().find("Sec-WebSocket-Version: 13\r\n") != std::string::npos);
    CHECK(peer.text().find("Connection: Upgrade\r\n") != std::string::npos);
    CHECK(peer.text().find("upgrade_required") != std::string::npos);
    peer.send(get("/again"));
    CHECK(s.next().request.path == "/again");
  }
  CHECK(s.server().stats().websockets_open == 0);
}

TEST_CASE("a handler may answer a handshake as any request") {
  served s;
  raw_client peer{s.port()};
  peer.send(asking_for_websocket("Origin: http://evil.example\r\n"));
  auto v = s.next();
  CHECK(v.request.get("Origin") == "http://evil.example");
  v.exchange->respond(plain("no", 403));
  REQUIRE(peer.until("no"));
  CHECK(peer.text().substr(0, 12) == "HTTP/1.1 403");
  inbox in;
  signals told;
  told.watch(v.exchange->upgrade({}, in.sink())); // too late
  CHECK(told.wait_gone());
}

TEST_CASE("frames sent before the answer to the handshake are refused") {
  served s;
  raw_client peer{s.port()};
  peer.send(asking_for_websocket() + framed(op::text, "early"));
  auto v = s.next();
  inbox in;
  signals told;
  told.watch(v.exchange->upgrade({}, in.sink()));
  CHECK(peer.until_end() == ending::closed);
  CHECK(peer.text().substr(0, 12) == "HTTP/1.1 400");
  CHECK(told.wait_gone());
  CHECK(in.waiting() == 0);
}

TEST_CASE("W1 texts of every length arrive, both ways") {
  served s;
  http::websocket_options o;
  o.max_message = 300'000;
  linked l{s, o};
  for (std::size_t n : {1U, 125U, 126U, 127U, 16'384U, 16'385U, 65'535U, 65'536U, 300'000U}) {
    INFO(n);
    std::string text;
    while (text.size() < n)
      text += std::to_string(text.size()) + ' ';
    text.resize(n);
    l.peer.say(text);
    CHECK((l.in.next() == text));
    l.ours->push(piece(text));
    CHECK((l.peer.message() == text));
  }
  l.peer.say("");
  CHECK(l.in.next().empty());
  l.peer.say("\xe4\xbd\xa0\xf0\x9f\x98\x80\xef\xbf\xbf");
  CHECK(l.in.next() == "\xe4\xbd\xa0\xf0\x9f\x98\x80\xef\xbf\xbf");
}

TEST_CASE("W1 a message may come in fragments, with control frames between them") {
  served s;
  linked l{s, small()};
  l.peer.say("one ", {.fin = false});
  l.peer.tell(op::ping, "are you there");
  l.peer.tell(op::more, "", {.fin = false});
  l.peer.tell(op::pong, "nobody asked");
  l.peer.tell(op::more, "two\xe4\xbd", {.fin = false}); // half a character
  l.peer.tell(op::ping);
  l.peer.tell(op::more, "\xa0");
  CHECK(l.in.next() == "one two\xe4\xbd\xa0");
  auto first = l.peer.next();
  REQUIRE(first);
  CHECK(first->opcode == op::pong);
  CHECK(first->payload == "are you there");
  auto second = l.peer.next();
  REQUIRE(second);
  CHECK(second->opcode == op::pong);
  CHECK(second->payload.empty());
  // Byte by byte it is the same.
  for (char c : framed(op::text, "slow ", {.fin = false}) + framed(op::more, "message"))
    l.peer.send({&c, 1});
  CHECK(l.in.next() == "slow message");
  // Two in one segment.
  l.peer.send(framed(op::text, "a") + framed(op::text, "b"));
  CHECK(l.in.next() == "a");
  CHECK(l.in.next() == "b");
}

TEST_CASE("W1 W3 W6 what breaks the protocol is closed with 1002") {
  served s;
  auto first = framed(op::text, "a", {.fin = false});
  for (auto bytes : {
           framed(op::text, "x", {.masked = false}),
           framed(op::text, "x", {.reserved = 1}),
           framed(op::text, "x", {.reserved = 2}),
           framed(op::text, "x", {.reserved = 4}), // compressed, though that was not agreed
           framed(op::ping, "x", {.reserved = 4}),
           framed(3, "x"),
           framed(7, "x"),
           framed(11, "x"),
           framed(15, "x"),
           framed(op::ping, "x", {.fin = false}),
           framed(op::ping, std::string(126, 'x')),
           framed(op::bye, std::string(126, 'x')),
           framed(op::more, "x"),
           first + framed(op::text, "x"),
           framed(op::text, "x", {.length_bytes = 2}),
           framed(op::text, "x", {.length_bytes = 8}),
           framed(op::bye, "x"),          // half a code
           framed(op::bye, closing(999)), // no such codes
           framed(op::bye, closing(1005)),
           framed(op::bye, closing(1006)),
       }) {
    INFO(json::quoted(bytes));
    CHECK(answered(s, bytes) == 1002);
  }
}

TEST_CASE("W1 a continuation after the last fragment is closed with 1002") {
  served s;
  linked l{s, small()};
  l.peer.send(framed(op::text, "a", {.fin = false}) + framed(op::more, "b") +
              framed(op::more, "c"));
  CHECK(l.in.next() == "ab");
  CHECK(l.peer.close_code() == 1002);
}

TEST_CASE("W1 text that is not UTF-8 is closed with 1007, as soon as it is seen") {
  served s;
  for (auto bad : {"\xff", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "ok\x80", "\xe4\xbd"})
    CHECK(answered(s, framed(op::text, bad)) == 1007);
  CHECK(answered(s, framed(op::text, "\xe4", {.fin = false}) + framed(op::more, "x")) == 1007);
  // The rest of the message need not come.
  CHECK(answered(s, framed(op::text, "good \xff", {.fin = false})) == 1007);
}

TEST_CASE("a binary message is closed with 1003, before it is whole") {
  served s;
  std::string reason;
  linked l{s, small()};
  l.peer.tell(op::binary, "some bytes", {.fin = false});
  CHECK(l.peer.close_code(&reason) == 1003);
  CHECK_FALSE(reason.empty());
  CHECK(l.in.waiting() == 0);
}

TEST_CASE("W3 W6 what is too big is closed with 1009, by what its frame says") {
  served s;
  CHECK(answered(s, framed(op::text, "", {.says = 1001, .length_bytes = 2})) == 1009);
  for (auto length : {std::uint64_t{1} << 32, std::uint64_t{1} << 63, ~std::uint64_t{0}})
    CHECK(answered(s, framed(op::text, "x", {.says = length, .length_bytes = 8})) == 1009);
  auto part = [](unsigned opcode, std::size_t n) {
    return framed(opcode, std::string(n, 'x'), {.fin = false});
  };
  CHECK(answered(s, part(op::text, 600) + part(op::more, 600)) == 1009);
  auto wraps = framed(op::more, "x", {.says = ~std::uint64_t{0} - 300, .length_bytes = 8});
  CHECK(answered(s, part(op::text, 600) + wraps) == 1009);
  // A limit is a limit: a message of just that size is one.
  linked l{s, small()};
  l.peer.say(std::string(1000, 'x'));
  CHECK(l.in.next().size() == 1000);
}

TEST_CASE("W6 a message in fragments of one byte is bounded as any other") {
  served s;
  std::string bytes = framed(op::text, "x", {.fin = false});
  for (int i = 0; i < 100'000; ++i)
    bytes += framed(op::more, i % 2 == 0 ? "" : "x", {.fin = false});
  auto o = small();
  o.max_message = 50'001; // just what is there
  linked l{s, o};
  l.peer.send(bytes);
  CHECK(l.in.waiting() == 0);
  l.peer.tell(op::more);
  CHECK(l.in.next() == std::string(50'001, 'x'));
  o.max_message = 50'000;
  CHECK(answered(s, bytes, o) == 1009);
}

TEST_CASE("W6 pings are answered, but not without end") {
  served s;
  auto o = small();
  o.max_pings = 20;
  linked l{s, o};
  for (int i = 0; i < 20; ++i)
    l.peer.tell(op::ping, std::to_string(i));
  for (int i = 0; i < 20; ++i) {
    auto f = l.peer.next();
    REQUIRE(f);
    CHECK(f->opcode == op::pong);
    CHECK(f->payload == std::to_string(i));
  }
  l.peer.say("still here");
  CHECK(l.in.next() == "still here");
  l.peer.tell(op::ping);
  CHECK(l.peer.close_code() == 1008);
  l.peer.leave();
  CHECK(l.told.wait_gone());
}

TEST_CASE("a peer that closes is answered with its own code") {
  served s;
  for (auto [sent, code] : {std::pair{closing(1000), 1000U},
                            {closing(1001, "bye"), 1001U},
                            {closing(3000), 3000U},
                            {closing(4999), 4999U},
                            {"", 1000U}}) {
    linked l{s, small()};
    l.peer.tell(op::bye, sent);
    CHECK(l.peer.close_code() == code);
    CHECK(l.peer.until_end() == ending::closed);
    l.peer.leave();
    CHECK(l.told.wait_gone());
    CHECK(l.told.gone() == 1);
  }
}

TEST_CASE("a closing handshake ends with what was pushed before it, and why") {
  served s;
  for (auto code : {close_code::going_away, close_code::policy, close_code::internal,
                    close_code::restart, close_code::too_big}) {
    linked l{s, small()};
    l.ours->push(piece("last words"));
    l.ours->close(code, "because " + std::string(200, 'y'));
    l.ours->close(); // the first counts
    l.ours->push(piece("too late"));
    CHECK(l.peer.message() == "last words");
    std::string reason;
    CHECK(l.peer.close_code(&reason) == static_cast<unsigned>(code));
    CHECK(reason == ("because " + std::string(200, 'y')).substr(0, 123));
    l.peer.say("still talking");
    l.peer.tell(op::bye, closing(1000));
    CHECK(l.peer.until_end() == ending::closed);
    CHECK(l.told.wait_gone());
    CHECK(l.in.waiting() == 0);
    CHECK(l.ours->backlog() == 0);
  }
}

TEST_CASE("W5 a peer that never answers a close is cut") {
  served s;
  auto o = small();
  o.close_timeout = 300ms;
  auto silent = [&](linked& l) {
    CHECK(l.told.wait_gone());
    CHECK(l.peer.until_end() != ending::open);
  };
  SECTION("ours") {
    linked l{s, o};
    l.ours->close(close_code::going_away, "");
    CHECK(l.peer.close_code() == 1001);
    silent(l);
  }
  SECTION("one that was its own fault") {
    linked l{s, o};
    l.peer.tell(3, "x");
    CHECK(l.peer.close_code() == 1002);
    silent(l);
  }
  SECTION("its own") {
    linked l{s, o};
    l.peer.tell(op::bye, closing(1000));
    CHECK(l.peer.close_code() == 1000);
    silent(l);
  }
  SECTION("one that keeps talking") {
    linked l{s, o};
    l.ours->close();
    while (l.told.gone() == 0 && l.peer.say("and another thing"))
      std::this_thread::sleep_for(1ms);
    silent(l);
  }
}

TEST_CASE("when the server goes, clients are told to come back") {
  served s;
  linked l{s};
  s.server().close_all();
  CHECK(l.peer.close_code() == 1012);
  l.peer.tell(op::bye, closing(1012));
  CHECK(l.peer.until_end() == ending::closed);
  CHECK(l.told.wait_gone());
}

TEST_CASE("a peer that breaks off is gone, once") {
  served s;
  for (auto rst : {false, true}) {
    linked l{s};
    l.peer.say("half", {.fin = false});
    l.peer.leave(rst);
    CHECK(l.told.wait_gone());
    l.ours->push(piece("nobody hears"));
    l.ours->close();
    l.ours->abort();
    CHECK(eventually([&] { return l.ours->backlog() == 0; }));
    CHECK(l.told.gone() == 1);
    signals late;
    late.watch(l.ours);
    CHECK(late.wait_gone());
  }
}

TEST_CASE("an aborted WebSocket is reset without a closing frame") {
  served s;
  linked l{s};
  l.ours->abort();
  CHECK(l.peer.until_end() == ending::reset);
  CHECK(l.peer.close_code() == 0);
  CHECK(l.told.wait_gone());
}
