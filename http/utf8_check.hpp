#pragma once
// Whether text that comes in pieces is UTF-8 (RFC 3629 section 4), told as early as it can be.
//
// Owner: whoever reads the text. Pure; any thread.

#include <cstdint>
#include <string_view>

namespace parlor::http {

class utf8_check {
public:
  /// False as soon as nothing that follows could mend it; nothing may be taken after that.
  bool take(std::string_view piece) noexcept;
  /// Whether the text may end here: not inside a character.
  bool whole() const noexcept { return missing_ == 0; }

private:
  std::uint8_t missing_ = 0;             // bytes of the character that has begun
  std::uint8_t least_ = 0, most_ = 0xff; // of the next of them
};

} // namespace parlor::http
