#include "protocol/chat.hpp"

namespace parlor {

std::string_view to_string(role r) noexcept {
  switch (r) {
  case role::system:
    return "system";
  case role::user:
    return "user";
  case role::assistant:
    return "assistant";
  case role::tool:
    return "tool";
  }
  return "user";
}

std::optional<role> role_from(std::string_view name) noexcept {
  for (auto r : {role::system, role::user, role::assistant, role::tool})
    if (to_string(r) == name)
      return r;
  return std::nullopt;
}

std::int64_t estimate_tokens(std::string_view text) noexcept {
  std::int64_t ascii = 0, others = 0;
  for (unsigned char c : text) {
    if (c < 0x80)
      ++ascii;
    else if (c >= 0xc0)
      ++others; // one lead byte a character
  }
  return (ascii + 3) / 4 + others;
}

std::int64_t estimate_tokens(const message& m) noexcept {
  constexpr std::int64_t frame = 4; // role and separators
  return frame + estimate_tokens(m.content) + estimate_tokens(m.extra);
}

} // namespace parlor
