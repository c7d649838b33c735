// Sessions and tasks. Histories are in sqlite_reader_messages.cpp.

#include "store/sqlite_reader.hpp"

#include "store/snapshot.hpp"
#include "store/task_id.hpp"
#include "store/task_row.hpp"

#include <algorithm>
#include <charconv>
#include <limits>
#include <utility>

namespace parlor::store {

sqlite_reader::sqlite_reader(const std::string& path, std::shared_ptr<void> keep)
    : keep_{std::move(keep)}, db_{path} {
  db_.script("PRAGMA query_only=ON");
}

// -- sessions
// ---------------------------------------------------------------------------------------

stored_session sqlite_reader::told(const session_row& s) {
  stored_session out;
  out.key = s.key;
  auto& v = out.view;
  v.id = s.key.id;
  v.created_at = s.created_at;
  v.last_accessed = s.last_accessed;
  v.message_count = s.message_count;
  v.total_tokens = s.total_tokens;
  v.question_count = s.question_count;
  v.last_seq = s.last_seq;
  out.first_seq = std::max<std::uint64_t>(s.first_seq, 1);
  out.lease = s.lease;
  // The one that runs, or the one that has waited longest.
  auto left = s.open_tasks;
  for (auto id = s.last_task; id != 0 && left > 0;) {
    auto r = db_.query("SELECT prev, name, started_seq FROM open_task WHERE id = ? AND session = ?",
                       id, s.number);
    if (r.next()) {
      --left;
      id = r.integer(0);
      v.active_task = r.text(1);
      if (r.integer(2) != 0)
        break;
      continue;
    }
    auto e = db_.query("SELECT prev FROM ended_task WHERE id = ? AND session = ?", id, s.number);
    id = e.next() ? e.integer(0) : 0;
  }
  v.state = v.active_task.empty() ? "idle" : "running";
  return out;
}

stored_session sqlite_reader::told_with_texts(const session_row& row) {
  auto s = told(row);
  auto r = db_.query("SELECT system_prompt, metadata FROM session_text WHERE tenant = ? AND name = "
                     "?",
                     row.key.tenant, row.key.id);
  if (r.next()) {
    s.system_prompt = r.text(0);
    s.metadata = r.text(1);
  }
  return s;
}

std::optional<stored_session> sqlite_reader::find_session(const session_key& key) {
  snapshot one{db_};
  auto row = find_session_row(db_, key);
  return row ? std::optional{told_with_texts(*row)} : std::nullopt;
}

session_image sqlite_reader::load_session(const session_key& key, const history_limits& limits) {
  session_image image;
  // A statement sees one state by itself: for one that is not there this is the only one.
  if (auto r = db_.query("SELECT seq_floor FROM meta WHERE NOT EXISTS(SELECT 1 FROM session WHERE "
                         "tenant = ? AND name = ?)",
                         key.tenant, key.id);
      r.next()) {
    image.first_free_seq = r.number(0) + 1;
    return image;
  }
  snapshot one{db_};
  auto row = find_session_row(db_, key);
  if (!row) // removed this very moment
    return load_session(key, limits);
  image.session = told_with_texts(*row);
  image.first_free_seq = image.session->lease + 1;
  load_turns(*row, limits, image);
  load_open(*row, image);
  return image;
}

session_page sqlite_reader::list_sessions(const std::string& tenant, std::size_t limit,
                                          const std::string& page) {
  snapshot one{db_};
  session_page out;
  {
    auto r = db_.query("SELECT count(*) FROM session INDEXED BY session_recent WHERE tenant = ?",
                       tenant);
    r.next();
    out.total = r.integer(0);
  }
  auto at = std::numeric_limits<std::int64_t>::max();
  auto number = at;
  if (auto dot = page.find('.'); dot != std::string::npos) {
    auto* end = page.data() + page.size();
    std::int64_t a = 0;
    std::int64_t n = 0;
    if (std::from_chars(page.data(), page.data() + dot, a).ptr == page.data() + dot &&
        std::from_chars(page.data() + dot + 1, end, n).ptr == end) {
      at = a;
      number = n;
    }
  }
  std::vector<session_row> found;
  for (auto r = db_.query("SELECT " PARLOR_SESSION_COLUMNS
                          " FROM session WHERE tenant = ? AND (last_accessed, number) < (?, ?) "
                          "ORDER BY last_accessed DESC, number DESC LIMIT ?",
                          tenant, at, number, limit + 1);
       r.next();)
    found.push_back(read_session_row(r));
  if (found.size() > limit) {
    found.pop_back();
    out.next_cursor =
        std::to_string(found.back().last_accessed) + "." + std::to_string(found.back().number);
  }
  for (auto& s : found)
    out.sessions.push_back(told(s).view);
  return out;
}

std::int64_t sqlite_reader::count_sessions() {
  auto r = db_.query("SELECT count(*) FROM session");
  r.next();
  return r.integer(0);
}

std::vector<session_key> sqlite_reader::unfinished_sessions() {
  std::vector<session_key> found;
  for (auto r = db_.query("SELECT DISTINCT tenant, session_name FROM open_task ORDER BY id");
       r.next();)
    found.push_back({r.text(0), r.text(1)});
  return found;
}

idle_page sqlite_reader::idle_sessions(std::int64_t moment, std::size_t limit,
                                       const idle_place& after) {
  snapshot one{db_};
  // An index over all tenants would be written by every turn; there are only a few of them.
  std::vector<std::string> tenants;
  for (auto r = db_.query("WITH RECURSIVE t(tenant) AS (SELECT min(tenant) FROM session UNION ALL "
                          "SELECT (SELECT min(s.tenant) FROM session s WHERE s.tenant > t.tenant) "
                          "FROM t WHERE t.tenant IS NOT NULL) SELECT tenant FROM t WHERE tenant IS "
                          "NOT NULL");
       r.next();)
    tenants.push_back(r.text(0));
  struct idle {
    std::int64_t at, number;
    session_key key;
  };
  std::vector<idle> found;
  for (auto& tenant : tenants)
    for (auto r = db_.query("SELECT last_accessed, number, name FROM session WHERE tenant = ? AND "
                            "last_accessed < ? AND (last_accessed, number) > (?, ?) AND open_tasks "
                            "= 0 ORDER BY last_accessed, number LIMIT ?",
                            tenant, moment, after.at, after.number, limit);
         r.next();)
      found.push_back({r.integer(0), r.integer(1), session_key{tenant, r.text(2)}});
  std::sort(found.begin(), found.end(),
            [](auto& a, auto& b) { return std::tie(a.at, a.number) < std::tie(b.at, b.number); });
  idle_page page;
  page.more = found.size() >= limit;
  found.resize(std::min(found.size(), limit));
  for (auto& i : found)
    page.sessions.push_back(std::move(i.key));
  if (!found.empty())
    page.last = {found.back().at, found.back().number};
  return page;
}

// -- tasks
// ------------------------------------------------------------------------------------------

void sqlite_reader::load_open(const session_row& s, session_image& into) {
  auto left = s.open_tasks;
  for (auto id = s.last_task; id != 0 && left > 0;) {
    auto t = task_row_at(db_, id, true);
    if (!t || t->session != s.number)
      break;
    auto row = std::exchange(id, t->prev);
    if (t->task.ended_seq != 0)
      continue;
    --left;
    complete_view(t->task);
    // A turn that is run again needs what was said, however long the history is.
    auto r = db_.query("SELECT role, said FROM open_task WHERE id = ?", row);
    r.next();
    sqlite::part_reader extra{db_.raw(), "open_task", "extra", row};
    into.open_tasks.push_back(
        {std::move(t->task),
         {static_cast<role>(r.integer(0)), r.text(1), extra.read(0, SIZE_MAX)}});
  }
  std::reverse(into.open_tasks.begin(), into.open_tasks.end());
}

std::optional<stored_task> sqlite_reader::find_task(const std::string& tenant,
                                                    const std::string& task) {
  snapshot one{db_};
  auto t = find_task_row(db_, task);
  if (!t || t->task.key.tenant != tenant)
    return std::nullopt;
  complete_view(t->task);
  return std::move(t->task);
}

std::optional<stored_task> sqlite_reader::find_task_head(const std::string& tenant,
                                                         const std::string& task) {
  snapshot one{db_};
  auto t = find_task_row(db_, task, false);
  if (!t || t->task.key.tenant != tenant)
    return std::nullopt;
  complete_view(t->task);
  return std::move(t->task);
}

std::vector<usage_recorded> sqlite_reader::usage_of(const std::string& task) {
  snapshot one{db_};
  std::vector<usage_recorded> found;
  auto t = find_task_row(db_, task);
  if (!t)
    return found;
  for (auto r = db_.query("SELECT attempt, model, at, prompt_tokens, completion_tokens, exact, "
                          "error FROM attempt WHERE task = ?1 UNION ALL SELECT last_attempt, "
                          "model, last_at, last_prompt_tokens, last_completion_tokens, "
                          "last_exact, last_error FROM ended_task WHERE id = ?1 AND "
                          "last_attempt > 0 ORDER BY 1",
                          t->id);
       r.next();)
    found.push_back({task,
                     r.small(0),
                     r.text(1),
                     r.integer(2),
                     {r.integer(3), r.integer(4), r.integer(5) != 0},
                     errc_from_name(r.text(6))});
  return found;
}

} // namespace parlor::store
