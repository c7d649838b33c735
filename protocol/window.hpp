#pragma once
// What of a conversation is sent to a model: as much of the newest as fits, always valid for a
// provider. Pure; any thread.

#include "protocol/chat.hpp"

#include <cstdint>
#include <string_view>
#include <vector>

namespace parlor {

struct window_result {
  std::vector<message> messages;
  std::uint32_t dropped = 0; // messages left out to keep within the budget
};

/// The system prompt, the newest whole turns that fit `token_budget`, and `now`. A turn is a user
/// message with its answers and is never split; a user message that got no answer is left out, so
/// that user and assistant alternate.
window_result fit_window(std::string_view system_prompt,
                         const std::vector<history_message>& history, const message& now,
                         std::int64_t token_budget);

} // namespace parlor
