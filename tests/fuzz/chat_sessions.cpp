// The body of a chat request. What is let through can be stored, shown, and sent to a model.

#include "protocol/dialects/chat_sessions.hpp"

#include "turn.hpp"

using namespace parlor;

PARLOR_FUZZ(input) {
  auto read = chat_sessions::parse_chat(input);
  if (auto* turn = std::get_if<turn_request>(&read))
    fuzz::must_be_sound(*turn, chat_sessions::encode);
  else
    fuzz::must_be_sound(std::get<refusal>(read));
}
