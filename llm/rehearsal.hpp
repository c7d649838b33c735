#pragma once
// The built-in rehearsal model: answers deterministically from the conversation it is given,
// streams at any pace and fails by script. For demonstrations, tests and load; needs no network and
// no key.

#include "llm/provider.hpp"

#include <boost/asio/io_context.hpp>

#include <chrono>
#include <string>

namespace parlor::llm {

struct rehearsal_options {
  std::chrono::milliseconds first_token{0}; // silence before the first piece
  double tokens_per_second = 0;             // pieces a second; 0: as fast as possible
  /// What attempts 1, 2, ... do, where the request's own settings.script is empty; the last step
  /// repeats: ok | slow:MS | 429:S | 500 | refuse | auth | hang | stall:N | cut:N, separated by
  /// commas.
  std::string script;
};

/// The provider must not outlive the io_context. Each call has a strand of its own on it.
provider_ptr make_rehearsal(boost::asio::io_context& io, rehearsal_options options);

/// Whether every step of a failure script is known. Empty is.
bool valid_rehearsal_script(std::string_view script);

} // namespace parlor::llm
