// UTF-8 in pieces: every split gives the verdict of the whole, and no later than it must.

#include "support/catch.hpp"

#include "http/utf8_check.hpp"
#include "protocol/json.hpp"

#include <string>

using parlor::http::utf8_check;

namespace {

bool sound(std::string_view text) {
  utf8_check c;
  return c.take(text) && c.whole();
}

/// Bytes until it is known to be bad; npos: never.
std::size_t known_bad_after(std::string_view text) {
  utf8_check c;
  for (std::size_t i = 0; i < text.size(); ++i)
    if (!c.take(text.substr(i, 1)))
      return i + 1;
  return text.npos;
}

std::string encoded(unsigned point, int bytes) { // also longer than needed
  if (bytes == 1)
    return {static_cast<char>(point)};
  std::string out;
  for (int i = bytes - 1; i > 0; --i, point >>= 6)
    out.insert(out.begin(), static_cast<char>(0x80 | (point & 0x3f)));
  auto mark = 0xf00U >> bytes & 0xff;
  return static_cast<char>(mark | point) + out;
}

} // namespace

TEST_CASE("every code point is UTF-8 in its shortest form and in no other") {
  for (unsigned point = 0; point <= 0x110000; point += point < 0x900 ? 1 : 61) {
    auto shortest = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    auto is = point <= 0x10ffff && (point < 0xd800 || point > 0xdfff);
    for (int bytes = shortest; bytes <= 4; ++bytes) {
      auto text = encoded(point, bytes);
      INFO(point << " in " << bytes);
      REQUIRE(sound(text) == (is && bytes == shortest));
      REQUIRE(sound("12345678" + text + "abcdefghijkl") == (is && bytes == shortest));
    }
  }
}

TEST_CASE("all of two bytes, and the edges of three, as the other check has them") {
  for (unsigned a = 0; a < 256; ++a)
    for (unsigned b = 0; b < 256; ++b)
      for (std::string_view end : {"", "\x80", "\xbf\x80", "\x80\x80\x80", "a"}) {
        auto text = std::string{static_cast<char>(a), static_cast<char>(b)} += end;
        REQUIRE(sound(text) == parlor::json::valid_utf8(text));
      }
}

TEST_CASE("text that cannot become UTF-8 any more is known by its first wrong byte") {
  CHECK(known_bad_after("ab\xff") == 3);
  CHECK(known_bad_after("\xc0") == 1);
  CHECK(known_bad_after("\xf5") == 1);
  CHECK(known_bad_after("\xe0\x9f\xbf") == 2);
  CHECK(known_bad_after("\xed\xa0\x80") == 2);
  CHECK(known_bad_after("\xf0\x8f\xbf\xbf") == 2);
  CHECK(known_bad_after("\xf4\x90\x80\x80") == 2); // Autobahn 6.4.1
  CHECK(known_bad_after("\xe4\xbd\x41") == 3);
  CHECK(known_bad_after("\xe4\xbd") == std::string_view::npos);
  utf8_check c;
  CHECK(c.take("\xe4\xbd"));
  CHECK_FALSE(c.whole());
}
