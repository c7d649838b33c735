// What services outside have made. The index external_task has those tasks only.

#include "store/sqlite_reader.hpp"

#include "store/snapshot.hpp"
#include "store/task_row.hpp"

#include <unordered_set>

namespace parlor::store {

std::optional<external_session> sqlite_reader::find_external(const session_key& key) {
  snapshot one{db_};
  auto row = find_session_row(db_, key);
  if (!row)
    return std::nullopt;
  external_session found{told(*row), {}};
  auto newest =
      db_.query("SELECT max(id) FROM open_task WHERE session = ? AND kind = 1", row->number);
  if (!newest.next() || newest.null(0)) {
    auto ended =
        db_.query("SELECT max(id) FROM ended_task WHERE session = ? AND kind = 1", row->number);
    if (!ended.next() || ended.null(0))
      return found;
    if (auto t = task_row_at(db_, ended.integer(0), false))
      found.newest = std::move(t->task);
  } else if (auto t = task_row_at(db_, newest.integer(0), true)) {
    found.newest = std::move(t->task);
  }
  if (found.newest)
    complete_view(*found.newest);
  return found;
}

external_counts sqlite_reader::count_external() {
  snapshot one{db_};
  std::unordered_set<std::int64_t> running; // numbers of sessions
  for (auto r = db_.query("SELECT session FROM open_task WHERE kind = 1"); r.next();)
    running.insert(r.integer(0));
  external_counts n;
  for (auto r = db_.query("SELECT number, question_count, (SELECT status FROM ended_task WHERE "
                          "kind = 1 AND session = number ORDER BY id DESC LIMIT 1) FROM session");
       r.next();) {
    if (running.count(r.integer(0)) != 0)
      ++n.running;
    else if (!r.null(2))
      ++(static_cast<task_status>(r.integer(2)) == task_status::completed ? n.completed : n.failed);
    else if (r.integer(1) == 0)
      ++n.waiting;
  }
  return n;
}

} // namespace parlor::store
