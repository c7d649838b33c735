#include "protocol/sse.hpp"

#include "support/catch.hpp"

#include <algorithm>

using namespace parlor;

namespace {
/// What a decoder was heard to say.
struct heard {
  std::string all;
  std::size_t frames = 0;
  sse::frame_sink sink = [this](const sse::frame& f) {
    ++frames;
    for (auto part : {f.event, f.data, f.id})
      all.append(part) += '|';
    all.back() = '\n';
  };
  heard() = default;
  heard(const heard&) = delete;
};
/// So that nobody can go on reading it.
bool feed(sse::decoder& d, std::string_view bytes, heard& into) {
  std::string lent{bytes};
  auto fits = d.feed(lent, into.sink);
  std::fill(lent.begin(), lent.end(), '#');
  return fits;
}
const std::string recorded = "\xef\xbb\xbf: OPENROUTER PROCESSING\n\ndata:x\r\ndata: y\r\n\r\nid: "
                             "7\revent: e\rdata: \xe4\xbd\xa0\r\r"
                             "retry: 5\n\ndata\n\nunknown: 1\ndata: [DONE]\n\ndata: unfinished";
} // namespace

TEST_CASE("U3 U4 a stream means the same however it is split") {
  sse::decoder whole{1024};
  heard expected;
  REQUIRE(feed(whole, recorded, expected));
  REQUIRE(expected.all == "message|x\ny|\ne|\xe4\xbd\xa0|7\nmessage||7\nmessage|[DONE]|7\n");
  REQUIRE(whole.mid_event());
  for (std::size_t cut = 0; cut <= recorded.size(); ++cut) {
    sse::decoder d{1024};
    heard frames;
    feed(d, std::string_view{recorded}.substr(0, cut), frames);
    feed(d, std::string_view{recorded}.substr(cut), frames);
    REQUIRE(frames.all == expected.all);
  }
  sse::decoder bytewise{1024};
  heard frames;
  for (char c : recorded)
    feed(bytewise, {&c, 1}, frames);
  REQUIRE(frames.all == expected.all);
}

TEST_CASE("U3 forty kilobytes split at each of their bytes") {
  std::string stream = "\xef\xbb\xbf";
  const auto filling = "data: " + std::string(1'000, 'x') + "\n\n";
  for (int i = 0; stream.size() < 40 * 1024; ++i)
    stream += filling + recorded.substr(3, recorded.size() - 19) + (i % 2 == 0 ? "\r" : "\r\n") +
              (i % 3 == 0 ? "data: \xf0\x9f\x8e\x89\xe4\xbd\xa0\xe5\xa5\xbd\n\n" : "data:\r\n\r\n");
  sse::decoder whole{2048};
  heard expected;
  REQUIRE(feed(whole, stream, expected));
  REQUIRE(expected.frames > 100);
  for (std::size_t at = 0; at <= stream.size(); ++at) {
    sse::decoder d{2048};
    heard frames;
    d.feed(std::string_view{stream}.substr(0, at), frames.sink);
    d.feed(std::string_view{stream}.substr(at), frames.sink);
    if (frames.all != expected.all)
      FAIL("split at " << at);
  }
  sse::decoder bytewise{2048};
  heard frames;
  for (char c : stream)
    feed(bytewise, {&c, 1}, frames);
  CHECK(frames.all == expected.all);
}

TEST_CASE("U4 line ends, fields and comments as WHATWG has them") {
  auto of = [](std::string_view text) {
    sse::decoder d{1024};
    heard frames;
    feed(d, text, frames);
    return frames.all;
  };
  for (std::string end : {"\n", "\r", "\r\n"})
    CHECK(of("data: a" + end + "data:b" + end + "data:  c" + end + end) == "message|a\nb\n c|\n");
  CHECK(of("data: a\r\ndata: b\n\rdata: c\r\r\n") == "message|a\nb|\nmessage|c|\n");
  CHECK(of("data\n\n") == "message||\n");
  CHECK(of("data:\ndata:\n\n") == "message|\n|\n");
  CHECK(of("event: x\n\ndata: a\n\n") == "message|a|\n"); // an event without data is none
  CHECK(of("event: x\ndata: a\n\ndata: b\n\n") == "x|a|\nmessage|b|\n");
  CHECK(of("id: 7\n\ndata: a\n\n") == "message|a|7\n");
  CHECK(of("id: 7\ndata: a\n\nid\ndata: b\n\n") == "message|a|7\nmessage|b|\n");
  CHECK(of({"id: 7\nid: 8\0\ndata: a\n\n", 22}) == "message|a|7\n");
  CHECK(of(": data: x\n:\n\n") == "");
  CHECK(of(" data: x\ndata : y\nDATA: z\nretry: 5\nretry: x\n\n") == "");
  CHECK(of("\xef\xbb\xbf"
           "data: a\n\n\xef\xbb\xbf"
           "data: b\n\n") == "message|a|\n");
  CHECK(of("data: a\n") == "");
  CHECK(of("data: a: b\n\n") == "message|a: b|\n");
}

TEST_CASE("U8 an event without end is given up") {
  sse::decoder d{16};
  heard frames;
  REQUIRE_FALSE(feed(d, "data: 0123456789abcdef", frames));
  REQUIRE_FALSE(feed(d, "\n\n", frames));
  CHECK(frames.frames == 0);
}
