#pragma once
// A WebSocket client that makes every frame by hand, so that a test can make wrong ones.
//
// Owner and thread: the test, as raw_client.

#include "served.hpp"

#include "http/websocket.hpp"

#include <boost/beast/zlib/deflate_stream.hpp>
#include <boost/beast/zlib/inflate_stream.hpp>

#include <cstdint>
#include <optional>

namespace parlor::testing {

enum op : unsigned { more = 0, text = 1, binary = 2, bye = 8, ping = 9, pong = 10 };

struct frame {
  unsigned opcode = 0;
  bool fin = false;
  bool compressed = false; // the first reserved bit
  std::string payload;
};

/// How a frame that a test sends differs from a sound one.
struct twist {
  bool fin = true;
  unsigned reserved = 0; // the three bits
  bool masked = true;
  std::optional<std::uint64_t> says; // its length, whatever it has
  int length_bytes = -1;             // 0, 2, 8: how the length is written; -1: as short as possible
};

inline std::string framed(unsigned opcode, std::string_view payload, const twist& how = {}) {
  std::string out;
  out += static_cast<char>((how.fin ? 0x80U : 0U) | how.reserved << 4 | opcode);
  auto length = how.says.value_or(payload.size());
  auto bytes = how.length_bytes >= 0 ? how.length_bytes : length < 126 ? 0 : length < 65536 ? 2 : 8;
  auto mask_bit = how.masked ? 0x80U : 0U;
  out += static_cast<char>(mask_bit | (bytes == 0 ? length : bytes == 2 ? 126U : 127U));
  for (int i = bytes - 1; i >= 0; --i)
    out += static_cast<char>(length >> (8 * i) & 0xff);
  if (!how.masked)
    return out += payload;
  const std::string key = "\x37\xfa\x21\x3d";
  out += key;
  for (std::size_t i = 0; i < payload.size(); ++i)
    out += static_cast<char>(payload[i] ^ key[i % 4]);
  return out;
}

inline std::string closing(unsigned code, std::string_view reason = "") {
  std::string payload{static_cast<char>(code >> 8), static_cast<char>(code & 0xff)};
  return payload += reason;
}

/// As permessage-deflate has it: a sync flush without its last four bytes.
inline std::string deflated(std::string_view plain) {
  namespace z = boost::beast::zlib;
  z::deflate_stream stream;
  std::string out(stream.upper_bound(plain.size()) + 64, '\0');
  z::z_params p;
  p.next_in = plain.data();
  p.avail_in = plain.size();
  p.next_out = out.data();
  p.avail_out = out.size();
  boost::beast::error_code e;
  stream.write(p, z::Flush::sync, e);
  out.resize(p.total_out - 4);
  return out;
}

inline std::string inflated(std::string data, std::size_t most) {
  namespace z = boost::beast::zlib;
  data += std::string{"\0\0\xff\xff", 4};
  z::inflate_stream stream;
  stream.reset(15);
  std::string out(most, '\0');
  z::z_params p;
  p.next_in = data.data();
  p.avail_in = data.size();
  p.next_out = out.data();
  p.avail_out = out.size();
  boost::beast::error_code e;
  stream.write(p, z::Flush::sync, e);
  out.resize(p.total_out);
  return out;
}

inline const std::string sample_key = "dGhlIHNhbXBsZSBub25jZQ=="; // RFC 6455 section 1.3

inline std::string asking_for_websocket(std::string_view more_headers = "") {
  return "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
         "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " +
         sample_key + "\r\n" + std::string{more_headers} + "\r\n";
}

class ws_client : public raw_client {
public:
  explicit ws_client(unsigned short port, int receive_buffer = 0)
      : raw_client{port, receive_buffer} {}

  /// The head of the answer to the handshake; the test fails if it is not 101.
  std::string handshake(std::string_view more_headers = "") {
    raw_client::send(asking_for_websocket(more_headers));
    return switched();
  }
  std::string switched() {
    REQUIRE(until("\r\n\r\n"));
    auto end = raw_client::text().find("\r\n\r\n") + 4;
    auto head = raw_client::text().substr(0, end);
    at_ = end;
    REQUIRE(head.substr(0, 12) == "HTTP/1.1 101");
    return head;
  }

