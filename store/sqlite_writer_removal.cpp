// What is removed: by its user, because it has expired, and because it is old.

#include "store/sqlite_writer.hpp"

#include "store/task_id.hpp"

#include <algorithm>
#include <unordered_set>

namespace parlor::store {

void sqlite_writer::remove_messages(std::int64_t last, std::int64_t session) {
  while (last != 0) {
    auto id = last;
    {
      auto r = db_.query("SELECT prev FROM message WHERE id = ? AND session = ?", id, session);
      if (!r.next())
        return;
      last = r.integer(0);
    }
    db_.run("DELETE FROM message WHERE id = ?", id);
  }
}

/// What belongs to a task beside its row.
void sqlite_writer::remove_task(std::int64_t id, const std::string& name, const std::string& key) {
  db_.run("DELETE FROM attempt WHERE task = ?", id);
  // A repeated request shall not be answered with a task that is gone.
  if (!key.empty())
    db_.run("DELETE FROM idempotency WHERE key = ? AND task = ?", key, name);
}

/// Removes the open tasks of a session's chain, and the ended ones if told so. Returns where the
/// chain of those that stay begins.
std::int64_t sqlite_writer::remove_tasks(std::int64_t last, std::int64_t session, bool ended_too) {
  std::int64_t head = 0;
  std::int64_t newer = 0; // the one that stays and was accepted after `id`
  for (auto id = last; id != 0;) {
    std::int64_t prev = 0;
    auto open = false;
    std::string name;
    std::string key;
    {
      auto o = db_.query("SELECT prev, name, idempotency_key FROM open_task WHERE id = ? AND "
                         "session = ?",
                         id, session);
      auto e = db_.query("SELECT prev, name, idempotency_key FROM ended_task WHERE id = ? AND "
                         "session = ?",
                         id, session);
      open = o.next();
      if (!open && !e.next())
        break; // pruned, and all before it
      auto& r = open ? o : e;
      prev = r.integer(0);
      name = r.text(1);
      key = r.text(2);
    }
    if (open || ended_too) {
      remove_task(id, name, key);
      if (open) {
        db_.run("DELETE FROM checkpoint WHERE task = ?", id);
        db_.run("DELETE FROM open_task WHERE id = ?", id);
      } else {
        db_.run("DELETE FROM ended_task WHERE id = ?", id);
      }
    } else {
      if (head == 0)
        head = id;
      else
        db_.run("UPDATE ended_task SET prev = ?1 WHERE id = ?2 AND prev <> ?1", id, newer);
      newer = id;
    }
    id = prev;
  }
  return head;
}

void sqlite_writer::on(const session_removed& f, const fact_group&) {
  put_session();
  in_turn_.erase(f.key);
  auto s = find_session_row(db_, f.key);
  if (s) {
    db_.run("UPDATE meta SET seq_floor = max(seq_floor, ?)", std::max(s->lease, s->last_seq));
    remove_messages(s->last_message, s->number);
    auto left = f.expired && s->open_tasks == 0 ? s->last_task
                                                : remove_tasks(s->last_task, s->number, !f.expired);
    if (left != 0)
      db_.run("INSERT INTO expired(tenant, name, number, last_task, at) VALUES(?, ?, ?, ?, ?)",
              f.key.tenant, f.key.id, s->number, left, f.at);
    db_.run("DELETE FROM session_text WHERE tenant = ? AND name = ?", f.key.tenant, f.key.id);
    db_.run("DELETE FROM session WHERE tenant = ? AND name = ?", f.key.tenant, f.key.id);
  }
  if (f.expired)
    return;
  // Earlier sessions of that name, which have expired: whoever deletes it means those too.
  std::vector<std::pair<std::int64_t, std::int64_t>> earlier;
  for (auto r = db_.query("SELECT last_task, number FROM expired WHERE tenant = ? AND name = ?",
                          f.key.tenant, f.key.id);
       r.next();)
    earlier.emplace_back(r.integer(0), r.integer(1));
  for (auto [last, number] : earlier)
    remove_tasks(last, number, true);
  if (!earlier.empty())
    db_.run("DELETE FROM expired WHERE tenant = ? AND name = ?", f.key.tenant, f.key.id);
}

// -- pruning
// ----------------------------------------------------------------------------------------

std::size_t sqlite_writer::prune(std::int64_t tasks_before, std::int64_t keys_before,
                                 std::size_t limit) {
  std::size_t most = 0;
  transaction([&] {
    most = std::max({prune_tasks(tasks_before, limit), prune_expired(tasks_before, limit),
                     prune_keys(keys_before, limit)});
  });
  return most;
}

/// By their ids, which are in order of time: those that are old are at the beginning. A task stays
/// as long as the one accepted before it in its session does, be that open or not old enough: only
/// the far end of a chain may go, or what is behind the gap could be neither found nor deleted.
std::size_t sqlite_writer::prune_tasks(std::int64_t before, std::size_t limit) {
  std::vector<std::int64_t> old;
  std::unordered_set<std::int64_t> gone{0};
  for (auto r = db_.query("SELECT id, prev FROM ended_task WHERE id < ? AND ended_at < ? ORDER BY "
                          "id",
                          task_ids_before(before), before);
       old.size() < limit && r.next();) {
    auto prev = r.integer(1);
    if (!gone.contains(prev) && is_task(prev))
      continue;
    old.push_back(r.integer(0));
    gone.insert(r.integer(0));
  }
  for (auto id : old) {
    db_.run("DELETE FROM attempt WHERE task = ?", id);
    db_.run("DELETE FROM ended_task WHERE id = ?", id);
  }
  return old.size();
}

bool sqlite_writer::is_task(std::int64_t id) {
  return db_
      .query("SELECT 1 FROM open_task WHERE id = ?1 UNION ALL SELECT 1 FROM ended_task WHERE id = "
             "?1",
             id)
      .next();
}

/// When the newest of its tasks is gone, all are.
std::size_t sqlite_writer::prune_expired(std::int64_t before, std::size_t limit) {
  std::vector<std::int64_t> done;
  for (auto r = db_.query("SELECT id, at, last_task FROM expired ORDER BY id");
       done.size() < limit && r.next() && r.integer(1) < before;)
    if (!is_task(r.integer(2)))
      done.push_back(r.integer(0));
  for (auto id : done)
    db_.run("DELETE FROM expired WHERE id = ?", id);
  return done.size();
}

std::size_t sqlite_writer::prune_keys(std::int64_t before, std::size_t limit) {
  std::int64_t upto = 0;
  for (auto r = db_.query("SELECT id, at FROM idempotency ORDER BY id LIMIT ?", limit);
       r.next() && r.integer(1) < before;)
    upto = r.integer(0);
  return upto == 0
             ? 0
             : static_cast<std::size_t>(db_.run("DELETE FROM idempotency WHERE id <= ?", upto));
}

} // namespace parlor::store
