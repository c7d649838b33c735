#pragma once
// docs/clients/plan-callback.md: plans that an external service makes and answers by calling back.
// Pure; any thread.
//
// A generation is a task of its session. Its `said` is the page's request, and the `content` of its
// outcome is the plan, or, with errc::generation_failed, what the service said to people; both are
// JSON on one line, with the numbers as they were written. A progress event's `text`, where there
// is one, is said to people, too.

#include "protocol/dialects/dialect.hpp"

#include <optional>

namespace parlor::plan_callback {

// -- requests

/// Body of POST /api/plan/generate. `said.content` is the request; a session that is generating
/// already rejects it.
parsed<turn_request> parse_generate(std::string_view body);

/// The largest body of a callback: beyond it, body_too_large.
inline constexpr std::size_t max_callback_bytes = 4 << 20;

struct callback {
  std::string session; // never empty
  /// Completed: the text is the plan, as JSON on one line. Else at most 500 bytes for people.
  outside_news what;
};

/// POST /api/plan/update. `session` is that of the query, decoded, or empty; it wins over the
/// body's. What says that it failed is never taken for a plan: an `error` that is not empty comes
/// before `data`. An object without either is progress if `progress` is a number and there is a
/// `message`, or nothing else; any other object is the plan itself.
parsed<callback> parse_callback(std::string_view session, std::string_view body);

/// Whether a task that ended so has been told this already: then the callback is a repetition, to
/// be answered as the first was, and pushed to nobody.
bool repeats(const outside_news& what, const outcome& end) noexcept;

/// What is sent to the external service. `request` is JSON.
std::string outbound_json(std::string_view session, std::string_view request,
                          std::string_view callback_url);

// -- answers

/// `waiting` (no task yet), `generating`, `completed`, `error`.
std::string_view status_name(const task_view* task) noexcept;

/// The 202 of POST /api/plan/generate.
std::string started_json(std::string_view session, std::string_view callback_url);
/// The 200 of a callback; `delivered`: pages that were listening, 0 for a repetition.
std::string received_json(std::string_view session, outside_news::kind what, std::size_t delivered);
/// `session` is null in the answer if it is empty or not the id of a session.
std::string error_json(const refusal& why, language lang, std::string_view session);

/// What the server has counted since it started, but for the sessions, which are those of now.
struct figures {
  std::uint64_t waiting = 0; // sessions by status
  std::uint64_t generating = 0;
  std::uint64_t completed = 0;
  std::uint64_t error = 0;
  std::uint64_t connections = 0;   // pages that listen now
  std::uint64_t plans = 0;         // generations that ended well,
  std::uint64_t generation_ms = 0; // and how long they took together
  std::uint64_t failures = 0;      // generations that did not, time-outs included
  std::uint64_t timeouts = 0;
};
/// Rates are parts of all generations that ended, from 0 to 1; 0 before the first.
std::string stats_json(const figures& f);

// -- events

/// `status`, `plan`, `error`, `retry`; empty for an event without a form.
std::string encode(std::string_view epoch, language lang, const event& e);
/// `connected`, the first block of every connection, without id. A null task is a session that
/// waits.
std::string connected(std::string_view session, const task_view* task);
/// The last block of a connection that has reached its age; without id.
std::string connection_timeout();
/// `{"type":"reset","snapshot":{…}}`: the session's status, with the plan or the error.
std::string reset(std::string_view epoch, language lang, const task_view* task,
                  const session_view& session);

} // namespace parlor::plan_callback