  bool say(std::string_view payload, const twist& how = {}) {
    return raw_client::send(framed(op::text, payload, how));
  }
  bool tell(unsigned opcode, std::string_view payload = "", const twist& how = {}) {
    return raw_client::send(framed(opcode, payload, how));
  }

  /// The next frame; nothing if the connection ends or the time is over before it is whole.
  std::optional<frame> next(std::chrono::milliseconds time = std::chrono::seconds{10}) {
    std::optional<frame> out;
    until_true(
        [&] {
          out = parse();
          return out.has_value();
        },
        time);
    return out;
  }

  /// The next message, put together.
  std::string message(std::chrono::milliseconds time = std::chrono::seconds{10}) {
    std::string out;
    for (;;) {
      auto f = next(time);
      if (!f)
        return out + "<none>";
      if (f->opcode >= op::bye)
        return out + "<control>";
      out += f->payload;
      if (f->fin)
        return out;
    }
  }

  /// The code with which the server closes, 0 if it ends without saying; frames before it are
  /// skipped.
  unsigned close_code(std::string* reason = nullptr) {
    while (auto f = next()) {
      if (f->opcode != op::bye)
        continue;
      if (reason != nullptr && f->payload.size() > 2)
        *reason = f->payload.substr(2);
      if (f->payload.size() < 2)
        return 1005;
      return static_cast<unsigned char>(f->payload[0]) * 256U +
             static_cast<unsigned char>(f->payload[1]);
    }
    return 0;
  }

private:
  std::optional<frame> parse() {
    auto& in = raw_client::text();
    auto byte = [&](std::size_t i) { return static_cast<unsigned char>(in[at_ + i]); };
    auto have = in.size() - at_;
    if (have < 2)
      return {};
    std::size_t head = 2, length = byte(1);
    // A server masks nothing. Threads of a test read, too, so what Catch counts is only touched
    // when it is so.
    if (length >= 128)
      FAIL("a masked frame");
    if (length >= 126) {
      auto bytes = length == 126 ? 2U : 8U;
      if (have < 2 + bytes)
        return {};
      length = 0;
      for (std::size_t i = 0; i < bytes; ++i)
        length = length << 8 | byte(2 + i);
      head += bytes;
    }
    if (have < head + length)
      return {};
    frame f{byte(0) & 15U, (byte(0) & 0x80) != 0, (byte(0) & 0x40) != 0,
            in.substr(at_ + head, length)};
    at_ += head + length;
    return f;
  }
  std::size_t at_ = 0;
};

/// What the peer of a WebSocket says, and holds on to if it is told to.
class inbox {
public:
  http::message_sink sink() {
    return [s = state_](http::chunk c) {
      std::lock_guard lock{s->mutex};
      s->messages.push_back(std::move(c));
      s->came.notify_all();
    };
  }
  /// The next message, let go.
  std::string next() {
    auto c = hold();
    return c ? *c : "<none>";
  }
  http::chunk hold() {
    std::unique_lock lock{state_->mutex};
    if (!state_->came.wait_for(lock, std::chrono::seconds{10},
                               [&] { return !state_->messages.empty(); }))
      return nullptr;
    auto c = std::move(state_->messages.front());
    state_->messages.pop_front();
    return c;
  }
  std::size_t waiting() const {
    std::lock_guard lock{state_->mutex};
    return state_->messages.size();
  }

private:
  struct state {
    std::mutex mutex;
    std::condition_variable came;
    std::deque<http::chunk> messages;
  };
  std::shared_ptr<state> state_ = std::make_shared<state>();
};

/// A WebSocket, both ends.
struct linked {
  linked(served& s, http::websocket_options o = {}, std::string_view headers = "",
         int receive_buffer = 0)
      : peer{s.port(), receive_buffer} {
    peer.send(asking_for_websocket(headers));
    ours = s.next().exchange->upgrade(o, in.sink());
    REQUIRE(ours);
    told.watch(ours);
    head = peer.switched();
  }
  ws_client peer;
  inbox in;
  signals told;
  http::websocket_ptr ours;
  std::string head;
};

} // namespace parlor::testing
