#pragma once
// Small helpers over Boost.JSON. Pure; any thread.

#include <boost/json/fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace parlor::json {

/// Appends `text` as a JSON string with quotes. UTF-8 stays UTF-8 (never \u escapes where UTF-8
/// will do); control characters, quote and backslash are escaped; invalid UTF-8 becomes U+FFFD
/// (never throws).
void append_quoted(std::string& out, std::string_view text);
std::string quoted(std::string_view text);

/// Why a document was refused.
enum class fault { none, syntax, depth, duplicate_key, too_many_values };

/// Of a document: each takes dozens of bytes, however short it was.
inline constexpr std::size_t max_values = 250'000;

/// Parses strictly: depth at most 64, invalid UTF-8 refused, duplicate keys at the top two levels
/// refused, and more than `max_values`.
boost::json::value parse(std::string_view text, fault& why);

/// Milliseconds since the epoch as `2025-10-03T10:00:00Z` (with `.123` when not whole).
std::string iso8601(std::int64_t ms);

/// If the text is one JSON document, bare or in one fenced block (``` or ```json), that document's
/// text.
std::optional<std::string_view> only_document(std::string_view text);

/// The member's value exactly as it was written, from the text of a JSON object: for numbers that
/// must not be reformatted. Empty if there is no such member. `object` must be valid JSON.
std::string_view raw_member(std::string_view object, std::string_view key);

/// Where the place that a JSON pointer names begins, in bytes (for a member: its name), or the
/// nearest one around it. For messages about files. `document` must be valid JSON.
std::size_t offset_of(std::string_view document, std::string_view pointer);

bool valid_utf8(std::string_view text) noexcept;
/// Valid UTF-8 that stands in a JSON string as it is: nothing in it needs an escape.
bool is_plain(std::string_view text) noexcept;

} // namespace parlor::json
