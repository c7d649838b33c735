#pragma once
// What the rehearsal model says. Pure; any thread.

#include "protocol/chat.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace parlor::llm {

/// The whole answer to a conversation. Depends on nothing but its arguments.
std::string rehearsal_answer(const std::vector<message>& messages, const model_settings& settings);

/// The next piece of an answer from `at`: a word with the space after it, two CJK characters, or at
/// most 16 bytes of a longer word. Never half a character; empty only at the end.
std::string_view next_piece(std::string_view text, std::size_t at);

/// The name that a text tells ("I am Zhang San", 我叫张三), or empty.
std::string told_name(std::string_view text);

} // namespace parlor::llm
