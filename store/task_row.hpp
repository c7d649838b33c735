#pragma once
// How the row of a task is read, from the table of open tasks and from that of ended ones.

#include "store/sqlite.hpp"
#include "store/store.hpp"

namespace parlor::store {

/// A task, and where its session's chain of tasks goes on.
struct task_row {
  std::int64_t id = 0;
  std::int64_t prev = 0;    // 0: none
  std::int64_t session = 0; // number
  stored_task task;         // its view lacks what complete_view adds
};

/// Nothing if there is no such row. `texts`: with text, log and content, which may be long; of an
/// open task those of its checkpoints.
std::optional<task_row> find_task_row(sqlite::connection& db, std::string_view name,
                                      bool texts = true);
/// `open`: it may be an open task; else only the ended ones are looked at.
std::optional<task_row> task_row_at(sqlite::connection& db, std::int64_t id, bool open,
                                    bool texts = true);

/// Fills the view from the text and log.
void complete_view(stored_task& t);

} // namespace parlor::store
