#pragma once
// The status line and the headers of an answer. Pure but for the clock; any thread.

#include "http/exchange.hpp"

namespace parlor::http {

/// What the server knows about an answer and its handler does not.
struct head_facts {
  bool stream = false;  // its length is not known
  bool chunked = false; // a stream whose end the peer can tell
  bool keep_alive = false;
  std::string_view request_id;
};

/// Whole, with the empty line.
std::string head_text(const response& r, const head_facts& facts);

} // namespace parlor::http
