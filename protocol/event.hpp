#pragma once
// What happens in a session. Events are immutable once made and are shared by everyone who watches.

#include "protocol/chat.hpp"
#include "protocol/errc.hpp"

#include <cstdint>
#include <memory>
#include <string>

namespace parlor {

enum class task_status : std::uint8_t { pending, running, completed, failed, cancelled };
std::string_view to_string(task_status s) noexcept;
inline bool ended(task_status s) noexcept { return s >= task_status::completed; }

/// What does the work of a task, and so how it ends.
enum class task_kind : std::uint8_t {
  chat,     // one call to a model
  external, // a service outside is called, and calls back with the result
  pipeline, // several agents, one after another
};

/// Facts are durable before anyone is told; `delta`, `progress`, `retry` and `text_done` are told
/// at once and become durable with their task's log (by checkpoint about once a second, and when
/// the task ends).
enum class event_kind : std::uint8_t {
  accepted,        // fact: the task exists
  started,         // fact: its first attempt begins
  delta,           // a piece of the answer
  progress,        // percent, only when it changed, at most ten a second
  retry,           // the next attempt comes after a delay
  text_done,       // the text is complete; that it is stored is said by the end
  stage_done,      // fact: a stage of the task has its result
  completed,       // fact, last of its task
  failed,          // fact, last of its task
  cancelled,       // fact, last of its task
  session_deleted, // fact, last of the session
  session_expired, // fact, last of the session
};
inline bool ends_task(event_kind k) noexcept {
  return k == event_kind::completed || k == event_kind::failed || k == event_kind::cancelled;
}
inline bool ends_session(event_kind k) noexcept { return k >= event_kind::session_deleted; }

/// What does not change about a task; shared by all its events.
struct task_header {
  std::string id;
  std::string session;
  std::string model;
  std::int64_t created_at = 0; // wall clock, ms
  std::string request_id;      // for the log; not stored
  task_kind kind = task_kind::chat;
  std::string ref; // the client's own name for its request; may be empty
};
using task_header_ptr = std::shared_ptr<const task_header>;

/// How a task ended.
struct outcome {
  task_status status = task_status::completed;
  errc error = errc::none;
  int upstream_status = 0; // of the provider's last answer, for the log; not stored
  // For operators and developers. Holds no secrets and no client text; that of schema_violation
  // quotes the model, behind the agent's name.
  std::string detail;
  std::string content;       // the text of the last attempt, partial if not completed
  std::string message_id;    // of the answer in the history; empty if there was nothing to keep
  std::string finish_reason; // as the provider named it: stop, length, tool_calls, content_filter
  usage used;                // of all attempts together
  std::uint32_t attempts = 1;
  std::uint32_t history_dropped = 0; // messages left out to keep within the token budget
  std::int64_t session_tokens = 0;   // the session's counters with this turn
  std::int64_t session_questions = 0;
};
using outcome_ptr = std::shared_ptr<const outcome>;

struct event {
  std::uint64_t seq = 0; // grows by one per event of the session; never reused
  event_kind kind = event_kind::delta;
  bool discard = false;       // retry: what was shown of this task's answer so far is void
  std::uint32_t number = 0;   // progress: percent; retry: number of the coming attempt (2, 3, …)
  std::uint32_t delay_ms = 0; // retry: the wait before it
  std::int64_t at = 0;        // wall clock, ms
  task_header_ptr task;       // null for the events of the session itself
  std::string text;           // delta: the piece, valid UTF-8, never empty; stage_done: the result;
                              // retry: why, progress: what is being done, for people; may be empty
  std::shared_ptr<const std::string> stage; // of a task with stages: which one; may be null
  outcome_ptr end;                          // completed, failed, cancelled
};
using event_ptr = std::shared_ptr<const event>;

/// A task as it stands: for polling, and for the first event of a stream.
struct task_view {
  std::string id;
  std::string session;
  std::string model;
  task_status status = task_status::pending;
  std::uint32_t progress = 0;  // percent; 100 only when completed
  std::uint32_t attempt = 0;   // 0: not started
  std::int64_t created_at = 0; // wall clock, ms
  std::int64_t updated_at = 0;
  std::uint64_t last_seq = 0; // of the task's newest event
  std::string text;           // the answer so far
  outcome_ptr end;            // once ended
};

/// A session as it stands.
struct session_view {
  std::string id;
  std::int64_t created_at = 0; // wall clock, ms
  std::int64_t last_accessed = 0;
  std::int64_t message_count = 0; // user and assistant messages
  std::int64_t total_tokens = 0;
  std::int64_t question_count = 0;
  std::string state = "idle"; // idle, running
  std::string active_task;    // empty: none
  std::uint64_t last_seq = 0;
};

} // namespace parlor
