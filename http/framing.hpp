#pragma once
// The gate before the parser: looks at the raw bytes of a header section and lets through only what
// cannot be understood in two ways (RFC 9112; docs/hard-edges.md H1-H9, H14). Beast alone takes
// several malformed Transfer-Encoding lines for "no body". Pure; any thread.

#include "protocol/errc.hpp"

#include <cstddef>
#include <string_view>

namespace parlor::http {

struct framing_limits {
  std::size_t max_header = 16 * 1024; // request line and headers, bytes
  std::size_t max_target = 8 * 1024;
  std::size_t max_field = 8 * 1024; // one header with its name
  std::size_t max_fields = 100;
};

struct framing_verdict {
  errc error = errc::none; // none: let through
  std::size_t length = 0;  // of the header section with its empty line; 0: not complete yet
};

/// Looks at what has arrived so far.
framing_verdict inspect(std::string_view bytes, const framing_limits& limits) noexcept;

} // namespace parlor::http
