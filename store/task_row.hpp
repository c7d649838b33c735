#pragma once
// How a row of the table of tasks is read.

#include "store/sqlite.hpp"
#include "store/store.hpp"

namespace parlor::store {

/// What to select, in the order that read_task_row expects.
#define PARLOR_TASK_COLUMNS                                                                        \
  "id, name, tenant, session_name, status, accepted_at, started_at, ended_at, accepted_seq, "      \
  "started_seq, ended_seq, "                                                                       \
  "message_id, model, temperature, max_tokens, response_format, passthrough, script, error, "      \
  "detail, answer_id, "                                                                            \
  "finish_reason, prompt_tokens, completion_tokens, exact, attempts, history_dropped, content, "   \
  "text, log"

/// The row's own columns; the view lacks what complete_view adds.
stored_task read_task_row(const sqlite::rows& r);

/// Fills the view from the text and log, which by now hold those of the checkpoints too.
void complete_view(stored_task& t);

} // namespace parlor::store
