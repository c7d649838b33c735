#pragma once
// Names of things: sessions, tasks, messages, and places in a session's sequence of events.
// Pure values; any thread.

#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace parlor {

/// Which conversation: the owner (tenant, "" while one key or none is configured) and the id
/// clients use.
struct session_key {
  std::string tenant;
  std::string id;
  auto operator<=>(const session_key&) const = default;
};

/// What is told to whoever breaks it.
inline constexpr char session_id_rule[] = "must be 1 to 128 characters of A-Z a-z 0-9 _ - . : @";
/// 1 to 128 characters of `A-Z a-z 0-9 _ - . : @` (docs/clients/chat-sessions.md).
bool valid_session_id(std::string_view id) noexcept;

/// `task_<ms since epoch>_<20 or more random base-32 characters>`: sorts by time, cannot be
/// guessed.
std::string make_task_id(std::int64_t now_ms);
/// `session_<26 base-32 characters>`: the time (9) and 17 random ones. Sorts by time, so that new
/// sessions stand together in the store; cannot be guessed.
std::string make_session_id();
/// `msg_<26 random base-32 characters>`.
std::string make_message_id();
/// `req_<16 random base-32 characters>`: names one HTTP request in logs and `X-Request-Id`.
std::string make_request_id();
/// Names a store: 8 characters of `0-9 a-z`. Random, made once when the store is created.
std::string make_epoch();
/// 64 random characters: what is signed with them cannot be guessed.
std::string make_secret();
/// `n` characters of lower-case base 32 (Crockford's alphabet) from the operating system's random
/// source.
std::string random_base32(std::size_t n);

/// A place in a session's events: everything up to and including `seq` has been seen.
struct cursor {
  std::string epoch;
  std::uint64_t seq = 0;
  auto operator<=>(const cursor&) const = default;
};

/// `<epoch>-<seq>`, at most 40 bytes of `0-9 a-z -` (docs/clients/README.md).
std::string format_cursor(std::string_view epoch, std::uint64_t seq);

/// Nothing if `text` is longer than 40 bytes or is not of that form (upper case, overflow, no dash,
/// …).
std::optional<cursor> parse_cursor(std::string_view text);

} // namespace parlor

template <>
struct std::hash<parlor::session_key> {
  std::size_t operator()(const parlor::session_key& k) const noexcept {
    return std::hash<std::string>{}(k.id) ^ (std::hash<std::string>{}(k.tenant) * 31);
  }
};
