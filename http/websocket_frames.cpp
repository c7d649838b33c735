#include "http/websocket_frames.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace parlor::http {

namespace {

constexpr unsigned fin_bit = 0x80, rsv1_bit = 0x40, rsv_bits = 0x70, mask_bit = 0x80;
constexpr std::size_t max_control = 125; // section 5.5

std::uint64_t big_endian(const std::uint8_t* from, std::size_t bytes) {
  std::uint64_t n = 0;
  for (std::size_t i = 0; i < bytes; ++i)
    n = n << 8 | from[i];
  return n;
}

/// Section 5.3. `at`: of the first byte, in the payload.
void unmask(std::span<char> bytes, const std::uint8_t* key, std::uint64_t at) {
  std::array<char, 8> turned; // as the first byte needs it
  for (std::size_t i = 0; i < turned.size(); ++i)
    turned[i] = static_cast<char>(key[(at + i) % 4]);
  std::uint64_t eight_keys, eight;
  std::memcpy(&eight_keys, turned.data(), 8);
  std::size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    std::memcpy(&eight, bytes.data() + i, 8);
    eight ^= eight_keys;
    std::memcpy(bytes.data() + i, &eight, 8);
  }
  for (; i < bytes.size(); ++i)
    bytes[i] = static_cast<char>(bytes[i] ^ turned[i % 8]);
}

/// Section 7.4: those that may be sent; 1012 to 1014 are from the registry of section 11.7.
bool may_be_sent(unsigned code) {
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
         (code >= 3000 && code <= 4999);
}

/// Of a compressed message that may become `n` bytes: one that cannot be compressed grows a little.
std::uint64_t most_compressed(std::uint64_t n) { return n + n / 64 + 1024; }

} // namespace

bool frame_reader::fail(close_code code, const char* excuse) {
  code_ = code;
  excuse_ = excuse;
  return false;
}

frame_reader::heard frame_reader::take(std::span<char>& bytes) {
  for (;;) {
    if (head_size_ < head_needed_) {
      if (!read_head(bytes))
        return heard::fault;
      if (head_size_ < head_needed_)
        return heard::nothing;
    }
    auto n = static_cast<std::size_t>(std::min<std::uint64_t>(length_ - taken_, bytes.size()));
    auto piece = bytes.first(n);
    bytes = bytes.subspan(n);
    unmask(piece, head_.data() + head_needed_ - 4, taken_);
    taken_ += n;
    if (!take_payload(piece))
      return heard::fault;
    if (taken_ < length_)
      return heard::nothing;
    auto what = is_control() ? end_of_control() : end_of_data();
    head_size_ = 0;
    head_needed_ = 2;
    if (what != heard::nothing)
      return what;
  }
}

/// As much of it as there is. What is wrong is told by the first byte that shows it.
bool frame_reader::read_head(std::span<char>& bytes) {
  while (head_size_ < head_needed_ && !bytes.empty()) {
    head_[head_size_++] = static_cast<std::uint8_t>(bytes.front());
    bytes = bytes.subspan(1);
    if (head_size_ == 1 && !sound_start())
      return false;
    if (head_size_ == 2) {
      if ((head_[1] & mask_bit) == 0)
        return fail(close_code::protocol, "frames of a client are masked"); // section 5.1
      auto n = head_[1] & 0x7f;
      if (is_control() && n > static_cast<int>(max_control))
        return fail(close_code::protocol, "a control frame is too long"); // section 5.5
      length_ = static_cast<std::uint64_t>(n);
      head_needed_ = n == 126 ? 8 : n == 127 ? 14 : 6;
    }
    if (head_size_ + 4 == head_needed_ && !sound_length())
      return false;
  }
  return true;
}

bool frame_reader::sound_start() {
  auto reserved = head_[0] & rsv_bits;
  auto first = kind() == opcode::text || kind() == opcode::binary;
  // Section 5.2; RFC 7692 section 6: compressed is the message, so its first frame says so.
  if (reserved != 0 && !(reserved == rsv1_bit && rules_.deflate && first))
    return fail(close_code::protocol, "reserved bits are set");
  if (is_control()) {
    if (kind() > opcode::pong)
      return fail(close_code::protocol, "a reserved opcode");
    if ((head_[0] & fin_bit) == 0)
      return fail(close_code::protocol, "a control frame is in fragments"); // section 5.5
    return true;
  }
  if (kind() > opcode::binary)
    return fail(close_code::protocol, "a reserved opcode");
  if (first == in_message_) // section 5.4
    return fail(close_code::protocol,
                first ? "a message within a message" : "nothing to be continued");
  if (kind() == opcode::binary)
    return fail(close_code::unsupported, "messages are text");
  if (first)
    compressed_ = reserved != 0;
  return true;
}

