// The frames of a WebSocket without a socket. The cases are those of the Autobahn test suite, by
// its numbers; each is told whole, byte by byte, and split at every place.

#include "frames.hpp"

#include "http/websocket_frames.hpp"
#include "protocol/json.hpp"

#include <zlib.h>

#include <algorithm>

using namespace parlor;
using namespace parlor::testing;
using http::frame_reader;
using heard = frame_reader::heard;

namespace {

struct rules : frame_reader::rules {
  rules(std::size_t most = 1 << 20, bool compressed = false)
      : frame_reader::rules{most, compressed} {}
};

std::string note(frame_reader& r, heard what) {
  switch (what) {
  case heard::text:
    return "text " + r.take_text();
  case heard::ping:
    return "ping " + std::string{r.control()};
  case heard::pong:
    return "pong " + std::string{r.control()};
  case heard::close: {
    auto reason = r.control().size() > 2 ? " " + std::string{r.control().substr(2)} : "";
    return "close " + std::to_string(static_cast<unsigned>(r.goodbye())) + reason;
  }
  case heard::fault:
    return "fault " + std::to_string(static_cast<unsigned>(r.why()));
  case heard::nothing:
    break;
  }
  return {};
}

/// What is heard of the bytes when they come in these pieces, up to a close or a fault.
std::vector<std::string> told(const std::vector<std::string>& pieces, const rules& how) {
  frame_reader r{how};
  std::vector<std::string> out;
  for (auto piece : pieces)
    for (std::span<char> rest{piece}; !rest.empty();) {
      auto what = r.take(rest);
      if (what == heard::nothing) {
        REQUIRE(rest.empty());
        break;
      }
      out.push_back(note(r, what));
      if (what == heard::close || what == heard::fault)
        return out;
    }
  if (r.at_rest())
    out.push_back("rest");
  return out;
}

std::vector<std::string> told(const std::string& bytes, const rules& how = {}) {
  auto whole = told(std::vector{bytes}, how);
  std::vector<std::string> one_by_one;
  for (char c : bytes)
    one_by_one.emplace_back(1, c);
  CHECK((told(one_by_one, how) == whole));
  auto step = std::max<std::size_t>(1, bytes.size() / 300);
  for (std::size_t i = 1; i < bytes.size(); i += step)
    if (told({bytes.substr(0, i), bytes.substr(i)}, how) != whole) {
      INFO("split at " << i << " of " << json::quoted(bytes.substr(0, 100)));
      CHECK(false);
      break;
    }
  return whole;
}

using list = std::vector<std::string>;

/// By a client with a window of so many bits: it has nothing else of what came before.
std::string inflated_by_window(std::string data, int bits) {
  data += std::string{"\0\0\xff\xff", 4};
  z_stream z{};
  inflateInit2(&z, -bits);
  z.next_in = reinterpret_cast<Bytef*>(data.data());
  z.avail_in = static_cast<uInt>(data.size());
  std::string out;
  char few[50];
  do {
    z.next_out = reinterpret_cast<Bytef*>(few);
    z.avail_out = sizeof few;
    auto r = inflate(&z, Z_SYNC_FLUSH);
    out.append(few, sizeof few - z.avail_out);
    if (r != Z_OK && r != Z_BUF_ERROR)
      out += "<broken>";
    if (r != Z_OK)
      break;
  } while (true);
  inflateEnd(&z);
  return out;
}

constexpr twist part{.fin = false};

} // namespace

TEST_CASE("Autobahn 1.1: texts of every length, 1.2: nothing binary") {
  for (std::size_t n : {0U, 125U, 126U, 127U, 128U, 65'535U, 65'536U}) {
    auto text = std::string(n, '*');
    CHECK((told(framed(op::text, text)) == list{"text " + text, "rest"}));
  }
  CHECK(told(framed(op::binary, "")) == list{"fault 1003"});
  CHECK(told(framed(op::binary, std::string(126, '\xfe'), part)) == list{"fault 1003"});
}

