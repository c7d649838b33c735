#include "store/sqlite_reader.hpp"

#include "store/task_row.hpp"

#include <algorithm>
#include <charconv>
#include <limits>

namespace parlor::store {

namespace {

constexpr auto from_the_newest = std::numeric_limits<std::int64_t>::max();

#define PARLOR_SESSION_COLUMNS                                                                     \
  "s.id, s.tenant, s.name, s.created_at, s.last_accessed, s.message_count, s.total_tokens, "       \
  "s.question_count, "                                                                             \
  "s.system_prompt, s.metadata, s.first_seq, s.last_seq, s.lease, "                                \
  "(SELECT t.name FROM task t WHERE t.session = s.id AND t.ended_seq = 0 ORDER BY t.status DESC, " \
  "t.id LIMIT 1)"

stored_session read_session(const sqlite::rows& r) {
  stored_session s;
  s.key = {r.text(1), r.text(2)};
  auto& v = s.view;
  v.id = s.key.id;
  v.created_at = r.integer(3);
  v.last_accessed = r.integer(4);
  v.message_count = r.integer(5);
  v.total_tokens = r.integer(6);
  v.question_count = r.integer(7);
  s.system_prompt = r.text(8);
  s.metadata = r.text(9);
  s.first_seq = std::max<std::uint64_t>(r.number(10), 1);
  v.last_seq = r.number(11);
  s.lease = r.number(12);
  v.active_task = r.text(13);
  v.state = v.active_task.empty() ? "idle" : "running";
  return s;
}

std::optional<std::int64_t> number_from(std::string_view text) {
  std::int64_t n = 0;
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (ec != std::errc{} || end != text.data() + text.size())
    return std::nullopt;
  return n;
}

} // namespace

/// One state of the store for several queries.
class sqlite_reader::snapshot {
public:
  explicit snapshot(sqlite::connection& db) : db_{db} {
    if (db_.in_transaction())
      db_.script("ROLLBACK");
    db_.run("BEGIN");
  }
  ~snapshot() {
    try {
      db_.run("COMMIT");
    } catch (const sqlite::error&) { // the next one rolls back
    }
  }

private:
  sqlite::connection& db_;
};

sqlite_reader::sqlite_reader(const std::string& path, std::shared_ptr<void> keep)
    : keep_{std::move(keep)}, db_{path} {
  db_.script("PRAGMA query_only=ON");
}

std::optional<std::int64_t> sqlite_reader::session_id(const session_key& key) {
  auto r = db_.query("SELECT id FROM session WHERE tenant = ? AND name = ?", key.tenant, key.id);
  return r.next() ? std::optional{r.integer(0)} : std::nullopt;
}

stored_task sqlite_reader::whole(std::int64_t id, stored_task t) {
  if (t.ended_seq == 0)
    for (auto r = db_.query("SELECT text, log FROM checkpoint WHERE task = ? ORDER BY id", id);
         r.next();) {
      t.text += r.text(0);
      t.log += r.text(1);
    }
  complete_view(t);
  return t;
}

std::optional<stored_session> sqlite_reader::find_session(const session_key& key) {
  auto r = db_.query("SELECT " PARLOR_SESSION_COLUMNS
                     " FROM session s WHERE s.tenant = ? AND s.name = ?",
                     key.tenant, key.id);
  return r.next() ? std::optional{read_session(r)} : std::nullopt;
}

session_image sqlite_reader::load_session(const session_key& key, std::size_t history_limit) {
  snapshot one{db_};
  session_image image;
  image.session = find_session(key);
  if (!image.session) {
    auto r = db_.query("SELECT seq_floor FROM meta");
    r.next();
    image.first_free_seq = r.number(0) + 1;
    return image;
  }
  image.first_free_seq = image.session->lease + 1;
  auto id = session_id(key).value();
  image.history = messages(id, history_limit, from_the_newest).messages;
  for (auto r = db_.query("SELECT " PARLOR_TASK_COLUMNS
                          " FROM task WHERE session = ? AND ended_seq = 0 ORDER BY accepted_seq",
                          id);
       r.next();)
    image.open_tasks.push_back(whole(r.integer(0), read_task_row(r)));
  return image;
}

std::optional<stored_task> sqlite_reader::find_task(const std::string& tenant,
                                                    const std::string& task) {
  snapshot one{db_};
  auto r = db_.query("SELECT " PARLOR_TASK_COLUMNS " FROM task WHERE name = ? AND tenant = ?", task,
                     tenant);
  if (!r.next())
    return std::nullopt;
  return whole(r.integer(0), read_task_row(r));
}

std::vector<stored_task> sqlite_reader::tasks_after(const session_key& key, std::uint64_t after,
                                                    std::size_t limit) {
  snapshot one{db_};
  std::vector<stored_task> found;
  auto id = session_id(key);
  if (!id)
    return found;
  for (auto r = db_.query("SELECT " PARLOR_TASK_COLUMNS
                          " FROM task WHERE session = ? AND (ended_seq = 0 OR "
                          "ended_seq > ?) ORDER BY accepted_seq",
                          *id, after);
       found.size() < limit && r.next();) {
    auto t = whole(r.integer(0), read_task_row(r));
    if (t.view.last_seq > after)
      found.push_back(std::move(t));
  }
  return found;
}

session_page sqlite_reader::list_sessions(const std::string& tenant, std::size_t limit,
                                          const std::string& page) {
  snapshot one{db_};
  session_page out;
  {
    auto r = db_.query("SELECT count(*) FROM session WHERE tenant = ?", tenant);
    r.next();
    out.total = r.integer(0);
  }
  auto at = from_the_newest;
  auto id = from_the_newest;
  if (auto dot = page.find('.'); dot != std::string::npos) {
    auto a = number_from(std::string_view{page}.substr(0, dot));
    auto b = number_from(std::string_view{page}.substr(dot + 1));
    if (a && b) {
      at = *a;
      id = *b;
    }
  }
  auto r = db_.query("SELECT " PARLOR_SESSION_COLUMNS
                     " FROM session s WHERE s.tenant = ? AND (s.last_accessed, s.id) < (?, ?) "
                     "ORDER BY s.last_accessed DESC, s.id DESC LIMIT ?",
                     tenant, at, id, limit + 1);
  while (r.next()) {
    if (out.sessions.size() == limit) {
      out.next_cursor = std::to_string(at) + "." + std::to_string(id);
      break;
    }
    out.sessions.push_back(read_session(r).view);
    id = r.integer(0);
    at = r.integer(4);
  }
  return out;
}

message_page sqlite_reader::messages(std::int64_t session, std::size_t limit, std::int64_t before) {
  message_page out;
  auto r = db_.query("SELECT id, msg_id, role, content, extra, task, at, partial FROM message "
                     "WHERE session = ? AND id < ? ORDER BY id DESC LIMIT ?",
                     session, before, limit + 1);
  std::int64_t oldest = 0;
  while (r.next()) {
    if (out.messages.size() == limit) {
      out.next_before = std::to_string(oldest);
      break;
    }
    oldest = r.integer(0);
    out.messages.push_back({r.text(1),
                            {static_cast<role>(r.integer(2)), r.text(3), r.text(4)},
                            r.text(5),
                            r.integer(6),
                            r.integer(7) != 0});
  }
  std::reverse(out.messages.begin(), out.messages.end());
  return out;
}

std::optional<message_page> sqlite_reader::list_messages(const session_key& key, std::size_t limit,
                                                         const std::string& before) {
  snapshot one{db_};
  auto id = session_id(key);
  if (!id)
    return std::nullopt;
  auto from = from_the_newest;
  if (!before.empty()) {
    if (auto row = number_from(before)) {
      from = *row;
    } else {
      auto r = db_.query("SELECT id FROM message WHERE session = ? AND msg_id = ?", *id, before);
      from = r.next() ? r.integer(0) : 0; // a message that is not there has nothing before it
    }
  }
  return messages(*id, limit, from);
}

std::int64_t sqlite_reader::count_sessions() {
  auto r = db_.query("SELECT count(*) FROM session");
  r.next();
  return r.integer(0);
}

std::vector<session_key> sqlite_reader::unfinished_sessions() {
  std::vector<session_key> found;
  for (auto r = db_.query("SELECT tenant, name FROM session WHERE id IN (SELECT session FROM task "
                          "WHERE ended_seq = 0) ORDER BY id");
       r.next();)
    found.push_back({r.text(0), r.text(1)});
  return found;
}

std::vector<session_key> sqlite_reader::idle_sessions(std::int64_t moment, std::size_t limit) {
  std::vector<session_key> found;
  for (auto r = db_.query(
           "SELECT s.tenant, s.name FROM session s WHERE s.last_accessed < ? AND NOT EXISTS "
           "(SELECT 1 FROM task t WHERE t.session = s.id AND t.ended_seq = 0) "
           "ORDER BY s.last_accessed LIMIT ?",
           moment, limit);
       r.next();)
    found.push_back({r.text(0), r.text(1)});
  return found;
}

std::vector<usage_recorded> sqlite_reader::usage_of(const std::string& task) {
  std::vector<usage_recorded> found;
  for (auto r = db_.query(
           "SELECT attempt, model, at, prompt_tokens, completion_tokens, exact, error FROM usage "
           "WHERE task = ? ORDER BY attempt, id",
           task);
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