bool frame_reader::sound_length() {
  taken_ = 0;
  if (head_needed_ > 6) {
    length_ = big_endian(head_.data() + 2, head_needed_ - 6U);
    if (length_ < 126 || (head_needed_ == 14 && length_ <= 0xffff)) // section 5.2
      return fail(close_code::protocol, "a length is not written as short as it can be");
  }
  if (is_control()) {
    control_size_ = 0;
    return true;
  }
  auto most = compressed_ ? most_compressed(rules_.max_message) : rules_.max_message;
  if (length_ > most - message_) // a length with its first bit set (section 5.2), too
    return fail(close_code::too_big, "the message is too big");
  return true;
}

bool frame_reader::take_payload(std::span<char> piece) {
  if (is_control()) {
    std::copy(piece.begin(), piece.end(), control_.begin() + control_size_);
    control_size_ = static_cast<std::uint8_t>(control_size_ + piece.size());
    return true;
  }
  in_message_ = true;
  auto before = text_.size();
  if (!compressed_)
    text_.append(piece.data(), piece.size());
  else if (!inflate(piece))
    return false;
  if (!utf8_.take(std::string_view{text_}.substr(before))) // section 8.1
    return fail(close_code::bad_text, "the text is not UTF-8");
  return true;
}

bool frame_reader::inflate(std::span<char> piece) {
  if (piece.empty())
    return true;
  if (!inflater_)
    inflater_.emplace();
  switch (inflater_->take({piece.data(), piece.size()}, text_, rules_.max_message)) {
  case inflater::verdict::fine:
    return true;
  case inflater::verdict::too_big:
    return fail(close_code::too_big, "the message is too big");
  case inflater::verdict::broken:
    break;
  }
  return fail(close_code::bad_text, "what is compressed is broken");
}

frame_reader::heard frame_reader::end_of_control() {
  if (kind() != opcode::close)
    return kind() == opcode::ping ? heard::ping : heard::pong;
  // Section 5.5.1.
  code_ = close_code::normal;
  if (control_size_ == 0)
    return heard::close;
  if (control_size_ == 1) {
    fail(close_code::protocol, "half a code");
    return heard::fault;
  }
  auto code =
      static_cast<unsigned char>(control_[0]) * 256U + static_cast<unsigned char>(control_[1]);
  utf8_check reason;
  if (!may_be_sent(code)) {
    fail(close_code::protocol, "no such code");
    return heard::fault;
  }
  if (!reason.take(control().substr(2)) || !reason.whole()) {
    fail(close_code::bad_text, "the reason is not UTF-8");
    return heard::fault;
  }
  code_ = static_cast<close_code>(code);
  return heard::close;
}

frame_reader::heard frame_reader::end_of_data() {
  message_ += length_;
  if ((head_[0] & fin_bit) == 0)
    return heard::nothing;
  if (inflater_) {
    char tail[] = {0, 0, '\xff', '\xff'}; // RFC 7692 section 7.2.2: what a sender leaves away
    if (!take_payload(tail))
      return heard::fault;
    if (!inflater_->whole()) {
      fail(close_code::bad_text, "what is compressed breaks off");
      return heard::fault;
    }
  }
  if (!utf8_.whole()) {
    fail(close_code::bad_text, "the text is not UTF-8");
    return heard::fault;
  }
  in_message_ = false;
  message_ = 0;
  inflater_.reset(); // "no context takeover" is agreed on
  return heard::text;
}

std::string frame_reader::take_text() { return std::exchange(text_, {}); }

// -- ours ----------------------------------------------------------------------------------------

std::size_t put_frame_header(char* to, opcode kind, bool last, bool compressed,
                             std::uint64_t size) {
  to[0] = static_cast<char>(static_cast<unsigned>(kind) | (last ? fin_bit : 0) |
                            (compressed ? rsv1_bit : 0));
  auto bytes = size < 126 ? 0U : size <= 0xffff ? 2U : 8U;
  to[1] = static_cast<char>(bytes == 0 ? size : bytes == 2 ? 126U : 127U);
  for (std::size_t i = 0; i < bytes; ++i)
    to[2 + i] = static_cast<char>(size >> (8 * (bytes - 1 - i)) & 0xff);
  return 2 + bytes;
}

std::string control_frame(opcode kind, std::string_view payload) {
  char header[max_frame_header];
  std::string out(header, put_frame_header(header, kind, true, false, payload.size()));
  return out += payload;
}

std::string close_frame(close_code code, std::string_view reason) {
  constexpr auto most = max_control - 2;
  if (reason.size() > most) {
    auto n = most;
    while (n > 0 && (static_cast<unsigned char>(reason[n]) & 0xc0) == 0x80) // inside a character
      --n;
    reason = reason.substr(0, n);
  }
  auto number = static_cast<unsigned>(code);
  std::string payload{static_cast<char>(number >> 8), static_cast<char>(number & 0xff)};
  return control_frame(opcode::close, payload += reason);
}

} // namespace parlor::http