TEST_CASE("Autobahn 2: pings and pongs") {
  CHECK(told(framed(op::ping, "")) == list{"ping ", "rest"});
  CHECK(told(framed(op::ping, "Hello, world!")) == list{"ping Hello, world!", "rest"});
  auto bytes = std::string{"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", 8}; // 2.3: no text
  CHECK(told(framed(op::ping, bytes)) == list{"ping " + bytes, "rest"});
  auto most = std::string(125, '\xfe'); // 2.4
  CHECK(told(framed(op::ping, most)) == list{"ping " + most, "rest"});
  CHECK(told(framed(op::ping, most + "x")) == list{"fault 1002"});
  CHECK(told(framed(op::pong, "unsolicited") + framed(op::ping, "2")) ==
        list{"pong unsolicited", "ping 2", "rest"});
  std::string ten;
  list expected;
  for (int i = 0; i < 10; ++i) {
    ten += framed(op::ping, std::to_string(i));
    expected.push_back("ping " + std::to_string(i));
  }
  expected.emplace_back("rest");
  CHECK(told(ten) == expected);
}

TEST_CASE("Autobahn 3: reserved bits") {
  auto before = framed(op::text, "a");
  for (unsigned bits = 1; bits <= 7; ++bits)
    for (unsigned kind : {op::more, op::text, op::binary, op::bye, op::ping, op::pong}) {
      CHECK(told(before + framed(kind, "b", {.reserved = bits})) == list{"text a", "fault 1002"});
      // With compression agreed on it is only the first bit, of the first frame of a message.
      if (bits != 4 || (kind != op::text && kind != op::binary))
        CHECK(told(framed(kind, "b", {.reserved = bits}), {1000, true}) == list{"fault 1002"});
    }
  CHECK(told(framed(op::text, "a", part) + framed(op::more, "b", {.reserved = 4}), {1000, true}) ==
        list{"fault 1002"});
}

TEST_CASE("Autobahn 4: reserved opcodes") {
  auto before = framed(op::text, "a");
  for (unsigned kind : {3U, 4U, 5U, 6U, 7U, 11U, 12U, 13U, 14U, 15U})
    for (auto payload : {"", "x"}) {
      CHECK(told(framed(kind, payload)) == list{"fault 1002"});
      CHECK(told(before + framed(kind, payload) + framed(op::ping, "")) ==
            list{"text a", "fault 1002"});
      CHECK(told(framed(op::text, "a", part) + framed(kind, payload)) == list{"fault 1002"});
    }
}

TEST_CASE("Autobahn 5: fragments") {
  CHECK(told(framed(op::ping, "a", part) + framed(op::more, "b")) == list{"fault 1002"});
  CHECK(told(framed(op::pong, "a", part) + framed(op::more, "b")) == list{"fault 1002"});
  CHECK(told(framed(op::text, "one", part) + framed(op::more, "two")) ==
        list{"text onetwo", "rest"});
  CHECK(told(framed(op::text, "one", part) + framed(op::ping, "p") + framed(op::more, "two")) ==
        list{"ping p", "text onetwo", "rest"});
  for (auto end : {part, twist{}}) { // 5.9 to 5.14
    CHECK(told(framed(op::more, "x", end) + framed(op::text, "a")) == list{"fault 1002"});
    CHECK(told(framed(op::text, "a") + framed(op::more, "x", end)) == list{"text a", "fault 1002"});
  }
  CHECK(told(framed(op::text, "1", part) + framed(op::more, "2") + framed(op::more, "3", part) +
             framed(op::text, "4")) == list{"text 12", "fault 1002"});
  CHECK(told(framed(op::text, "1", part) + framed(op::text, "2")) == list{"fault 1002"}); // 5.18
  CHECK(told(framed(op::text, "f1", part) + framed(op::more, "f2", part) + framed(op::ping, "p1") +
             framed(op::more, "f3", part) + framed(op::more, "f4", part) + framed(op::ping, "p2") +
             framed(op::more, "f5")) ==
        list{"ping p1", "ping p2", "text f1f2f3f4f5", "rest"}); // 5.19, 5.20
  CHECK(told(framed(op::text, "", part) + framed(op::more, "", part) + framed(op::more, "")) ==
        list{"text ", "rest"}); // 6.1
}

