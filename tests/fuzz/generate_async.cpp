// The body that creates a generation. What is let through can be stored, shown, and sent to a
// model.

#include "protocol/dialects/generate_async.hpp"

#include "turn.hpp"

using namespace parlor;

PARLOR_FUZZ(input) {
  auto read = generate_async::parse_create(input);
  if (auto* turn = std::get_if<turn_request>(&read)) {
    fuzz::must_be_sound(*turn, generate_async::encode);
    fuzz::must_be_sound(*turn, generate_async::encode_with_deltas);
  } else {
    fuzz::must_be_sound(std::get<refusal>(read));
    fuzz::must_be_json(generate_async::error_json(std::get<refusal>(read), language::en));
  }
}
