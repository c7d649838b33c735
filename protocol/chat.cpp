#include "protocol/chat.hpp"

#include <algorithm>
#include <cstring>

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
  // Eight at a time: this is done for every piece of every answer.
  constexpr std::uint64_t ones = 0x0101010101010101, tops = ones << 7;
  auto count = [](std::uint64_t of_tops) {
    return static_cast<std::int64_t>(((of_tops >> 7) * ones) >> 56);
  };
  for (std::uint64_t w = 0; text.size() >= sizeof w; text.remove_prefix(sizeof w)) {
    std::memcpy(&w, text.data(), sizeof w);
    ascii += count(~w & tops);
    others += count(w & (w << 1) & tops);
  }
  for (unsigned char c : text) {
    if (c < 0x80)
      ++ascii;
    else if (c >= 0xc0)
      ++others; // one lead byte a character
  }
  return (ascii + 3) / 4 + others;
}

namespace {

/// Of content parts, without parsing them: an image costs what it shows, not what its base64 is
/// long.
std::int64_t estimate_parts(std::string_view parts) noexcept {
  constexpr std::int64_t image = 800; // about what a photo costs at the usual detail
  constexpr std::string_view key = "\"image_url\":", data = "\"data:image/";
  std::int64_t tokens = 0;
  while (!parts.empty()) {
    auto url = parts.find(data);
    auto before = parts.substr(0, url);
    tokens += estimate_tokens(before);
    for (auto at = before.find(key); at != before.npos; at = before.find(key, at + key.size()))
      tokens += image;
    if (url == parts.npos)
      break;
    parts.remove_prefix(url + data.size());
    parts.remove_prefix(std::min(parts.find('"'), parts.size()));
  }
  return tokens;
}

} // namespace

std::int64_t estimate_tokens(const message& m) noexcept {
  constexpr std::int64_t frame = 4; // role and separators
  if (m.extra.starts_with('['))     // they are said instead of the content
    return frame + estimate_parts(m.extra);
  return frame + estimate_tokens(m.content) + estimate_tokens(m.extra);
}

} // namespace parlor
