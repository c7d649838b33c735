#pragma once
// What actors say to each other. Payloads that are large or shared travel as shared_ptr<const T>:
// one message to many receivers is then no copy. "Unsafe" means only: never over a network.

#include "actors/conversation.hpp"
#include "actors/turn_gate.hpp"
#include "http/exchange.hpp"
#include "llm/http_post.hpp"
#include "llm/limiter.hpp"
#include "llm/provider.hpp"
#include "protocol/dialects/dialect.hpp"
#include "protocol/dialects/learning_ws.hpp"
#include "store/store.hpp"

#include <caf/all.hpp>

#include <any>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace parlor {

// -- sessions
// -----------------------------------------------------------------------------------------

/// Something that happened in a session, for those who listen to it.
struct published {
  std::shared_ptr<const session_key> key;
  event_ptr what;
};
/// A session's actor died without a word: nothing more comes from it, and the next request finds a
/// new one.
struct session_lost {
  std::shared_ptr<const session_key> key;
};
/// Receives what happens in the sessions that it listens to.
using listener_actor = caf::typed_actor<caf::reacts_to<published>>;

/// A request to a session. The lobby finds the session; the session answers.
struct session_ask {
  enum class kind : std::uint8_t {
    submit,   // take a turn; with `listener`, events from its acceptance on are published there
    watch,    // tell what happened after the cursor, then publish live to `listener`
    cancel,   // end `task`; answered when that is durable
    remove,   // delete the session; answered when that is durable
    expire,   // like remove, if it has been idle for long enough
    look,     // the views of the session and of `task`
    unwatch,  // stop publishing to `listener` (once for each watch or submit that was answered yes
              // and not ended), unless it is of another `life` than that answer
    open,     // make it, if it is not there
    callback, // `news` for `task`, or for the one that waits; answered when what it ends is durable
    wake,     // load, and go on with what a dead server left open
  } what = kind::look;
  session_key key;
  turn_request turn; // submit
  outside_news news; // callback
  std::string task;  // cancel, look, callback; watch: only its events ("" = all of the session)
  std::optional<cursor> after; // watch; none: all of the task, or for a session only what comes
  listener_actor listener;     // may be empty
  std::uint64_t life = 0;      // unwatch
};
using session_ask_ptr = std::shared_ptr<const session_ask>;

struct session_answer {
  refusal why{errc::none};
  std::string task;
  std::string session;
  bool replayed = false; // submit: an earlier request with the same key made this task
  bool reset = false;    // watch: the cursor cannot be honoured; the views are the snapshot
  bool ahead = false;    // reset: it is of something that has not happened here
  bool ended = false;    // watch: nothing follows the events, and those that are left for later
  bool more = false;     // watch: a page is full; ask again with `last_seq` as the cursor
  std::uint64_t last_seq = 0; // submit: of the event before the task's first; watch: the events are
                              // all that there is up to here
  std::uint64_t life = 0;     // submit, watch: of the session in memory; no other has the same
  std::vector<event_ptr> events;
  std::vector<task_header_ptr> open; // watch of a session: what runs and waits
  std::optional<task_view> the_task; // reset of a session: what runs
  std::optional<session_view> the_session;
};
using session_answer_ptr = std::shared_ptr<const session_answer>;

struct session_alarm {
  std::uint64_t generation;
};
struct checkpoint_alarm {};
/// The disk was full: time to record it again.
struct record_again {
  std::shared_ptr<const record_effect> what;
  std::uint64_t life; // of the session: when it has been removed meanwhile, so has this
};
/// From a session to its lobby: may I leave memory? Yes only if I have seen all `received` that you
/// sent me.
struct leave {
  session_key key;
  std::uint64_t received;
  /// What the lobby is to keep of it for as long; null: nothing. The store knows it all.
  conversation_at_rest_ptr rest;
  std::chrono::milliseconds keep_for;
};
struct sweep {};
struct let_go {}; // of sessions that have been at rest for long enough

// -- tasks
// --------------------------------------------------------------------------------------------

struct task_delta {
  std::string text;
  stage_name stage; // of a task with stages; so below
};
struct task_retrying {
  std::uint32_t attempt;
  std::uint32_t delay_ms;
  bool discard;
  stage_name stage;
  std::string why; // for people; may be empty
};
struct task_progress {
  std::uint32_t percent;
  std::string text;
  stage_name stage;
};
struct task_stage_done {
  stage_name stage;
  std::string result;
};
struct task_attempt_ended {
  std::uint32_t attempt;
  usage used;
  errc error;
  std::string model = {}; // where it is not the task's
};
struct task_over {
  outcome end; // without content where it is the pieces that the session has seen
  std::string answer_extra;
  std::optional<task_attempt_ended> last; // the attempt that it ended with
};
/// What a task tells its session, in order. Pieces come from its provider's sink, past the task: if
/// that has ended before its call had, some may follow task_over.
struct task_report {
  task_header_ptr task;
  std::variant<task_delta, task_retrying, task_progress, task_stage_done, task_attempt_ended,
               task_over>
      what;
};
/// News of a provider call; `attempt` tells old ones from the present one.
struct call_news {
  std::uint32_t attempt;
  llm::call_event what;
};
struct call_granted {
  std::uint32_t attempt;
};
struct task_alarm {
  std::uint64_t generation;
};
struct retry_now {
  std::uint32_t attempt;
};
struct stop_task {};
/// How the call to an external service went.
struct posted {
  std::uint32_t attempt;
  llm::post_result result;
};

