// How much of the server one client may have: connections at once, and of one connection requests
// and time.

#include "served.hpp"

using namespace parlor;
using namespace parlor::testing;
using namespace std::chrono_literals;

namespace {

bool says_close(const raw_client& c) {
  return c.text().find("Connection: close\r\n") != std::string::npos;
}

/// A client of that address, that has been accepted.
std::unique_ptr<raw_client> one_of(served& s, const char* address) {
  auto n = s.server().stats().connections_total.load();
  auto c = std::make_unique<raw_client>();
  c->come_from(address);
  c->connect_to(s.port());
  REQUIRE(eventually([&] { return s.server().stats().connections_total > n; }));
  return c;
}

/// Asks, is answered, and can ask again.
bool is_served(served& s, raw_client& c) {
  c.take();
  c.send(get("/"));
  s.next().exchange->respond(plain("served"));
  return c.until("served") && !says_close(c);
}

http::server_options counting(std::size_t most) {
  auto o = patient();
  o.max_connections_per_client = most;
  o.many_clients.clear();
  return o;
}

} // namespace

TEST_CASE("H10 a connection is closed with the last answer that it may have") {
  auto o = patient();
  o.max_requests = 3;
  served s{o};
  raw_client c{s.port()};
  CHECK(is_served(s, c));
  CHECK(is_served(s, c));
  CHECK_FALSE(is_served(s, c)); // but answered
  CHECK(c.text().find("served") != std::string::npos);
  CHECK(c.until_end() == ending::closed);
  CHECK(eventually([&] { return s.server().stats().connections_open == 0; }));
}

TEST_CASE("H10 what is pipelined behind the last request is not done") {
  auto o = patient();
  o.max_requests = 2;
  served s{o};
  raw_client c{s.port()};
  c.send(get("/1") + get("/2") + get("/3"));
  for (auto path : {"/1", "/2"}) {
    auto v = s.next();
    CHECK(v.request.path == path);
    v.exchange->respond(plain("served"));
  }
  CHECK(c.until_end() == ending::closed);
  CHECK(s.waiting() == 0);
  CHECK(s.server().stats().requests_total == 2);
}

TEST_CASE("H10 a connection that is old is closed with its next answer") {
  auto o = patient();
  o.max_age = 400ms;
  served s{o};
  raw_client c{s.port()};
  CHECK(is_served(s, c));
  c.take();
  std::this_thread::sleep_for(450ms);
  CHECK_FALSE(is_served(s, c));
  CHECK(c.until_end() == ending::closed);
}

TEST_CASE("H10 a stream lives longer than its connection may be used for requests") {
  auto o = patient();
  o.max_age = 100ms;
  o.max_requests = 1;
  served s{o};
  raw_client c{s.port()};
  c.send(get("/"));
  auto v = s.next();
  v.exchange->open({}, {});
  std::this_thread::sleep_for(1s); // two sweeps
  v.exchange->push(piece("still there"));
  CHECK(c.until("still there"));
  v.exchange->close();
  CHECK(c.until("0\r\n\r\n"));
  CHECK(c.until_end() == ending::closed);
}

TEST_CASE("H10 one client has only so many connections, the others are not touched") {
  served s{counting(2)};
  auto a = one_of(s, "127.0.0.1"), b = one_of(s, "127.0.0.1"), over = one_of(s, "127.0.0.1");
  CHECK(is_served(s, *a));
  over->send(get("/"));
  CHECK(over->until("too_many_connections"));
  CHECK(over->text().substr(0, 12) == "HTTP/1.1 429");
  CHECK(over->until_end() == ending::closed);
  CHECK(s.waiting() == 0);
  CHECK(is_served(s, *b));
  CHECK(is_served(s, *one_of(s, "127.0.0.2")));

  a.reset(); // room again
  REQUIRE(eventually([&] { return s.server().stats().connections_open == 1; }));
  auto next = one_of(s, "127.0.0.1");
  CHECK(is_served(s, *next));
  CHECK(is_served(s, *next));
}

TEST_CASE("H10 who comes one too many and asks when another has gone is served") {
  served s{counting(1)};
  auto a = one_of(s, "127.0.0.1"), b = one_of(s, "127.0.0.1");
  a.reset();
  REQUIRE(eventually([&] { return s.server().stats().connections_open == 1; }));
  CHECK(is_served(s, *b));
}

