#pragma once
// What is said in a conversation, and to a model. Values only; any thread.

#include "protocol/shared_text.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace parlor {

enum class role : std::uint8_t { system, user, assistant, tool };
std::string_view to_string(role r) noexcept;
std::optional<role> role_from(std::string_view name) noexcept;

/// One message of a conversation.
struct message {
  role who = role::user;
  std::string content;
  /// When not empty: the members of the wire message beside `role` and `content`, as the text of a
  /// JSON object (tool calls, names); or, if it starts with `[`, the content parts (images) that
  /// replace `content`, which still has their text.
  shared_text extra;
};

/// A message of the stored history.
struct history_message {
  std::string id;
  message said;
  std::string task;     // the task it was said in
  std::int64_t at = 0;  // wall clock, ms since the epoch
  bool partial = false; // an answer that was stopped or cut off
};

/// What a turn asks of a model beside the messages. Numbers are kept as the client wrote them.
struct model_settings {
  std::string model;       // the configured name, never empty once accepted
  std::string temperature; // JSON number text, or empty
  std::optional<std::int64_t> max_tokens;
  std::string response_format; // JSON object text, or empty
  std::string passthrough;     // JSON object text whose members are passed upstream as they are
  std::string script;          // failure script for the rehearsal model, where allowed
};

/// Tokens a provider call has used. `exact`: the provider said so. Otherwise estimated, and
/// labelled so.
struct usage {
  std::int64_t prompt_tokens = 0;
  std::int64_t completion_tokens = 0;
  bool exact = false;
  std::int64_t total() const noexcept { return prompt_tokens + completion_tokens; }
  /// A sum is exact if all that is in it is.
  usage& operator+=(const usage& more) noexcept {
    exact = more.exact && (exact || total() == 0);
    prompt_tokens += more.prompt_tokens;
    completion_tokens += more.completion_tokens;
    return *this;
  }
};

/// A rough count where the provider gave none: about four bytes of ASCII a token, one CJK character
/// a token. Never 0 for a text that is not empty.
std::int64_t estimate_tokens(std::string_view text) noexcept;
/// The same, with the few tokens that each message costs beside its text.
std::int64_t estimate_tokens(const message& m) noexcept;

} // namespace parlor