// -- store
// --------------------------------------------------------------------------------------------

using store::fact_group_ptr;
struct recorded {
  store::group_result result;
  errc error = errc::none;
};
using recorded_ptr = std::shared_ptr<const recorded>;
struct commit_now {};
struct tidy_store {};

/// A question to the store, answered by what `ask` returns. One message for all reads: each place
/// that needs one says what it needs, next to where it uses it.
struct store_query {
  std::function<std::any(store::reader&)> ask;
};
using store_query_ptr = std::shared_ptr<const store_query>;
struct store_reply {
  std::any value; // empty: the store failed
};
using store_reply_ptr = std::shared_ptr<const store_reply>;

// -- edge
// ---------------------------------------------------------------------------------------------

/// One HTTP request as the edge serves it: read by a dialect, not yet done.
struct visit {
  enum class kind : std::uint8_t {
    chat,            // a turn, answered once: POST /api/chat, /api/v1/{name}/generate
    chat_stream,     // a turn, streamed: POST /api/chat/stream, /api/v1/{name}/generate-stream
    generate,        // POST /api/generate-async
    generate_poll,   // GET  /api/generate-async/{id}
    task_stream,     // GET  …/stream, /api/tasks/{id}/events
    generate_cancel, // DELETE /api/generate-async/{id}
    sessions,        // GET /api/sessions
    session,         // GET /api/sessions/{id}
    messages,        // GET /api/sessions/{id}/messages
    session_stream,  // GET /api/sessions/{id}/events
    remove,          // DELETE /api/sessions/{id}
    socket,          // GET /ws/learning
    health,          // GET /health
    plan_stream,     // GET  /api/plan/stream
    plan_generate,   // POST /api/plan/generate
    plan_update,     // POST /api/plan/update
    plan_stats,      // GET  /api/plan/stats
  } what = kind::health;
  http::exchange_ptr exchange;
  std::string request_id;
  language lang = language::en;
  session_key key;
  turn_request turn;
  std::string task;
  std::optional<cursor> after;
  const stream_shape* shape = nullptr;
  const stream_shape* pipeline_shape = nullptr; // task_stream: instead, if it is a pipeline's task
  std::size_t limit = 50;
  std::string page;
  std::string if_none_match;
  std::string protocol;              // of a WebSocket, agreed on
  std::vector<http::header> headers; // of every answer: CORS
  outside_news news;                 // plan_update
  errc because = errc::none;         // plan_update: why it is refused, if there is such a session
  /// plan_stream: the first block, that of a reset, and the event that these tell up to.
  std::string hello, on_reset;
  std::uint64_t known = 0;
  std::chrono::steady_clock::time_point came = std::chrono::steady_clock::now();
  turn_gate::ticket_ptr inside; // of a turn; null: nobody keeps the gate
};
using visit_ptr = std::shared_ptr<const visit>;
struct age_streams {}; // some stream may have reached its age
struct give_up {};     // some session may have been waited for long enough
struct count_plans {}; // for operators
struct end_streams {}; // the server stops
struct exchange_news {
  std::uint64_t watcher;
  http::signal what;
};
/// Nobody attends a turn that is to end then (attendance.hpp): has nobody come since?
struct unattended {
  std::shared_ptr<const session_key> key;
  std::string task;
  std::uint64_t number;
};
/// A message of a WebSocket's peer, read. `text` is held for as long as no other is to come.
struct socket_message {
  std::uint64_t watcher;
  std::shared_ptr<learning_ws::frame> what;
  http::chunk text;
};
/// A WebSocket has been silent, or held, for long enough. One is out for each at most.
struct socket_alarm {
  std::uint64_t watcher;
};

} // namespace parlor

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parlor::age_streams)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parlor::give_up)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parlor::count_plans)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parlor::end_streams)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parlor::published)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parlor::session_lost)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parlor::session_ask_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parlor::session_answer_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parlor::session_alarm)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parlor::checkpoint_alarm)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parlor::record_again)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parlor::leave)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parlor::sweep)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parlor::let_go)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parlor::task_report)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parlor::call_news)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parlor::call_granted)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parlor::task_alarm)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parlor::retry_now)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parlor::stop_task)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parlor::outside_news)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parlor::posted)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parlor::fact_group_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parlor::recorded_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parlor::commit_now)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parlor::tidy_store)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parlor::store_query_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parlor::store_reply_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parlor::visit_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parlor::exchange_news)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parlor::unattended)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parlor::socket_message)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parlor::socket_alarm)
