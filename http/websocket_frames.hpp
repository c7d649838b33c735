#pragma once
// The frames of a WebSocket (RFC 6455 sections 5 and 7): what those of a client say, and how ours
// begin. A pure machine: no socket, no clock, no thread of its own; sections are of the RFC.
//
// Owner: whoever reads from the peer. A reader is needed only from the first byte of a frame to the
// end of a message: an idle WebSocket has none.

#include "http/utf8_check.hpp"
#include "http/websocket.hpp"
#include "http/websocket_deflate.hpp"

#include <array>
#include <optional>
#include <span>

namespace parlor::http {

/// Section 5.2.
enum class opcode : std::uint8_t { more = 0, text = 1, binary = 2, close = 8, ping = 9, pong = 10 };

class frame_reader {
public:
  struct rules {
    std::size_t max_message; // bytes, inflated
    bool deflate;            // was agreed on
  };
  enum class heard : std::uint8_t {
    nothing, // all bytes are taken, and nothing is whole
    text,    // take_text(): a message
    ping,    // control(): to be sent back
    pong,
    close, // goodbye(): the code to answer with
    fault, // why(), excuse(): the connection is to be failed with it; no byte may follow
  };

  explicit frame_reader(const rules& r) : rules_{r} {}

  /// Takes bytes off the front of `bytes`, up to the end of the first thing that is whole; call it
  /// again while some are left. Unmasks them where they are.
  heard take(std::span<char>& bytes);

  std::string take_text();
  std::size_t text_bytes() const noexcept { return text_.size(); }
  std::string_view control() const noexcept { return {control_.data(), control_size_}; }
  close_code goodbye() const noexcept { return code_; }
  close_code why() const noexcept { return code_; }
  const char* excuse() const noexcept { return excuse_; }
  /// Between messages and between frames: nothing is lost with it.
  bool at_rest() const noexcept { return head_size_ == 0 && !in_message_; }

private:
  bool read_head(std::span<char>& bytes);
  bool sound_start();
  bool sound_length();
  bool take_payload(std::span<char> piece);
  bool inflate(std::span<char> piece);
  heard end_of_control();
  heard end_of_data();
  bool fail(close_code code, const char* excuse);
  bool is_control() const noexcept { return (head_[0] & 8) != 0; }
  opcode kind() const noexcept { return static_cast<opcode>(head_[0] & 15); }

  rules rules_;
  std::array<std::uint8_t, 14> head_{}; // section 5.2: 2 bytes, 0, 2 or 8 of length, 4 of mask
  std::uint8_t head_size_ = 0;          // as far as it has come
  std::uint8_t head_needed_ = 2;        // as far as is known
  std::uint64_t length_ = 0;            // of the payload
  std::uint64_t taken_ = 0;             // of it
  std::uint64_t message_ = 0;           // bytes of its frames before this one, as sent
  bool in_message_ = false;
  bool compressed_ = false; // the message
  close_code code_ = close_code::normal;
  const char* excuse_ = "";
  utf8_check utf8_;
  std::uint8_t control_size_ = 0;
  std::array<char, 125> control_; // section 5.5: no longer than this
  std::string text_;              // as far as it has come
  std::optional<inflater> inflater_;
};

/// The most bytes that a header of ours has.
inline constexpr std::size_t max_frame_header = 10;

/// Section 5.2, as servers write it: without a mask. Returns how many bytes it has written to `to`.
std::size_t put_frame_header(char* to, opcode kind, bool last, bool compressed, std::uint64_t size);

/// A whole control frame. `payload`: at most 125 bytes.
std::string control_frame(opcode kind, std::string_view payload);

/// A closing frame (section 5.5.1); the reason is cut to what fits, between characters.
std::string close_frame(close_code code, std::string_view reason);

} // namespace parlor::http
