// How what comes on several connections at once is taken: one after the other if they are few.

#include "llm/openai.hpp"

#include "tests/llm/collector.hpp"

#include "support/catch.hpp"

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>

#include <linux/sockios.h>
#include <sys/ioctl.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

using namespace parlor;
using namespace parlor::llm;
using namespace parlor::testing;

namespace asio = boost::asio;
using tcp = asio::ip::tcp;

namespace {

/// Models that say what a test wants, when it wants. The loop is run by the test: what has been
/// said by several of them is there at once.
struct chorus {
  asio::io_context io, theirs;
  tcp::acceptor door{theirs, {asio::ip::address_v4::loopback(), 0}};
  std::vector<tcp::socket> voices;
  std::vector<std::unique_ptr<call>> calls;
  provider_ptr model;
  std::vector<std::size_t> steps; // how many pieces had been heard before each
  std::size_t pieces = 0;

  explicit chorus(std::size_t size) {
    model =
        make_openai(io, {"http://127.0.0.1:" + std::to_string(door.local_endpoint().port()) + "/v1",
                         "", "chorus", 64, [this](auto& step) {
                           steps.push_back(pieces);
                           step();
                         }});
    door.non_blocking(true);
    for (std::size_t i = 0; i < size; ++i) {
      calls.push_back(model->start(ask("hi"), [this](call_event e) {
        if (std::holds_alternative<call_delta>(e))
          ++pieces;
      }));
      voices.push_back(next());
    }
    all_say("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n");
    steps.clear();
  }
  ~chorus() {
    calls.clear();
    model.reset();
    io.poll();
  }

  tcp::socket next() {
    tcp::socket voice{theirs};
    boost::system::error_code ec;
    do {
      io.poll();
      door.accept(voice, ec);
    } while (ec == asio::error::would_block);
    REQUIRE_FALSE(ec);
    voice.non_blocking(true);
    std::string request;
    char some[4096];
    while (request.find("\"hi\"") == std::string::npos) {
      io.poll();
      request.append(some, voice.read_some(asio::buffer(some), ec));
    }
    voice.non_blocking(false);
    return voice;
  }

  /// Returns when the kernel has it ready for who listens.
  void say(std::size_t who, const std::string& text) {
    auto& voice = voices[who];
    asio::write(voice, asio::buffer(text));
    for (int unheard = 1; unheard > 0; std::this_thread::yield())
      REQUIRE(::ioctl(voice.native_handle(), SIOCOUTQ, &unheard) == 0);
  }
  void all_say(const std::string& text) {
    for (std::size_t i = 0; i < voices.size(); ++i)
      say(i, text);
    io.poll();
  }
};

const std::string piece = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"la\"}}]}\n\n";

} // namespace

TEST_CASE("what comes on a few connections is taken one by one") {
  chorus c{3};
  c.all_say(piece);
  CHECK(c.pieces == 3);
  CHECK(c.steps == std::vector<std::size_t>{0, 1, 2});
}

TEST_CASE("what comes on many connections is taken together") {
  chorus c{9};
  c.all_say(piece);
  CHECK(c.pieces == 9);
  CHECK(c.steps.empty());
  c.say(4, piece); // and a lone one among them by itself again
  c.io.poll();
  CHECK(c.pieces == 10);
  CHECK(c.steps == std::vector<std::size_t>{9});
}