TEST_CASE("Autobahn 6: UTF-8 over any borders") {
  std::string kosme = "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5";
  CHECK(told(framed(op::text,
                    "Hello-\xc2\xb5@\xc3\x9f\xc3\xb6\xc3\xa4\xc3\xbc\xc3\xa0\xc3\xa1-UTF-8!!"))
            .size() == 2);
  std::string bytes;
  for (std::size_t i = 0; i < kosme.size(); ++i) // 6.2.3: a byte a frame
    bytes +=
        framed(i == 0 ? op::text : op::more, kosme.substr(i, 1), {.fin = i + 1 == kosme.size()});
  CHECK(told(bytes) == list{"text " + kosme, "rest"});
  for (auto bad : {"\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc0\xaf", "\xf8\x88\x80\x80\x80", "\x80",
                   "\xce\xba\xe1\xbd", "\xff", "\xe0\x80\x80"}) {
    CHECK(told(framed(op::text, kosme + bad)) == list{"fault 1007"});
    CHECK(told(framed(op::text, kosme, part) + framed(op::more, bad)) == list{"fault 1007"});
  }
  // 6.4: at once, though its frame and its message go on.
  auto cut = framed(op::text, kosme + "\xf4\x90", {.fin = false, .says = 100});
  CHECK(told(cut) == list{"fault 1007"});
  // A character is not ended by a control frame, nor by an empty one.
  CHECK(told(framed(op::text, "\xce", part) + framed(op::ping, "x") + framed(op::more, "", part) +
             framed(op::more, "\xba")) == list{"ping x", "text \xce\xba", "rest"});
}

