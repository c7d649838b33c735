#pragma once
// The row of a session, as the writer changes it and the reader tells of it.

#include "store/sqlite.hpp"
#include "store/store.hpp"

namespace parlor::store {

struct session_row {
  session_key key;
  std::int64_t number = 0; // random: rows of other tables say by it whose they are
  std::int64_t created_at = 0;
  std::int64_t last_accessed = 0;
  std::int64_t message_count = 0;
  std::int64_t total_tokens = 0;
  std::int64_t question_count = 0;
  std::uint64_t first_seq = 0; // 0 until the first task
  std::uint64_t last_seq = 0;
  std::uint64_t lease = 0;
  std::int64_t open_tasks = 0;
  std::int64_t last_task = 0;    // 0: none
  std::int64_t last_message = 0; // 0: none
};

/// What to select, in the order that read_session_row expects.
#define PARLOR_SESSION_COLUMNS                                                                     \
  "tenant, name, number, created_at, last_accessed, message_count, total_tokens, "                 \
  "question_count, first_seq, last_seq, lease, open_tasks, last_task, last_message"

session_row read_session_row(const sqlite::rows& r);
std::optional<session_row> find_session_row(sqlite::connection& db, const session_key& key);

} // namespace parlor::store
