// WebSockets over time: slow readers, silent peers, and compression.

#include "frames.hpp"

#include "protocol/json.hpp"

using namespace parlor;
using namespace parlor::testing;
using namespace std::chrono_literals;
using http::close_code;

namespace {

constexpr std::string_view offer =
    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";

std::string numbered(int i, std::size_t size) {
  auto n = std::to_string(i);
  return n + std::string(size - n.size(), '.');
}

/// More than the kernel takes for a peer that does not read, as numbered messages.
constexpr int flood_pieces = 8000;
void flood(http::websocket& ours) {
  for (int i = 0; i < flood_pieces; ++i)
    ours.push(piece(numbered(i, 1000)));
}

http::websocket_options roomy() {
  http::websocket_options o;
  o.max_backlog = 64 * 1024 * 1024;
  return o;
}

} // namespace

TEST_CASE("W7 what many threads push arrives whole, each thread's in its order") {
  served s;
  linked l{s};
  constexpr int threads = 4, each = 500;
  std::vector<std::thread> pushers;
  for (int t = 0; t < threads; ++t)
    pushers.emplace_back([&, t] {
      for (int i = 0; i < each; ++i)
        l.ours->push(piece(std::to_string(t) + ' ' + std::to_string(i)));
    });
  for (int i = 0; i < 20; ++i)
    l.peer.tell(op::ping, "between"); // whose answers are written, too
  int expected[threads] = {}, pongs = 0;
  for (int n = 0; n < threads * each;) {
    auto f = l.peer.next();
    REQUIRE(f);
    if (f->opcode == op::pong) {
      ++pongs;
      continue;
    }
    REQUIRE(f->fin);
    ++n;
    auto t = f->payload[0] - '0';
    REQUIRE(f->payload.substr(2) == std::to_string(expected[t]++));
  }
  while (pongs < 20 && l.peer.next())
    ++pongs;
  CHECK(pongs == 20);
  for (auto& p : pushers)
    p.join();
  CHECK(eventually([&] { return l.ours->backlog() == 0; }));
}

TEST_CASE("a slow reader of a WebSocket holds the backlog up, and is told of when it caught up") {
  served s;
  linked l{s, roomy(), "", 4096};
  flood(*l.ours);
  CHECK(l.ours->backlog() > http::outbox::high_water);
  auto before = l.told.drained(); // the kernel may have taken the first of it at once
  std::thread reader{[&] {
    for (int i = 0; i < flood_pieces; ++i) {
      auto m = l.peer.message();
      if (m != numbered(i, 1000)) {
        CHECK(m == numbered(i, 1000));
        break;
      }
    }
  }};
  CHECK(l.told.wait_drained(before + 1));
  reader.join();
  CHECK(eventually([&] { return l.ours->backlog() == 0; }));
  CHECK(s.server().stats().bytes_sent >= flood_pieces * 1000ULL);
  CHECK(l.told.gone() == 0);
}

TEST_CASE("a peer of a WebSocket that takes nothing is cut after the write timeout") {
  auto o = patient();
  o.write_timeout = 700ms;
  served s{o};
  linked stuck{s, roomy(), "", 4096}, reader{s};
  auto from = std::chrono::steady_clock::now();
  flood(*stuck.ours);
  CHECK(stuck.told.wait_gone());
  CHECK(std::chrono::steady_clock::now() - from >= 700ms);
  CHECK(eventually([&] { return stuck.ours->backlog() == 0; }));
  CHECK(s.server().stats().stalled_total == 1);
  reader.ours->push(piece("still here"));
  CHECK(reader.peer.message() == "still here");
  CHECK(reader.told.gone() == 0);
}

TEST_CASE("a peer of a WebSocket that reads slowly is not cut") {
  auto o = patient();
  o.write_timeout = 1s;
  served s{o};
  auto terms = roomy();
  terms.ping_every = terms.pong_timeout = 500ms; // which it cannot answer before it has come
  linked slow{s, terms, "", 4096};
  flood(*slow.ours);
  CHECK(slow.peer.dawdle(40, 100ms));
  CHECK(slow.told.gone() == 0);
  CHECK(slow.told.wait_gone()); // and now it takes nothing more
  CHECK(s.server().stats().stalled_total == 1);
}

