#pragma once
// Every typed actor interface, smallest first. Components are handed the narrowest that serves
// them.

#include "actors/messages.hpp"

namespace parlor {

/// What a task may tell its session.
using task_sink_actor = caf::typed_actor<caf::reacts_to<task_report>>;

/// Who answers requests to sessions: the lobby, by delegating to the session.
using door_actor = caf::typed_actor<caf::replies_to<session_ask_ptr>::with<session_answer_ptr>>;

using session_actor =
    door_actor::extend<caf::reacts_to<task_report>,      // from the running task and its provider
                       caf::reacts_to<session_alarm>,    // own: leave memory, or expire
                       caf::reacts_to<checkpoint_alarm>, // own: about once a second while a task
                                                         // runs
                       caf::reacts_to<record_again>>;    // own: the disk may have room by now

using lobby_actor =
    door_actor::extend<caf::replies_to<leave>::with<bool>, // a session wants to leave memory
                       caf::reacts_to<sweep>,   // own: expire stored sessions that nobody has
                                                // touched
                       caf::reacts_to<let_go>>; // own: forget those at rest

/// What does the work of a task, as its session sees it. It reports to a task_sink_actor.
using worker_actor =
    caf::typed_actor<caf::reacts_to<stop_task>,     // close what is open, report the end, and end
                     caf::reacts_to<outside_news>>; // somebody has called back

/// One turn of a conversation with a model.
using task_actor =
    worker_actor::extend<caf::reacts_to<call_news>,    // from the provider, through the sink
                         caf::reacts_to<call_granted>, // from the limiter: the call may start
                         caf::reacts_to<task_alarm>,   // own: a deadline may have passed
                         caf::reacts_to<retry_now>>;   // own: the wait before an attempt is over

/// A generation that is made outside.
using external_actor =
    worker_actor::extend<caf::reacts_to<posted>,     // from the poster: how the call went
                         caf::reacts_to<task_alarm>, // own: no callback has come
                         caf::reacts_to<retry_now>>; // own: the wait before an attempt is over

/// Several agents, one after another. Is the sink of their tasks.
using pipeline_actor = worker_actor::extend<caf::reacts_to<task_report>>; // from the running agent

/// Makes facts durable, many groups in one commit. Lives on its own thread.
using keeper_actor =
    caf::typed_actor<caf::replies_to<fact_group_ptr>::with<recorded_ptr>,
                     caf::reacts_to<commit_now>,  // own: everything that was queued before it is in
                                                  // the batch
                     caf::reacts_to<tidy_store>>; // own: prune and checkpoint in idle moments

/// Answers questions from the store. Lives on its own thread.
using archive_actor = caf::typed_actor<caf::replies_to<store_query_ptr>::with<store_reply_ptr>>;

/// Serves HTTP requests: who watches what, up to where.
using edge_actor =
    listener_actor::extend<caf::reacts_to<visit_ptr>,      // a request to serve
                           caf::reacts_to<exchange_news>,  // a watcher's connection
                                                           // has drained, or is gone
                           caf::reacts_to<unattended>,     // own: has nobody come back?
                           caf::reacts_to<session_lost>,   // from a lobby: ask again
                           caf::reacts_to<socket_message>, // from a WebSocket
                           caf::reacts_to<socket_alarm>,   // own: is it time for a
                                                           // sign of life?
                           caf::reacts_to<age_streams>,    // own: end the old ones
                           caf::reacts_to<give_up>,        // own: a session has not answered
                           caf::reacts_to<count_plans>,    // own: for operators
                           caf::reacts_to<end_streams>>;   // the server stops

} // namespace parlor
