#pragma once
// What every dialect is: pure functions from requests to commands and from events to bytes. A
// dialect holds no state; two watchers of one event in one dialect get the same bytes.

#include "protocol/command.hpp"
#include "protocol/event.hpp"

#include <string>
#include <string_view>

namespace parlor {

/// What a stream is for, fixed when it opens.
struct stream_shape {
  /// Makes the SSE block of an event, id line included; empty when the event has no form in this
  /// dialect.
  using encoder = std::string (*)(std::string_view epoch, language lang, const event& e);
  /// The first block of every connection, without id; empty if the dialect has none. `fresh`: the
  /// client has no cursor.
  using greeter = std::string (*)(language lang, std::int64_t now_ms, const task_view* task,
                                  bool fresh);
  /// The block of a reset: the cursor cannot be honoured; what follows begins after `last_seq` of
  /// the snapshot.
  using resetter = std::string (*)(std::string_view epoch, const task_view* task,
                                   const session_view& session);

  encoder encode = nullptr;
  greeter greet = nullptr;
  resetter reset = nullptr;
  /// Its clients read streams as WHATWG says: a comment, and a `retry:` without data, harm none of
  /// them. (Those of the OpenAI SDKs die of it.)
  bool takes_retry = true;
};

} // namespace parlor
