// What goes to a peer, however little of it the kernel takes at a time.

#include "frames.hpp"

#include "http/frame_writer.hpp"

#include <random>

using namespace parlor;
using namespace parlor::testing;
using http::frame_writer;

namespace {

/// A kernel that takes as much as it is told to.
struct wire {
  explicit wire(frame_writer& w) : writer{w} {}
  frame_writer& writer;
  std::string bytes;
  std::size_t done = 0; // of messages, as the writer says

  std::size_t take(std::size_t most) {
    frame_writer::gathered g;
    writer.gather(g);
    std::size_t n = 0;
    for (std::size_t i = 0; i < g.count && n < most; ++i) {
      auto taken = std::min(most - n, g.parts[i].iov_len);
      bytes.append(static_cast<const char*>(g.parts[i].iov_base), taken);
      n += taken;
    }
    done += writer.took(n);
    return n;
  }
  void take_all(std::size_t at_a_time) {
    while (!writer.empty())
      REQUIRE(take(at_a_time) > 0);
  }
};

struct seen {
  unsigned opcode;
  bool fin, compressed;
  std::string payload;
};

std::vector<seen> frames_of(const std::string& bytes) {
  std::vector<seen> out;
  for (std::size_t at = 0; at < bytes.size();) {
    auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes.at(at + i)); };
    std::size_t head = 2, size = byte(1);
    if (size >= 126) {
      auto n = size == 126 ? 2U : 8U;
      size = 0;
      for (std::size_t i = 0; i < n; ++i)
        size = size << 8 | byte(2 + i);
      head += n;
    }
    REQUIRE(at + head + size <= bytes.size());
    out.push_back({byte(0) & 15U, (byte(0) & 0x80) != 0, (byte(0) & 0x40) != 0,
                   bytes.substr(at + head, size)});
    at += head + size;
  }
  return out;
}

std::string joined(const std::vector<seen>& frames) {
  std::string out;
  for (auto& f : frames)
    if (f.opcode < op::bye)
      out += f.payload;
  return out;
}

std::string counted(std::size_t size) {
  std::string out;
  while (out.size() < size)
    out += std::to_string(out.size()) + ' ';
  out.resize(size);
  return out;
}

} // namespace

TEST_CASE("messages arrive the same, however much is taken at a time") {
  std::vector<http::chunk> messages;
  std::size_t size = 0;
  for (std::size_t n : {1U, 125U, 126U, 65'535U, 65'536U, 65'537U, 200'000U, 3U}) {
    messages.push_back(piece(counted(n)));
    size += n;
  }
  for (int i = 0; i < 100; ++i) // more than one write has parts for
    messages.push_back(piece(std::to_string(1000 + i))), size += 4;
  std::string first;
  for (std::size_t at_a_time : {1U << 30, 1U, 7U, 4096U, 65'546U}) {
    frame_writer w{0, 0};
    w.load(messages);
    wire k{w};
    k.take_all(at_a_time);
    CHECK(k.done == size);
    if (first.empty())
      first = k.bytes;
    CHECK((k.bytes == first));
  }
  auto frames = frames_of(first);
  std::string all;
  for (auto& m : messages)
    all += *m;
  CHECK((joined(frames) == all));
  CHECK(frames.size() == messages.size() + 1 + 3); // 65 537 and 200 000 are in fragments
}

TEST_CASE("bytes are shared and not copied") {
  frame_writer w{0, 0};
  auto text = piece(counted(5000));
  w.load({text});
  frame_writer::gathered g;
  w.gather(g);
  REQUIRE(g.count == 2);
  CHECK(g.parts[1].iov_base == text->data());
  CHECK(g.parts[1].iov_len == text->size());
}

TEST_CASE("control frames go between frames and never into one") {
  std::mt19937 random{7};
  for (int round = 0; round < 200; ++round) {
    frame_writer w{0, 0};
    wire k{w};
    w.load({piece(counted(300)), piece(counted(130'000)), piece("end")});
    int asked = 0;
    while (!w.empty()) {
      if (random() % 3 == 0 && asked < 20)
        w.interject(http::control_frame(http::opcode::pong, std::to_string(asked++)));
      k.take(random() % (random() % 2 == 0 ? 20 : 40'000) + 1);
    }
    auto frames = frames_of(k.bytes);
    int pongs = 0;
    for (auto& f : frames)
      if (f.opcode == op::pong)
        REQUIRE(f.payload == std::to_string(pongs++));
    REQUIRE(pongs == asked);
    REQUIRE((joined(frames) == counted(300) + counted(130'000) + "end"));
    REQUIRE(k.done == 130'303);
  }
}

TEST_CASE("what has been dropped is not sent, but a frame that has begun is finished") {
  for (std::size_t taken : {0U, 1U, 5U, 104U, 105U, 60'000U, 104 + 65'546U, 70'000U}) {
    frame_writer w{0, 0};
    wire k{w};
    w.load({piece(counted(100)), piece(counted(130'000)), piece("never")});
    for (std::size_t left = taken; left > 0;)
      left -= k.take(left);
    w.drop_messages();
    w.interject(http::close_frame(http::close_code::policy, "slow"));
    k.take_all(1000);
    auto frames = frames_of(k.bytes); // whole ones
    REQUIRE_FALSE(frames.empty());
    CHECK(frames.back().opcode == op::bye);
    auto text = joined(frames);
    CHECK(((counted(100) + counted(130'000)).starts_with(text)));
    CHECK(text.size() <= (taken == 0              ? 0
                          : taken <= 102          ? 100
                          : taken <= 102 + 65'546 ? 65'636
                                                  : 130'100));
    CHECK_FALSE(w.has_messages());
  }
}

TEST_CASE("what is long is deflated when its turn comes, if that makes it shorter") {
  frame_writer w{15, 1000};
  wire k{w};
  std::mt19937 random{3};
  std::string noise;
  while (noise.size() < 100'000)
    noise += static_cast<char>(random());
  auto text = counted(300'000);
  w.load({piece(std::string(999, 'x')), piece(std::string(1000, 'x')), piece(noise), piece(text)});
  k.take_all(777);
  CHECK(k.done == 999 + 1000 + 100'000 + 300'000);
  std::vector<std::pair<bool, std::string>> messages;
  for (auto& f : frames_of(k.bytes)) {
    if (f.opcode == op::text)
      messages.emplace_back(f.compressed, "");
    else
      CHECK_FALSE(f.compressed);
    messages.back().second += f.payload;
  }
  REQUIRE(messages.size() == 4);
  CHECK_FALSE(messages[0].first);
  CHECK(messages[1].first);
  CHECK((inflated(messages[1].second, 2000) == std::string(1000, 'x')));
  CHECK_FALSE(messages[2].first);
  CHECK((messages[2].second == noise));
  CHECK(messages[3].first);
  CHECK((inflated(messages[3].second, 400'000) == text));
}

TEST_CASE("a message that goes to many is deflated once") {
  auto text = piece(counted(50'000));
  auto bytes_of = [&](int bits) {
    frame_writer w{bits, 1000};
    w.load({text});
    frame_writer::gathered g;
    w.gather(g);
    REQUIRE(g.count == 2);
    return static_cast<const char*>(g.parts[1].iov_base);
  };
  auto first = bytes_of(15);
  CHECK(bytes_of(15) == first);
  CHECK(bytes_of(10) != first);
  CHECK(bytes_of(15) == first);
  auto again = http::deflated(text, 15);
  CHECK(again->data() == first);
  for (int i = 0; i < 4; ++i) // others have taken its place
    http::deflated(piece(counted(2000)), 15);
  CHECK(http::deflated(text, 15) != again);
}
