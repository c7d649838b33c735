#pragma once
// A small JSON document that is valid for a JSON schema. Pure; any thread.

#include <string>
#include <string_view>

namespace parlor::llm {

/// For the text of a `response_format` object: the sample for its schema; `{"answer":…}` for
/// json_object; empty when the format asks for plain text. `plain` is what would have been said
/// otherwise.
std::string sample_for_format(std::string_view response_format, std::string_view plain);

} // namespace parlor::llm
