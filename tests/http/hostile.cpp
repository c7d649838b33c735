// What is meant to be misunderstood, over real sockets: exactly one answer, and nothing that was
// hidden in a request is ever handled.

#include "served.hpp"

using namespace parlor;
using namespace parlor::testing;
using namespace std::chrono_literals;

namespace {

const std::string smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

std::size_t answers(std::string_view text) {
  std::size_t n = 0;
  for (auto at = text.find("HTTP/1.1 "); at != text.npos; at = text.find("HTTP/1.1 ", at + 1))
    ++n;
  return n;
}

/// Sends it with something hidden behind it: that is refused with `status`, once.
void refused(served& s, const std::string& request, const std::string& status = "400") {
  raw_client c{s.port()};
  c.send(request + smuggled);
  auto end = c.until_end();
  INFO(request);
  INFO(c.text());
  CHECK(end != ending::open);
  CHECK(answers(c.text()) == 1);
  CHECK(c.text().find("Connection: close\r\n") != std::string::npos);
  CHECK(s.waiting() == 0);
  CHECK(c.text().substr(0, 13) == "HTTP/1.1 " + status + ' ');
}

std::string post(const std::string& headers, const std::string& body = "") {
  return "POST / HTTP/1.1\r\nHost: a\r\n" + headers + "\r\n" + body;
}

} // namespace

TEST_CASE("H1 whatever a Transfer-Encoding hides is not handled") {
  served s;
  const std::string te = "Transfer-Encoding: ", length = "Content-Length: 5\r\n";
  for (auto& coding : {"gzip", "xchunked", "chunked, chunked", "identity, chunked", "\"chunked\"",
                       "chunked;q=1", "\tchunked"}) {
    refused(s, post(te + coding + "\r\n" + length, "hello"));
    refused(s, post(length + te + coding + "\r\n", "hello"));
    refused(s, post(te + coding + "\r\n", "0\r\n\r\n"));
  }
  refused(s, post(te + "chunked\r\n" + te + "chunked\r\n", "0\r\n\r\n"));
  refused(s, post(te + "gzip, chunked\r\n", "0\r\n\r\n"), "501");
  CHECK(s.server().stats().requests_total == 0);
}