TEST_CASE("a backlog beyond the limit ends the WebSocket and is let go") {
  served s;
  http::websocket_options o;
  o.max_backlog = 1'000'000; // beyond what the kernel takes
  o.close_timeout = 300ms;
  linked l{s, o, "", 4096};
  for (int i = 0; i < 100 && l.told.gone() == 0; ++i)
    l.ours->push(piece(std::string(100'000, 'x')));
  CHECK(l.told.wait_gone());
  CHECK(eventually([&] { return l.ours->backlog() == 0; }));
  l.ours->push(piece("and then"));
  CHECK(eventually([&] { return l.ours->backlog() == 0; })); // nothing is kept for nobody
}

TEST_CASE("what is pushed before the handshake is over counts, and comes after it") {
  served s;
  inbox in;
  ws_client peer{s.port(), 4096}, flooded{s.port(), 4096};
  peer.send(asking_for_websocket());
  auto ours = s.next().exchange->upgrade({}, in.sink());
  ours->push(piece("first"));
  ours->push(piece("second"));
  peer.switched();
  CHECK(peer.message() == "first");
  CHECK(peer.message() == "second");

  http::websocket_options o;
  o.max_backlog = 1000;
  flooded.send(asking_for_websocket());
  auto e = s.next().exchange;
  auto over = e->upgrade(o, in.sink());
  over->push(piece(std::string(1001, 'x')));
  flooded.switched();
  CHECK(flooded.close_code() == 1008);
}

TEST_CASE("the next message is read when the last one has been let go") {
  served s;
  linked l{s};
  l.peer.say("one");
  auto one = l.in.hold();
  REQUIRE(one);
  for (int i = 0; i < 100; ++i)
    l.peer.say("more");
  l.ours->push(piece("meanwhile")); // which is not held up
  CHECK(l.peer.message() == "meanwhile");
  std::this_thread::sleep_for(20ms);
  CHECK(l.in.waiting() == 0);
  one.reset();
  for (int i = 0; i < 100; ++i)
    REQUIRE(l.in.next() == "more");
  // It may be let go after everything else is gone.
  l.peer.say("last");
  auto last = l.in.hold();
  REQUIRE(last);
  l.peer.leave();
  l.ours->push(piece("x"));
  l.ours->abort();
  CHECK(l.told.wait_gone());
  CHECK(*last == "last");
}

TEST_CASE("a peer that does not read its answers is not asked for more") {
  served s;
  linked l{s, roomy(), "", 4096};
  flood(*l.ours);
  // What was being read when the backlog grew still comes, but nothing after it.
  for (int i = 0; i < 50; ++i)
    l.peer.say("again");
  std::this_thread::sleep_for(50ms);
  int early = 0;
  while (l.in.waiting() > 0) {
    l.in.next();
    ++early;
    std::this_thread::sleep_for(5ms);
  }
  CHECK(early <= 1);
  for (int i = 0; i < flood_pieces; ++i)
    REQUIRE(l.peer.message() == numbered(i, 1000));
  for (; early < 50; ++early)
    REQUIRE(l.in.next() == "again");
}

TEST_CASE("a silent peer is asked whether it is there, and goes if it is not") {
  served s;
  http::websocket_options o;
  o.ping_every = 300ms;
  o.pong_timeout = 3000ms;
  linked here{s, o}, deaf{s, o};
  auto from = std::chrono::steady_clock::now();
  auto f = deaf.peer.next();
  REQUIRE(f);
  CHECK(f->opcode == op::ping);
  CHECK(std::chrono::steady_clock::now() - from >= 300ms);
  std::atomic<bool> over{false};
  int pongs = 0;
  std::thread answering{[&] {
    while (!over)
      if (auto p = here.peer.next(50ms); p && p->opcode == op::ping) {
        here.peer.tell(op::pong, p->payload);
        ++pongs;
      }
  }};
  CHECK(deaf.told.wait_gone()); // it reads, but it says nothing
  CHECK(std::chrono::steady_clock::now() - from >= 3300ms);
  CHECK(here.told.gone() == 0);
  over = true;
  answering.join();
  CHECK(pongs >= 1);
  here.peer.say("here");
  CHECK(here.in.next() == "here");
}

TEST_CASE("a message that drips in is given up") {
  served s;
  http::websocket_options o;
  o.message_timeout = 400ms;
  linked l{s, o};
  l.peer.say("done at once");
  CHECK(l.in.next() == "done at once"); // and its time does not count for the next
  std::this_thread::sleep_for(500ms);
  l.peer.say("x", {.fin = false});
  std::thread dripping{[&] {
    while (l.told.gone() == 0 && l.peer.tell(op::more, "x", {.fin = false}))
      std::this_thread::sleep_for(20ms);
  }};
  CHECK(l.peer.close_code() == 1008);
  l.peer.half_close();
  CHECK(l.told.wait_gone());
  dripping.join();
  CHECK(l.in.waiting() == 0);
}

// -- permessage-deflate

TEST_CASE("compression is agreed on when it is offered and wanted") {
  served s;
  CHECK(linked(s, {}, offer).head.find("Sec-WebSocket-Extensions: permessage-deflate") !=
        std::string::npos);
  CHECK(linked(s, {}, "").head.find("permessage-deflate") == std::string::npos);
  http::websocket_options o;
  o.deflate = false;
  CHECK(linked(s, o, offer).head.find("permessage-deflate") == std::string::npos);
  CHECK(linked(s, {}, "Sec-WebSocket-Extensions: x-unknown\r\n").head.find("Extensions") ==
        std::string::npos);
}

TEST_CASE("large messages are compressed, small ones are not") {
  served s;
  http::websocket_options o;
  o.deflate_from = 100;
  linked l{s, o, offer};
  l.ours->push(piece("small"));
  auto f = l.peer.next();
  REQUIRE(f);
  CHECK_FALSE(f->compressed);
  CHECK(f->payload == "small");
  std::string large;
  while (large.size() < 50'000)
    large += "line " + std::to_string(large.size()) + '\n';
  l.ours->push(piece(large));
  std::string data;
  auto first = true;
  do {
    f = l.peer.next();
    REQUIRE(f);
    CHECK(f->compressed == first);
    first = false;
    data += f->payload;
  } while (!f->fin);
  CHECK(data.size() < large.size() / 2);
  CHECK((inflated(data, 100'000) == large));
  CHECK(eventually([&] { return l.ours->backlog() == 0; }));
}

TEST_CASE("a message that is compressed to almost nothing stays one message") {
  served s;
  linked l{s, {}, offer};
  // Longer than is written at a time, and what is left then is too short to be compressed.
  auto large = std::string(16 * 1024, 'a') + std::string(600, 'b');
  for (int i = 0; i < 3; ++i) {
    l.ours->push(piece(large));
    std::string data;
    std::optional<frame> f;
    do {
      f = l.peer.next();
      REQUIRE(f);
      CHECK(f->compressed == data.empty());
      data += f->payload;
    } while (!f->fin);
    CHECK((inflated(data, 100'000) == large)); // by itself: it refers to nothing before it
  }
}

TEST_CASE("compressed messages are read, whole or in fragments") {
  served s;
  linked l{s, {}, offer};
  std::string text;
  while (text.size() < 60'000)
    text += "question " + std::to_string(text.size()) + ' ';
  auto data = deflated(text);
  l.peer.say(data, {.reserved = 4});
  CHECK((l.in.next() == text));
  l.peer.say(data.substr(0, 7), {.fin = false, .reserved = 4});
  l.peer.tell(op::ping, "between");
  l.peer.tell(op::more, data.substr(7, 100), {.fin = false});
  l.peer.tell(op::more, "", {.fin = false});
  l.peer.tell(op::more, data.substr(107));
  CHECK((l.in.next() == text));
  l.peer.say("plain");
  CHECK(l.in.next() == "plain");
  l.peer.say(deflated(""), {.reserved = 4});
  CHECK(l.in.next().empty());
  l.peer.say(deflated("bad \xff"), {.reserved = 4});
  CHECK(l.peer.close_code() == 1007);
}

TEST_CASE("W2 a message that swells beyond the limit is closed with 1009") {
  served s;
  auto bomb = deflated(std::string(8 * 1024 * 1024, '\0'));
  CHECK(bomb.size() < 20'000);
  for (auto fin : {true, false}) {
    linked l{s, {}, offer}; // 64 KiB
    l.peer.say(bomb, {.fin = fin, .reserved = 4});
    CHECK(l.peer.close_code() == 1009);
    CHECK(l.in.waiting() == 0);
  }
  linked fits{s, {}, offer};
  fits.peer.say(deflated(std::string(64 * 1024, ' ')), {.reserved = 4});
  CHECK(fits.in.next().size() == 64 * 1024);
}

TEST_CASE("W3 compressed nonsense ends the WebSocket and nothing else") {
  served s;
  linked other{s, {}, offer};
  for (auto bytes : {framed(op::text, "\xff\xff\xff\xff", {.reserved = 4}),
                     framed(op::text, std::string(500, '\x06'), {.reserved = 4}),
                     framed(op::ping, "x", {.reserved = 4}),
                     framed(op::text, "a", {.fin = false, .reserved = 4}) +
                         framed(op::more, "b", {.reserved = 4})}) {
    INFO(json::quoted(bytes));
    http::websocket_options o;
    o.close_timeout = 300ms;
    linked l{s, o, offer};
    l.peer.send(bytes);
    CHECK(l.told.wait_gone());
    CHECK(l.in.waiting() == 0);
  }
  // A length that no message can have, in a compressed frame: what it says need not come.
  linked l{s, {}, offer};
  l.peer.send(framed(op::text, deflated(std::string(100'000, 'x')),
                     {.reserved = 4, .says = ~std::uint64_t{0}, .length_bytes = 8}));
  CHECK(l.peer.close_code() == 1009);
  other.peer.say("well");
  CHECK(other.in.next() == "well");
}

TEST_CASE("W4 many come and go, compressed, and none is left") {
  served s;
  for (int round = 0; round < 5; ++round) {
    std::vector<std::unique_ptr<linked>> all;
    for (int i = 0; i < 50; ++i) {
      all.push_back(std::make_unique<linked>(s, http::websocket_options{}, offer));
      all.back()->ours->push(piece(std::string(20'000, 'x')));
      all.back()->peer.say(deflated("hello"), {.reserved = 4});
      REQUIRE(all.back()->in.next() == "hello");
    }
    CHECK(s.server().stats().websockets_open == 50);
    for (auto& l : all)
      l->peer.leave(true);
    for (auto& l : all)
      REQUIRE(l->told.wait_gone());
    all.clear();
    REQUIRE(eventually([&] { return s.server().stats().connections_open == 0; }));
    CHECK(s.server().stats().websockets_open == 0);
  }
}

TEST_CASE("messages of all WebSockets together have only so much room") {
  auto o = patient();
  o.body_memory = 200'004;
  served s{o};
  auto held = [&] { return s.server().stats().body_bytes.load(); };
  http::websocket_options large;
  large.max_message = 1'000'000;
  linked slow{s, large}, late{s, large}, small{s, large};
  slow.peer.tell(op::text, std::string(200'000, 'x'), {.fin = false});
  REQUIRE(eventually([&] { return held() == 200'000; }));
  std::string reason;
  late.peer.say(std::string(200'000, 'x'));
  CHECK(late.peer.close_code(&reason) == 1013);
  CHECK(reason == "too much is going on");
  small.peer.say("hello");
  CHECK(small.in.next() == "hello");
  slow.peer.tell(op::more, "x");
  CHECK(slow.in.next().size() == 200'001);
  CHECK(eventually([&] { return held() == 0; }));
  slow.peer.tell(op::text, std::string(200'000, 'x'), {.fin = false});
  REQUIRE(eventually([&] { return held() == 200'000; }));
  slow.ours->abort();
  CHECK(eventually([&] { return held() == 0; }));
}
