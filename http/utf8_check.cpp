#include "http/utf8_check.hpp"

#include <cstring>

namespace parlor::http {

bool utf8_check::take(std::string_view piece) noexcept {
  constexpr std::uint64_t high_bits = 0x8080808080808080U;
  auto* at = reinterpret_cast<const unsigned char*>(piece.data());
  for (auto* end = at + piece.size(); at != end; ++at) {
    if (missing_ == 0) {
      for (std::uint64_t eight; end - at >= 8; at += 8)
        if (std::memcpy(&eight, at, 8); (eight & high_bits) != 0)
          break;
      if (at == end)
        break;
    }
    auto c = *at;
    if (missing_ > 0) {
      if (c < least_ || c > most_)
        return false;
      --missing_;
      least_ = 0x80, most_ = 0xbf;
    } else if (c >= 0x80) {
      if (c < 0xc2 || c > 0xf4) // 0xc0 and 0xc1 would be longer than needed
        return false;
      missing_ = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
      // What is longer than needed, surrogates, and what lies beyond U+10FFFF.
      least_ = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
      most_ = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    }
  }
  return true;
}

} // namespace parlor::http
