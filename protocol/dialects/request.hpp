#pragma once
// What the dialects' request bodies have in common. Pure; any thread.

#include "protocol/command.hpp"

#include <boost/json/fwd.hpp>

#include <optional>
#include <string>
#include <string_view>

namespace parlor {

/// Parses a body as one JSON object; a refusal otherwise.
std::optional<refusal> read_object(std::string_view body, boost::json::object& out);

/// A string that must be there and not be blank.
std::optional<refusal> read_text(const boost::json::object& o, std::string_view field,
                                 std::string& out);

/// `session` by the given field name, and the optional fields every turn may have: model,
/// system_prompt, temperature, max_tokens, metadata, response_format, on_busy,
/// cancel_on_disconnect, rehearsal.
std::optional<refusal> read_turn_options(const boost::json::object& o, std::string_view body,
                                         std::string_view session_field, turn_request& out);

/// `{"prompt_tokens":…,"completion_tokens":…,"total_tokens":…}`, and `"estimated":true` if it is.
std::string usage_json(const usage& u);

} // namespace parlor
