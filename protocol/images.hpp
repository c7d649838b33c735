#pragma once
// Images in requests: data URLs and links. Pure; any thread.

#include <cstddef>
#include <string_view>

namespace parlor {

enum class image_fault : unsigned char {
  none,
  not_an_image, // neither a data URL in base64 nor an https URL
  media_type,   // none of png, jpeg, webp, gif
  base64,       // not valid base64 (RFC 4648 section 4, padded)
  content,      // the bytes do not begin as that media type does
  too_long,     // a link, beyond max_url
};

struct image_check {
  image_fault fault = image_fault::none;
  std::size_t bytes = 0; // of the image itself; 0 for a link
};

/// Looks at the whole of it; never fetches anything. What it lets through needs no escape in JSON.
image_check check_image(std::string_view url, std::size_t max_url) noexcept;

} // namespace parlor