TEST_CASE("H10 far too many are closed at once, without a word") {
  served s{counting(2)};
  std::vector<std::unique_ptr<raw_client>> four;
  for (int i = 0; i < 4; ++i)
    four.push_back(one_of(s, "127.0.0.1"));
  for (int i = 0; i < 20; ++i) {
    raw_client c{s.port()};
    CHECK(c.until_end() != ending::open);
    CHECK(c.text().empty());
  }
  CHECK(s.server().stats().turned_away_total == 20);
  CHECK(s.server().stats().connections_total == 4);
  CHECK(is_served(s, *one_of(s, "127.0.0.2")));
  four.clear(); // and none of them is remembered
  REQUIRE(eventually([&] { return s.server().stats().connections_open == 0; }));
  auto a = one_of(s, "127.0.0.1"), b = one_of(s, "127.0.0.1");
  CHECK(is_served(s, *a));
  CHECK(is_served(s, *b));
}

TEST_CASE("H10 a proxy's connections are those of many clients") {
  auto o = counting(1);
  o.many_clients = http::networks_of("127.0.0.2");
  served s{o};
  std::vector<std::unique_ptr<raw_client>> many;
  for (int i = 0; i < 5; ++i)
    many.push_back(one_of(s, "127.0.0.2"));
  for (auto& c : many)
    CHECK(is_served(s, *c));
  auto a = one_of(s, "127.0.0.1"), b = one_of(s, "127.0.0.1");
  b->send(get("/"));
  CHECK(b->until("too_many_connections"));
}

TEST_CASE("networks are read, and have the addresses that begin with them") {
  auto in = [](const char* network, const char* address) {
    auto a = boost::asio::ip::make_address(address);
    auto all = http::networks_of(network);
    REQUIRE_FALSE(all.empty());
    return std::any_of(all.begin(), all.end(), [&](auto& n) { return n.has(a); });
  };
  CHECK(in("10.1.0.0/16", "10.1.255.255"));
  CHECK_FALSE(in("10.1.0.0/16", "10.2.0.0"));
  CHECK(in("10.1.2.128/25", "10.1.2.200"));
  CHECK_FALSE(in("10.1.2.128/25", "10.1.2.127"));
  CHECK(in("192.0.2.1", "192.0.2.1"));
  CHECK(in("192.0.2.1", "::ffff:192.0.2.1"));
  CHECK_FALSE(in("192.0.2.1", "192.0.2.0"));
  CHECK(in("0.0.0.0/0", "203.0.113.9"));
  CHECK_FALSE(in("0.0.0.0/0", "2001:db8::1"));
  CHECK(in("::/0", "203.0.113.9"));
  CHECK(in("2001:db8::/32", "2001:db8:ffff::1"));
  CHECK_FALSE(in("2001:db8::/32", "2001:db9::1"));
  for (auto a : {"127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1"})
    CHECK(in("loopback", a));
  for (auto a : {"10.9.9.9", "172.31.0.1", "192.168.1.1", "169.254.1.1", "fd00::1", "fe80::1"})
    CHECK((in("private", a) && !in("loopback", a)));
  for (auto a : {"9.255.255.255", "172.32.0.1", "100.64.0.1", "128.0.0.1", "::2", "2001:db8::1"})
    CHECK_FALSE((in("private", a) || in("loopback", a)));
  for (auto bad : {"", "local", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "10.0.0.0/8x", "10.0.0",
                   "::/129", "fe80::1%lo", " 10.0.0.1", "example.org"})
    CHECK(http::networks_of(bad).empty());
}

TEST_CASE("whoever has one address of a /64 has them all, and they are one client") {
  auto of = [](const char* a) { return http::client_of(boost::asio::ip::make_address(a)); };
  CHECK(of("2001:db8:1:2::1") == of("2001:db8:1:2:ffff::9"));
  CHECK(of("2001:db8:1:2::1") != of("2001:db8:1:3::1"));
  CHECK(of("192.0.2.1") == of("::ffff:192.0.2.1"));
  CHECK(of("192.0.2.1") != of("192.0.2.2"));
  CHECK(of("::1") != 0);
  CHECK(of("0.0.0.0") != 0);
}
