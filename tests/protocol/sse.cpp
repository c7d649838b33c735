#include "protocol/sse.hpp"

#include "support/catch.hpp"

using namespace parlor;

namespace {
std::string shown(const std::vector<sse::frame>& frames) {
  std::string out;
  for (auto& f : frames)
    out += f.event + "|" + f.data + "|" + f.id + "\n";
  return out;
}
const std::string recorded = "\xef\xbb\xbf: OPENROUTER PROCESSING\n\ndata:x\r\ndata: y\r\n\r\nid: "
                             "7\revent: e\rdata: \xe4\xbd\xa0\r\r"
                             "retry: 5\n\ndata\n\nunknown: 1\ndata: [DONE]\n\ndata: unfinished";
} // namespace

TEST_CASE("U3 U4 a stream means the same however it is split") {
  sse::decoder whole{1024};
  std::vector<sse::frame> expected;
  REQUIRE(whole.feed(recorded, expected));
  REQUIRE(shown(expected) == "message|x\ny|\ne|\xe4\xbd\xa0|7\nmessage||7\nmessage|[DONE]|7\n");
  REQUIRE(whole.mid_event());
  for (std::size_t cut = 0; cut <= recorded.size(); ++cut) {
    sse::decoder d{1024};
    std::vector<sse::frame> frames;
    d.feed(std::string_view{recorded}.substr(0, cut), frames);
    d.feed(std::string_view{recorded}.substr(cut), frames);
    REQUIRE(shown(frames) == shown(expected));
  }
  sse::decoder bytewise{1024};
  std::vector<sse::frame> frames;
  for (char c : recorded)
    bytewise.feed({&c, 1}, frames);
  REQUIRE(shown(frames) == shown(expected));
}

TEST_CASE("an event without end is given up") {
  sse::decoder d{16};
  std::vector<sse::frame> frames;
  REQUIRE_FALSE(d.feed("data: 0123456789abcdef", frames));
  REQUIRE_FALSE(d.feed("\n\n", frames));
}
