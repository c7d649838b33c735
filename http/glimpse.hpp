#pragma once
// What can be seen of a request that did not pass the gate. Pure; any thread.

#include "http/exchange.hpp"

namespace parlor::http {

/// Method, target and headers in the bytes of a header section, as far as lines are whole and look
/// like what they should be. Good enough for the shape of a refusal, and for nothing else.
request glimpse(std::string_view bytes);

/// Sets path and query with it.
void set_target(request& r, std::string_view target);

} // namespace parlor::http
