#pragma once
// What of a conversation is sent to a model: as much of the newest as fits, always valid for a
// provider. Pure; any thread.

#include "protocol/chat.hpp"

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace parlor {

struct window_result {
  std::vector<message> messages;
  std::int64_t tokens = 0; // of all of them, estimated
  // How many of the oldest of the history
  std::int64_t dropped = 0; // were left out to keep within the budget
  std::int64_t beyond = 0;  // can be reached by no later window either: they are never sent again
};

/// The system prompt, the newest whole turns that fit `token_budget`, and `now`. A turn is a user
/// message with its answers and is never split; a user message that got no answer is left out, so
/// that user and assistant alternate.
window_result fit_window(std::string_view system_prompt, const std::vector<message>& history,
                         const message& now, std::int64_t token_budget);

/// Texts of more bytes than this are more than that many tokens (estimate_tokens): no window of
/// this budget reaches beyond them.
constexpr std::size_t window_bytes(std::int64_t token_budget) noexcept {
  return static_cast<std::size_t>(token_budget) * 4;
}

/// How many bytes of images may go along with a question, beside its own: those of the newest
/// messages. They are counted as they are sent, in base64.
class image_budget {
public:
  explicit image_budget(std::size_t bytes) : left_{bytes} {}
  /// The newest message first: may its images go along? If not, none that is older may.
  bool fits(std::size_t bytes) noexcept {
    auto yes = bytes <= left_;
    left_ = yes ? left_ - bytes : 0;
    return yes;
  }

private:
  std::size_t left_;
};

/// What is left of a message whose images do not go along: its text, and that there were some.
message without_images(const message& m);

/// Of the history, oldest first, only the images within the budget stay.
void fit_images(std::vector<message>& history, std::size_t bytes);

} // namespace parlor