TEST_CASE("Autobahn 7: closing") {
  CHECK(told(framed(op::bye, "")) == list{"close 1000"});
  CHECK(told(framed(op::bye, "x")) == list{"fault 1002"});
  CHECK(told(framed(op::bye, closing(1000))) == list{"close 1000"});
  auto longest = std::string(123, '*'); // 7.3.5
  CHECK(told(framed(op::bye, closing(1000, longest))) == list{"close 1000 " + longest});
  CHECK(told(framed(op::bye, closing(1000, longest + "*"))) == list{"fault 1002"});
  CHECK(told(framed(op::bye, closing(1000, "\xce\xba\xe1\xbd"))) == list{"fault 1007"}); // 7.5.1
  for (unsigned code = 0; code < 5100; ++code) {                                         // 7.7, 7.9
    auto sound = (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
                 (code >= 3000 && code < 5000);
    auto expected = sound ? "close " + std::to_string(code) : "fault 1002";
    auto said = told(std::vector{framed(op::bye, closing(code))}, {});
    if (said != list{expected})
      CHECK(said == list{expected});
  }
  CHECK(told(framed(op::bye, closing(65535))) == list{"fault 1002"}); // 7.13
  CHECK(told(framed(op::text, "a", part) + framed(op::bye, closing(1000)) +
             framed(op::more, "b")) == list{"close 1000"}); // 7.1.5
}

TEST_CASE("Autobahn 9: limits, told by what the header says, before anything is kept") {
  CHECK((told(framed(op::text, std::string(1000, 'x')), {1000}).size() == 2));
  for (std::uint64_t n : {std::uint64_t{1001}, std::uint64_t{1} << 20, std::uint64_t{1} << 62,
                          std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
    auto header = framed(op::text, "", {.says = n}).substr(0, n > 65535 ? 10 : 4); // no mask yet
    CHECK(told(header, {1000}) == list{"fault 1009"});
    if (n > 2000)
      CHECK(told(header, {1000, true}) == list{"fault 1009"});
  }
  auto first = framed(op::text, std::string(600, 'x'), part);
  CHECK(told(first + framed(op::more, std::string(400, 'x')), {1000}).size() == 2);
  CHECK(told(first + framed(op::more, "", {.says = 401}), {1000}) == list{"fault 1009"});
  CHECK(told(first + framed(op::more, "", {.says = ~std::uint64_t{0} - 599}), {1000}) ==
        list{"fault 1009"});
}

TEST_CASE("frames of a client are masked, and their length is as short as it can be") {
  CHECK(told(framed(op::text, "x", {.masked = false})) == list{"fault 1002"});
  CHECK(told(framed(op::ping, "", {.masked = false})) == list{"fault 1002"});
  for (auto [n, bytes] : {std::pair{0U, 2}, {125U, 2}, {0U, 8}, {125U, 8}, {126U, 8}, {65'535U, 8}})
    CHECK(told(framed(op::text, std::string(n, 'x'), {.length_bytes = bytes})) ==
          list{"fault 1002"});
  CHECK(told(framed(op::ping, "x", {.length_bytes = 2})) == list{"fault 1002"});
}

// -- sections 12 and 13: compression

TEST_CASE("Autobahn 12: compressed messages, in frames of any size") {
  std::string text;
  while (text.size() < 131'072)
    text += "line " + std::to_string(text.size() * 7919) + "\n";
  text.resize(131'072);
  for (std::size_t n :
       {0U, 16U, 64U, 256U, 1024U, 4096U, 8192U, 16'384U, 32'768U, 65'536U, 131'072U}) {
    auto data = deflated(text.substr(0, n));
    auto expected = list{"text " + text.substr(0, n), "rest"};
    CHECK((told({framed(op::text, data, {.reserved = 4})}, {1 << 20, true}) == expected));
    auto cut = data.size() / 3;
    CHECK((told({framed(op::text, data.substr(0, cut), {.fin = false, .reserved = 4}) +
                 framed(op::more, data.substr(cut))},
                {1 << 20, true}) == expected));
  }
  auto plain_and_not = framed(op::text, "plain") +
                       framed(op::text, deflated("short"), {.reserved = 4}) +
                       framed(op::text, "", {.reserved = 4}) + framed(op::text, "end");
  CHECK(told(plain_and_not, {1000, true}) ==
        list{"text plain", "text short", "text ", "text end", "rest"});
}

TEST_CASE("examples of RFC 7692 section 7.2.3") {
  auto compressed = [](std::string_view data) {
    return told(framed(op::text, data, {.reserved = 4}), {1000, true});
  };
  using namespace std::string_view_literals;
  auto hello = list{"text Hello", "rest"};
  CHECK(compressed("\xf2\x48\xcd\xc9\xc9\x07\x00"sv) == hello);                         // one block
  CHECK(compressed("\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"sv) == hello);         // stored
  CHECK(compressed("\xf3\x48\xcd\xc9\xc9\x07\x00\x00"sv) == hello);                     // final
  CHECK(compressed("\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"sv) == hello); // two
  CHECK(compressed("\x00"sv) == list{"text ", "rest"});
}

TEST_CASE("what is compressed badly, or swells, is refused") {
  auto compressed = [](std::string_view data) {
    return told(framed(op::text, data, {.reserved = 4}), {1000, true});
  };
  CHECK(compressed("\xff\xff\xff\xff") == list{"fault 1007"});
  auto sound = deflated("a text that is long enough to be cut");
  CHECK(compressed(sound.substr(0, sound.size() / 2)) == list{"fault 1007"});
  CHECK(compressed(deflated("bad \xff")) == list{"fault 1007"});
  CHECK((compressed(deflated(std::string(1000, 'x'))) ==
         list{"text " + std::string(1000, 'x'), "rest"}));
  CHECK(compressed(deflated(std::string(1001, 'x'))) == list{"fault 1009"});
  // A message refers to nothing that came before it.
  auto once = framed(op::text, deflated("abcdefgh"), {.reserved = 4});
  CHECK(told(once + once, {1000, true}) == list{"text abcdefgh", "text abcdefgh", "rest"});
}

TEST_CASE("compression is agreed on as RFC 7692 section 7.1 has it") {
  auto answer = [](std::string_view offers) {
    auto t = http::agree_on_deflate(offers);
    return t ? t->answer + " " + std::to_string(t->window_bits) : "";
  };
  const std::string both =
      "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
  CHECK(answer("permessage-deflate") == both + " 15");
  CHECK(answer("permessage-deflate; client_max_window_bits") == both + " 15"); // ws, Chromium
  CHECK(answer("Permessage-Deflate; client_max_window_bits=10; server_no_context_takeover") ==
        both + " 15");
  CHECK(answer("permessage-deflate; server_max_window_bits=10") ==
        both + "; server_max_window_bits=10 10");
  CHECK(answer("permessage-deflate; server_max_window_bits=8") ==
        both + "; server_max_window_bits=8 9");
  CHECK(answer("permessage-deflate; server_max_window_bits=\"12\"") ==
        both + "; server_max_window_bits=12 12");
  for (auto bad : {"", "x-webkit-deflate-frame", "permessage-deflate; what",
                   "permessage-deflate; server_max_window_bits",
                   "permessage-deflate; server_max_window_bits=7",
                   "permessage-deflate; server_max_window_bits=16",
                   "permessage-deflate; server_max_window_bits=010",
                   "permessage-deflate; client_max_window_bits=1x",
                   "permessage-deflate; server_no_context_takeover=1",
                   "permessage-deflate; client_max_window_bits; client_max_window_bits",
                   "permessage-deflate; server_max_window_bits=", "permessage-deflate;",
                   "permessage-deflate what", "permessage-deflate; server_max_window_bits=\"12",
                   ", ,", "\""}) {
    INFO(bad);
    CHECK(answer(bad).empty());
  }
  // The next offer is looked at.
  CHECK(answer("x; y=1, permessage-deflate; what, permessage-deflate; server_max_window_bits=9") ==
        both + "; server_max_window_bits=9 9");
}

TEST_CASE("Autobahn 13: what is deflated fits into the window that was asked for") {
  std::string text;
  for (unsigned i = 0, x = 1; text.size() < 70'000; ++i)
    text +=
        i % 3 != 0 ? "the same again and again " : std::to_string(x = x * 1664525U + 1013904223U);
  for (auto bits : {8, 9, 12, 15}) {
    auto terms = http::agree_on_deflate("permessage-deflate; server_max_window_bits=" +
                                        std::to_string(bits));
    REQUIRE(terms);
    auto data = http::deflated(text, terms->window_bits);
    CHECK(data.size() < text.size() / 2);
    CHECK((inflated_by_window(data, bits) == text));
  }
}

// -- ours

TEST_CASE("headers of ours") {
  auto header = [](http::opcode kind, bool last, bool compressed, std::uint64_t size) {
    char bytes[http::max_frame_header];
    return std::string(bytes, http::put_frame_header(bytes, kind, last, compressed, size));
  };
  using http::opcode;
  CHECK(header(opcode::text, true, false, 0) == std::string{"\x81\x00", 2});
  CHECK(header(opcode::text, true, true, 125) == "\xc1\x7d");
  CHECK(header(opcode::more, false, false, 126) == std::string{"\x00\x7e\x00\x7e", 4});
  CHECK(header(opcode::text, false, false, 65'535) == "\x01\x7e\xff\xff");
  CHECK(header(opcode::more, true, false, 65'536) ==
        std::string{"\x80\x7f\x00\x00\x00\x00\x00\x01\x00\x00", 10});
  CHECK(http::control_frame(opcode::pong, "abc") == "\x8a\x03"
                                                    "abc");
  CHECK(http::close_frame(http::close_code::going_away, "") == "\x88\x02\x03\xe9");
  // A reason is cut between characters: 122 bytes are left of these.
  std::string reason;
  while (reason.size() < 200)
    reason += "\xc3\xa4";
  auto cut = http::close_frame(http::close_code::normal, reason);
  CHECK(cut.size() == 2 + 2 + 122);
  CHECK(cut.substr(4) == reason.substr(0, 122));
}
