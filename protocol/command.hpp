#pragma once
// What clients ask for, after a dialect has read it. Values only.

#include "protocol/byte_room.hpp"
#include "protocol/chat.hpp"
#include "protocol/errc.hpp"
#include "protocol/event.hpp"
#include "protocol/ids.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

namespace parlor {

/// What happens to a turn that arrives while another runs.
enum class on_busy : std::uint8_t { queue, reject, interrupt };

/// The client's promise that this is the same request as an earlier one, and a way to notice when
/// it is not.
struct idempotency {
  std::string scope_and_key; // tenant, method, route and key, joined; empty: none given
  std::string fingerprint;   // SHA-256 of the body, hex
};

/// One turn to be taken in a session.
struct turn_request {
  session_key session; // id never empty
  bool fresh = false;  // the server has just made that id: nobody can have used it before
  std::string
      task_id; // made by the edge, so that an answer can name it before the session has seen it
  std::string message_id;    // of the user's message
  message said;              // what the user says
  std::string system_prompt; // first turn of the session only
  model_settings settings;   // model may be empty: the default
  std::string metadata;      // JSON object text or empty
  on_busy when_busy = on_busy::queue;
  bool cancel_on_disconnect = false;
  /// Turns that nobody attends any more (actors/attendance.hpp): this one, if it is new, stops
  /// them.
  std::vector<std::string> instead;
  idempotency once;
  std::string request_id; // for the log
  task_kind kind = task_kind::chat;
  std::string ref;              // the client's own name for the request
  bool wants_text_done = false; // tell when the text is complete, before it is stored
  std::shared_ptr<const byte_room::part> memory; // held for it until it has ended; may be null
};
/// Of all that the client has said in it, as far as it may be long.
inline std::size_t bytes_of(const turn_request& turn) noexcept {
  auto& s = turn.settings;
  return turn.said.content.size() + turn.said.extra.size() + turn.system_prompt.size() +
         turn.metadata.size() + s.response_format.size() + s.passthrough.size() + s.script.size();
}

/// What an external service says of the task it was given.
struct outside_news {
  enum class kind : std::uint8_t { progress, completed, failed } what = kind::progress;
  std::uint32_t percent = 0; // progress
  std::string text;          // completed: the result; failed, progress: for people, may be empty
};

/// Why a request was refused, with the offending field where there is one.
struct refusal {
  errc code = errc::internal;
  std::string field;  // JSON pointer-like name: "message", "conversation_id"
  std::string detail; // one sentence; a fixed string that never repeats client input
};

template <class T>
using parsed = std::variant<T, refusal>;

} // namespace parlor
