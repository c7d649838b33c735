#include "protocol/images.hpp"

#include <algorithm>
#include <array>
#include <cstdint>

namespace parlor {

namespace {

constexpr std::string_view alphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::uint8_t no_digit = 0xff;

constexpr auto make_digits() {
  std::array<std::uint8_t, 256> out{};
  for (auto& d : out)
    d = no_digit;
  for (std::size_t i = 0; i < alphabet.size(); ++i)
    out[static_cast<unsigned char>(alphabet[i])] = static_cast<std::uint8_t>(i);
  return out;
}
constexpr auto digits = make_digits();

std::uint8_t digit(char c) noexcept { return digits[static_cast<unsigned char>(c)]; }

/// Length of what it decodes to; npos if it is not base64. Nothing at all is not, either.
std::size_t decoded_size(std::string_view text) noexcept {
  if (text.empty() || text.size() % 4 != 0)
    return std::string_view::npos;
  std::size_t padding = text.back() != '=' ? 0 : text[text.size() - 2] != '=' ? 1 : 2;
  std::uint8_t seen = 0; // the high bit is set once something was no digit
  for (char c : text.substr(0, text.size() - padding))
    seen |= digit(c);
  return (seen & 0x80) != 0 ? std::string_view::npos : text.size() / 4 * 3 - padding;
}

/// The first bytes of what valid base64 stands for.
std::array<char, 12> first_bytes(std::string_view text) noexcept {
  std::array<char, 12> out{};
  for (std::size_t i = 0; i < out.size() / 3 && i * 4 + 3 < text.size(); ++i) {
    std::uint32_t bits = 0;
    for (char c : text.substr(i * 4, 4))
      bits = bits << 6 | (c == '=' ? 0U : digit(c));
    for (std::size_t k = 0; k < 3; ++k)
      out[i * 3 + k] = static_cast<char>(bits >> (16 - 8 * k) & 0xff);
  }
  return out;
}

bool begins_as(std::string_view type, std::string_view bytes) noexcept {
  auto at = [&](std::size_t i, std::string_view magic) {
    return bytes.substr(i, magic.size()) == magic;
  };
  if (type == "png")
    return at(0, "\x89PNG\r\n\x1a\n");
  if (type == "jpeg")
    return at(0, "\xff\xd8\xff");
  if (type == "gif")
    return at(0, "GIF87a") || at(0, "GIF89a");
  return at(0, "RIFF") && at(8, "WEBP");
}

/// Schemes and media types are compared without case.
bool begins(std::string_view text, std::string_view lower) noexcept {
  return text.size() >= lower.size() &&
         std::equal(lower.begin(), lower.end(), text.begin(), [](char want, char c) {
           return want == (c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c);
         });
}

image_check check_link(std::string_view url, std::size_t max_url) noexcept {
  if (url.size() > max_url)
    return {image_fault::too_long};
  auto rest = url.substr(std::string_view{"https://"}.size());
  auto host = rest.substr(0, rest.find_first_of("/?#"));
  if (host.empty() || host.front() == ':' ||
      host.find('@') != std::string_view::npos || // a name and a key are not passed on
      std::any_of(url.begin(), url.end(), [](unsigned char c) {
        return c <= 0x20 || c >= 0x7f || c == '"' || c == '\\'; // RFC 3986 has none of them
      }))
    return {image_fault::not_an_image};
  return {};
}

} // namespace

image_check check_image(std::string_view url, std::size_t max_url) noexcept {
  if (begins(url, "https://"))
    return check_link(url, max_url);
  if (!begins(url, "data:"))
    return {image_fault::not_an_image};
  auto rest = url.substr(std::string_view{"data:"}.size());
  // No parameters: none of these types has one, and providers want none.
  static constexpr std::string_view types[] = {"png", "jpeg", "webp", "gif"};
  static constexpr std::string_view image = "image/", marker = ";base64,";
  if (!begins(rest, image))
    return {image_fault::media_type};
  rest.remove_prefix(image.size());
  for (auto type : types) {
    if (!begins(rest, type))
      continue;
    auto after = rest.substr(type.size());
    if (!begins(after, marker))
      break;
    auto data = after.substr(marker.size());
    auto size = decoded_size(data);
    if (size == std::string_view::npos)
      return {image_fault::base64};
    auto first = first_bytes(data);
    if (!begins_as(type, {first.data(), std::min(size, first.size())}))
      return {image_fault::content};
    return {image_fault::none, size};
  }
  return {image_fault::media_type};
}

} // namespace parlor
