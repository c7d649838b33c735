#include "http/framing.hpp"

#include "support/catch.hpp"

#include <string>

using namespace parlor;

namespace {
errc of(const std::string& headers, const std::string& line = "POST / HTTP/1.1") {
  return http::inspect(line + "\r\n" + headers + "\r\n", {}).error;
}
const std::string host = "Host: a\r\n";
} // namespace

TEST_CASE("H1 a Transfer-Encoding that can be understood in two ways is refused") {
  for (auto bad : {"gzip", "xchunked", "chunked, chunked", "identity, chunked, identity, chunked",
                   "\"chunked\"", "chunked;q=1", "", "\tchunked", "identity"})
    CHECK(of(host + "Transfer-Encoding: " + bad + "\r\n") == errc::bad_framing);
  CHECK(of(host + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n") ==
        errc::bad_framing);
  CHECK(of(host + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n") == errc::bad_framing);
  CHECK(of(host + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") == errc::bad_framing);
  CHECK(of(host + "Transfer-Encoding: gzip, chunked\r\n") == errc::not_implemented);
  CHECK(of(host + "Transfer-Encoding: Chunked\r\n") == errc::none);
}

TEST_CASE("H2 HTTP/1.0 has no chunks") {
  CHECK(of(host + "Transfer-Encoding: chunked\r\n", "POST / HTTP/1.0") == errc::bad_framing);
}

TEST_CASE("H3 a Content-Length is digits, once") {
  for (auto bad : {"+5", "5,5", "5, 6", "", "99999999999999999999", "-1", "0x5"})
    CHECK(of(host + "Content-Length: " + bad + "\r\n") == errc::bad_framing);
  CHECK(of(host + "Content-Length: 5\r\nContent-Length: 5\r\n") == errc::bad_framing);
  CHECK(of(host + "Content-Length: 5\r\n") == errc::none);
}

TEST_CASE("H7 one Host, origin form") {
  CHECK(of("") == errc::bad_framing);
  CHECK(of(host + host) == errc::bad_framing);
  CHECK(of("Host: a b\r\n") == errc::bad_framing);
  for (auto bad : {"GET * HTTP/1.1", "GET foo HTTP/1.1", "CONNECT a:80 HTTP/1.1",
                   "GET http://b/ HTTP/1.1", "GET  HTTP/1.1"})
    CHECK(of(host, bad) == errc::bad_framing);
}

TEST_CASE("H8 bytes that have no place in a header section") {
  CHECK(of(host + " folded\r\n") == errc::bad_framing);
  CHECK(of(host + "A : b\r\n") == errc::bad_framing);
  CHECK(of(host + "Transfer_Encoding: chunked\r\n") == errc::bad_framing);
  CHECK(of(host + std::string("A: b\0c\r\n", 8)) == errc::bad_framing);
  CHECK(of(host + "A: b\rc\r\n") == errc::bad_framing);
  CHECK(of(host + "A: b\nB: c\r\n") == errc::bad_framing);
  CHECK(of(host + "A: b\r\r\n") == errc::bad_framing); // at the very end, too
  CHECK(of(host + "A: b\x7f\r\n") == errc::bad_framing);
  CHECK(of(host + "A\x80: b\r\n") == errc::bad_framing);
  CHECK(of(host, "GET /\x80 HTTP/1.1") == errc::bad_framing);
  for (auto bad : {'\0', '\r', '\n', '\t', '\x1b'}) {
    CHECK(of(host, "GET /a" + std::string(1, bad) + "b HTTP/1.1") == errc::bad_framing);
    CHECK(of(host + "A" + std::string(1, bad) + "B: c\r\n") == errc::bad_framing);
  }
  CHECK(of(" " + host) == errc::bad_framing);
  // In a value such bytes are allowed (RFC 9110 section 5.5), and clients do name themselves so.
  CHECK(of(host + "A: b\x80\r\n") == errc::none);
}

TEST_CASE("H9 limits have names") {
  CHECK(of(host, "GET /" + std::string(9000, 'a') + " HTTP/1.1") == errc::uri_too_long);
  CHECK(of(host + "A: " + std::string(17000, 'a') + "\r\n") == errc::headers_too_large);
  CHECK(of(host + "A: " + std::string(8190, 'a') + "\r\n") == errc::headers_too_large);
  CHECK(of(host + "A: " + std::string(8189, 'a') + "\r\n") == errc::none);
  auto target = [](std::size_t bytes) {
    return of(host, "GET /" + std::string(bytes - 1, 'a') + " HTTP/1.1");
  };
  CHECK(target(8192) == errc::none);
  CHECK(target(8193) == errc::uri_too_long);
  auto fields = [](int n) {
    auto many = host;
    for (int i = 1; i < n; ++i)
      many += "A: b\r\n";
    return of(many);
  };
  CHECK(fields(100) == errc::none);
  CHECK(fields(101) == errc::headers_too_large);
  auto whole = [](std::size_t bytes) { // with all ends of lines
    auto headers = host + "A: " + std::string(8000, 'a') +
                   "\r\nB: b\r\nC: " + std::string(1000, 'c') + "\r\nD: ";
    auto rest = bytes - headers.size() - std::string_view{"POST / HTTP/1.1\r\n\r\n\r\n"}.size();
    return of(headers + std::string(rest, 'b') + "\r\n");
  };
  CHECK(whole(16 * 1024) == errc::none);
  CHECK(whole(16 * 1024 + 1) == errc::headers_too_large);
  CHECK(http::inspect("GET / HTTP/1.1\r\nHost: a\r\n", {}).length == 0);
}

TEST_CASE("H14 versions") {
  CHECK(of(host, "GET / HTTP/1.2") == errc::version_not_supported);
  CHECK(of(host, "GET / HTTP/2.0") == errc::version_not_supported);
  CHECK(http::inspect("\x16\x03\x01\x02", {}).error == errc::bad_framing);
}