TEST_CASE("H2 H3 nor what a length does") {
  served s;
  refused(s, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
  for (auto bad : {"+5", "5,5", "5, 6", "", "18446744073709551616", "-1", "0x5", "5 5"})
    refused(s, post(std::string{"Content-Length: "} + bad + "\r\n", "hello"));
  refused(s, post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"));
  refused(s, post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"));
  CHECK(s.server().stats().requests_total == 0);
}

TEST_CASE("H4 trailers that are announced are refused with their announcement") {
  served s;
  refused(s, post("Transfer-Encoding: chunked\r\nTrailer: Authorization\r\n", "0\r\n\r\n"));
  CHECK(s.server().stats().requests_total == 0);
}

TEST_CASE("H5 the size of a chunk is digits and the ends of its lines are whole") {
  served s;
  for (auto bad :
       {"6_0\r\nhello\r\n0\r\n\r\n", "0x5\r\nhello\r\n0\r\n\r\n", "+5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n", "-5\r\nhello\r\n0\r\n\r\n", "\r\n5\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n", "5\nhello\r\n0\r\n\r\n", "5\r\nhello\n0\r\n\r\n",
        "5\r\nhelloX0\r\n\r\n", "5;a=b\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\n\r\n",
        "5\r\nhello\r\n0\r\n\n", "5\r\nhello\r\ng\r\n\r\n", "5 \r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0 \r\n\r\n"})
    refused(s, post("Transfer-Encoding: chunked\r\n", bad));
  CHECK(s.server().stats().requests_total == 0);
}

TEST_CASE("H5 a chunked body without its last line is waited for until its deadline") {
  auto o = patient();
  o.body_timeout = 500ms;
  served s{o};
  raw_client c{s.port()};
  c.send(post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n"));
  CHECK(c.until_end() == ending::closed);
  CHECK(c.text().substr(0, 12) == "HTTP/1.1 408");
  CHECK(s.waiting() == 0);
}

TEST_CASE("H6 a body of very small chunks costs no more than its bytes") {
  served s;
  raw_client c{s.port()};
  std::string chunks;
  for (int i = 0; i < 100'000; ++i)
    chunks += "1\r\nx\r\n";
  c.send(post("Transfer-Encoding: chunked\r\n"));
  for (int i = 0; i < 10; ++i) // in one second here; were it quadratic, it would take minutes
    REQUIRE(c.send(chunks));
  c.send("0\r\n\r\n");
  CHECK(s.next().request.body == std::string(1'000'000, 'x'));
}

TEST_CASE("H6 what is wrapped around a body buys it no time") {
  auto o = patient();
  o.body_timeout = 700ms;
  o.body_rate = 10'000;
  served s{o};
  raw_client c{s.port()};
  auto from = std::chrono::steady_clock::now();
  auto passed = [&] { return std::chrono::steady_clock::now() - from; };
  c.send(post("Transfer-Encoding: chunked\r\n"));
  const auto wrapped = "1;" + std::string(200, 'x') + "\r\nx\r\n";
  while (passed() < 10s && c.text().empty() && c.send(wrapped))
    c.until("HTTP/1.1", 5ms);
  CHECK(passed() < 5s);
  c.until("\r\n\r\n", 1s);
  CHECK(c.text().substr(0, 12) == "HTTP/1.1 408");
  CHECK(s.waiting() == 0);
}

TEST_CASE("H6 what is wrapped around a body is not much more than the body") {
  served s{patient()};
  for (auto& wrapped : {"1;" + std::string(15'000, 'x') + "\r\nx\r\n", // long extensions
                        "1;" + std::string(60, 'x') + "\r\nx\r\n"}) {  // many
    raw_client c{s.port()};
    c.send(post("Transfer-Encoding: chunked\r\n"));
    std::string many;
    while (many.size() < 100'000)
      many += wrapped;
    std::size_t sent = 0;
    while (sent < 10'000'000 && c.text().empty() && c.send(many)) {
      sent += many.size();
      c.until("HTTP/1.1", 20ms);
    }
    CHECK(c.text().substr(0, 12) == "HTTP/1.1 400");
    CHECK(sent < 5'000'000);
  }
  CHECK(s.waiting() == 0);
  raw_client c{s.port()}; // a few are nobody's trouble
  c.send(post("Transfer-Encoding: chunked\r\n"));
  c.send("5;" + std::string(12'000, 'x') + "\r\nhello\r\n0\r\n\r\n");
  CHECK(s.next().request.body == "hello");
}

TEST_CASE("H7 H8 H9 what is no request is refused, and so is what follows it") {
  served s;
  const std::string line = "GET / HTTP/1.1\r\n", host = "Host: a\r\n", end = "\r\n";
  for (auto& bad : {std::string{},
                    host + host,
                    host + "Host: b\r\n",
                    std::string{"Host: a b\r\n"},
                    " " + host,
                    host + " folded: b\r\n",
                    host + "\tfolded\r\n",
                    host + "A : b\r\n",
                    host + "A: b\rc\r\n",
                    host + "A: b\r\r\n",
                    host + "A: b\nB: c\r\n",
                    host + "A: b\n\n" + smuggled,
                    host + "A: b\x7f\r\n",
                    host + "A\x80: b\r\n",
                    host + "A\x7f: b\r\n",
                    host + std::string{"A: b\0c\r\n", 8},
                    host + std::string{"A\0: b\r\n", 7},
                    host + "Transfer_Encoding: chunked\r\n",
                    host + ": b\r\n",
                    host + "A\r\n"})
    refused(s, line + bad + end);
  for (auto& bad :
       {"GET * HTTP/1.1", "GET a:80 HTTP/1.1", "CONNECT a:80 HTTP/1.1", "GET http://b/ HTTP/1.1",
        "GET http://a/ HTTP/1.1", "GET foo HTTP/1.1", "GET /\x80 HTTP/1.1", "GET /\x7f HTTP/1.1",
        "GET /a b HTTP/1.1", "GET\t/ HTTP/1.1", "GET  / HTTP/1.1", "GET /", "GET / http/1.1",
        "GET / HTTP/1.1 "})
    refused(s, bad + end + host + end);
  refused(s, line + host + "Host : a\r\n" + end);
  refused(s, "GET /" + std::string(9'000, 'a') + " HTTP/1.1\r\n" + host + end, "414");
  refused(s, line + host + "A: " + std::string(9'000, 'a') + end + end, "431");
  refused(s, line + host + "A: " + std::string(100'000, 'a') + end + end, "431");
  std::string many;
  for (int i = 0; i < 101; ++i)
    many += "A: b\r\n";
  refused(s, line + host + many + end, "431");
  CHECK(s.server().stats().requests_total == 0);
}

TEST_CASE("H11 of a thousand pipelined requests one is handled, and a reset ends them all") {
  served s;
  signals told;
  {
    raw_client c{s.port()};
    std::string all;
    for (int i = 0; i < 1000; ++i)
      all += get("/" + std::to_string(i));
    c.send(all);
    auto v = s.next();
    CHECK(v.request.path == "/0");
    std::this_thread::sleep_for(50ms);
    CHECK(s.waiting() == 0);
    v.exchange->open({}, {}); // a stream watches its peer however much it has pipelined
    told.watch(v.exchange);
    v.exchange->push(piece("one"));
    REQUIRE(c.until("one"));
    c.leave(true);
    CHECK(told.wait_gone());
  }
  CHECK(eventually([&] { return s.server().stats().connections_open == 0; }));
  CHECK(s.server().stats().requests_total == 1);
}

TEST_CASE("H12 a body that is too large is not asked for, and other expectations fail") {
  served s;
  refused(s, post("Expect: 100-continue\r\nContent-Length: 10000000000\r\n"), "413");
  refused(s, post("Expect: x\r\nContent-Length: 5\r\n", "hello"), "417");
  refused(s, post("Expect: 100-continue\r\nExpect: x\r\nContent-Length: 5\r\n", "hello"), "417");
  refused(s, post("Expect:\r\nExpect: x\r\nContent-Length: 5\r\n", "hello"), "417");
}

TEST_CASE("H13 a method nobody knows is not looked for") {
  served s;
  refused(s, "BREW / HTTP/1.1\r\nHost: a\r\n\r\n", "501");
  refused(s, "get / HTTP/1.1\r\nHost: a\r\n\r\n", "501");
  refused(s, "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", "501");
}

TEST_CASE("H14 other protocols are sent away, an offer to change is not taken") {
  served s;
  refused(s, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  refused(s, "GET / HTTP/2.0\r\nHost: a\r\n\r\n", "505");
  refused(s, "GET / HTTP/1.2\r\nHost: a\r\n\r\n", "505");
  refused(s, std::string{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11});
  raw_client c{s.port()};
  c.send(get("/", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"));
  s.next().exchange->respond(plain("as ever"));
  CHECK(c.until("as ever"));
  CHECK(c.text().substr(0, 12) == "HTTP/1.1 200");
}

TEST_CASE("H16 where a body has no meaning there is none") {
  served s;
  for (std::string method : {"GET", "HEAD", "DELETE", "OPTIONS"}) {
    auto head = method + " / HTTP/1.1\r\nHost: a\r\n";
    raw_client c{s.port()};
    c.send(head + "Content-Length: 0\r\n\r\n");
    s.next().exchange->respond(plain(""));
    CHECK(c.until("HTTP/1.1 200"));
    refused(s, head + "Content-Length: 5\r\n\r\nhello");
    refused(s, head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
  }
}

TEST_CASE("what was read of a refused request is told to who answers") {
  served s;
  auto seen = [&](const std::string& bytes) {
    raw_client c{s.port()};
    c.send(bytes);
    c.half_close(); // a refusal is said all the same
    c.until_end();
    return s.take_refused();
  };
  auto r = seen("POST /a?b=c HTTP/1.1\r\nHost: a\r\nOrigin: o\r\nX-Request-Id: mine\r\n"
                "Content-Length: 99999999999\r\n\r\n");
  CHECK(r.method == "POST");
  CHECK(r.path == "/a");
  CHECK(r.query == "b=c");
  CHECK(r.get("Origin") == "o");
  CHECK(r.id == "mine");
  CHECK(r.remote == "127.0.0.1");
  r = seen("POST /a HTTP/1.1\r\nHost: a\r\nOrigin: o\r\nContent-Length: 5, 5\r\n\r\n");
  CHECK(r.target == "/a");
  CHECK(r.get("Origin") == "o");
  CHECK_FALSE(r.id.empty());
  r = seen("GET /a HTTP/1.1\r\nOrigin: o\r\nA: " + std::string(20'000, 'x')); // no end in sight
  CHECK(r.target == "/a");
  CHECK(r.get("Origin") == "o");
  CHECK(r.get("A").empty());
  r = seen("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK(r.method.empty());
  CHECK(r.headers.empty());
  CHECK_FALSE(r.id.empty());
  r = seen("GET /a HTTP/1.1\r\nHost: a\r\nX-Request-Id: a\x01"
           "b\r\n\r\n");
  CHECK(r.id.find('\x01') == std::string::npos);
}
