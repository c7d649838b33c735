#include "store/sqlite_writer.hpp"

#include <algorithm>
#include <cerrno>
#include <filesystem>

namespace parlor::store {

namespace {

constexpr std::int64_t idempotency_ms = 24 * 60 * 60 * 1000;
constexpr int passive_from_frames = 256;           // about 1 MiB
constexpr std::uintmax_t truncate_from = 64 << 20; // bytes

[[noreturn]] void broken(const std::string& why) {
  throw store_error{store_error::kind::broken, why};
}

} // namespace

sqlite_writer::sqlite_writer(const std::string& path, std::function<void()> on_close)
    : wal_path_{path + "-wal"}, on_close_{std::move(on_close)}, db_{path} {
  sqlite3_wal_hook(
      db_.raw(),
      [](void* self, sqlite3*, const char*, int frames) {
        static_cast<sqlite_writer*>(self)->wal_frames_ = frames;
        return SQLITE_OK;
      },
      this);
}

sqlite_writer::~sqlite_writer() {
  if (!broken_ && (wal_frames_ > 0 || removed_)) {
    try {
      removed_ = true; // leave an empty log
      checkpoint();
    } catch (...) { // everything is in the log: the next start reads it from there
    }
  }
  on_close_();
}

template <class F>
void sqlite_writer::transaction(F&& body) {
  if (broken_)
    broken("the store has failed before");
  try {
    db_.run("BEGIN IMMEDIATE");
    body();
    db_.run("COMMIT");
  } catch (const std::exception& e) {
    auto* said = dynamic_cast<const sqlite::error*>(&e);
    auto full = said && said->no_space();
    try {
      if (db_.in_transaction())
        db_.script("ROLLBACK");
    } catch (const sqlite::error&) {
      full = false;
    }
    if (full)
      throw store_error{store_error::kind::full, e.what()};
    broken_ = true;
    broken(e.what());
  }
}

std::vector<group_result> sqlite_writer::apply(std::span<const fact_group> groups) {
  std::vector<group_result> results;
  auto removed = false;
  transaction([&] {
    results.reserve(groups.size());
    for (auto& g : groups) {
      results.push_back(record(g));
      for (auto& f : g)
        removed |= std::holds_alternative<session_removed>(f);
    }
  });
  removed_ |= removed;
  return results;
}

group_result sqlite_writer::record(const fact_group& group) {
  for (auto& f : group) {
    std::optional<group_result> earlier;
    if (auto* a = std::get_if<task_accepted>(&f))
      earlier = known(a->once, a->at);
    else if (auto* p = std::get_if<key_probed>(&f))
      earlier = known(p->once, p->at);
    if (earlier)
      return std::move(*earlier);
  }
  for (auto& f : group)
    std::visit([this](auto& x) { on(x); }, f);
  return {};
}

std::optional<group_result> sqlite_writer::known(const idempotency& once, std::int64_t at) {
  if (once.scope_and_key.empty())
    return std::nullopt;
  auto r = db_.query("SELECT fingerprint, task, session, at FROM idempotency WHERE key = ?",
                     once.scope_and_key);
  if (!r.next() || at - r.integer(3) >= idempotency_ms)
    return std::nullopt;
  using kind = group_result::kind;
  return group_result{r.text(0) == once.fingerprint ? kind::duplicate : kind::mismatch, r.text(1),
                      r.text(2)};
}

std::optional<std::int64_t> sqlite_writer::session_id(const session_key& key) {
  auto r = db_.query("SELECT id FROM session WHERE tenant = ? AND name = ?", key.tenant, key.id);
  return r.next() ? std::optional{r.integer(0)} : std::nullopt;
}

std::int64_t sqlite_writer::session_made(const session_key& key, std::int64_t at,
                                         const std::string& prompt, const std::string& metadata) {
  if (auto id = session_id(key))
    return *id;
  db_.run("INSERT INTO session(tenant, name, created_at, last_accessed, system_prompt, metadata) "
          "VALUES(?, ?, ?, ?, ?, ?)",
          key.tenant, key.id, at, at, prompt, metadata);
  return db_.last_rowid();
}

void sqlite_writer::on(const session_opened& f) {
  session_made(f.key, f.at, f.system_prompt, f.metadata);
}

void sqlite_writer::on(const seq_leased& f) {
  auto found = db_.run("UPDATE session SET lease = max(CASE WHEN ?1 THEN last_seq ELSE lease END, "
                       "?2) WHERE tenant = ?3 AND name = ?4",
                       f.exactly ? 1 : 0, f.upto, f.key.tenant, f.key.id);
  if (found == 0 && !f.exactly) // removed meanwhile: its numbers stay used
    db_.run("UPDATE meta SET seq_floor = max(seq_floor, ?)", f.upto);
}

void sqlite_writer::on(const task_accepted& f) {
  auto session = session_made(f.key, f.at, {}, {});
  db_.run(
      "UPDATE session SET message_count = message_count + 1, question_count = question_count + 1, "
      "last_accessed = max(last_accessed, ?1), last_seq = max(last_seq, ?2), lease = max(lease, "
      "?2), "
      "first_seq = CASE first_seq WHEN 0 THEN ?2 ELSE first_seq END WHERE id = ?3",
      f.at, f.seq, session);
  db_.run("INSERT INTO message(session, msg_id, role, content, extra, task, at) VALUES(?, ?, ?, ?, "
          "?, ?, ?)",
          session, f.message_id, static_cast<int>(f.said.who), f.said.content, f.said.extra, f.task,
          f.at);
  db_.run("INSERT INTO task(name, session, tenant, session_name, status, accepted_at, "
          "accepted_seq, message_id, "
          "model, temperature, response_format, passthrough, script) VALUES(?, ?, ?, ?, ?, ?, ?, "
          "?, ?, ?, ?, ?, ?)",
          f.task, session, f.key.tenant, f.key.id, static_cast<int>(task_status::pending), f.at,
          f.seq, f.message_id, f.settings.model, f.settings.temperature, f.settings.response_format,
          f.settings.passthrough, f.settings.script);
  if (f.settings.max_tokens)
    db_.run("UPDATE task SET max_tokens = ? WHERE id = ?", *f.settings.max_tokens,
            db_.last_rowid());
  if (!f.once.scope_and_key.empty())
    db_.run("INSERT OR REPLACE INTO idempotency(key, fingerprint, task, session, at) VALUES(?, ?, "
            "?, ?, ?)",
            f.once.scope_and_key, f.once.fingerprint, f.task, f.key.id, f.at);
}

void sqlite_writer::on(const task_started& f) {
  if (db_.run("UPDATE task SET status = ?, started_at = ?, started_seq = ? WHERE name = ? AND "
              "ended_seq = 0",
              static_cast<int>(task_status::running), f.at, f.seq, f.task) > 0)
    db_.run("UPDATE session SET last_seq = max(last_seq, ?) WHERE id = (SELECT session FROM task "
            "WHERE name = ?)",
            f.seq, f.task);
}

void sqlite_writer::on(const task_checkpoint& f) {
  db_.run("INSERT INTO checkpoint(task, text, log) SELECT id, ?, ? FROM task WHERE name = ? AND "
          "ended_seq = 0",
          f.text, sqlite::blob{f.log}, f.task);
}

void sqlite_writer::on(const task_ended& f) {
  std::int64_t task = 0;
  std::int64_t session = 0;
  {
    auto r = db_.query("SELECT id, session FROM task WHERE name = ? AND ended_seq = 0", f.task);
    if (!r.next()) // its session was removed
      return;
    task = r.integer(0);
    session = r.integer(1);
  }
  std::string text;
  std::string log;
  for (auto r = db_.query("SELECT text, log FROM checkpoint WHERE task = ? ORDER BY id", task);
       r.next();) {
    text += r.text(0);
    log += r.text(1);
  }
  text += f.text;
  log += f.log;
  auto& e = f.end;
  db_.run("UPDATE task SET status = ?, ended_at = ?, ended_seq = ?, error = ?, detail = ?, "
          "answer_id = ?, "
          "finish_reason = ?, prompt_tokens = ?, completion_tokens = ?, exact = ?, attempts = ?, "
          "history_dropped = ?, text = ?, log = ? WHERE id = ?",
          static_cast<int>(e.status), f.at, f.seq, to_string(e.error), e.detail, e.message_id,
          e.finish_reason, e.used.prompt_tokens, e.used.completion_tokens, e.used.exact, e.attempts,
          e.history_dropped, text, sqlite::blob{log}, task);
  if (e.content != text)
    db_.run("UPDATE task SET content = ? WHERE id = ?", e.content, task);
  db_.run("DELETE FROM checkpoint WHERE task = ?", task);
  auto kept = !e.message_id.empty();
  if (kept)
    db_.run("INSERT INTO message(session, msg_id, role, content, extra, task, at, partial) "
            "VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
            session, e.message_id, static_cast<int>(role::assistant), e.content, f.answer_extra,
            f.task, f.at, e.status != task_status::completed);
  db_.run("UPDATE session SET message_count = message_count + ?, total_tokens = total_tokens + ?, "
          "last_accessed = max(last_accessed, ?), last_seq = max(last_seq, ?) WHERE id = ?",
          kept, e.used.total(), f.at, f.seq, session);
}

void sqlite_writer::on(const usage_recorded& f) {
  db_.run(
      "INSERT INTO usage(task, attempt, model, at, prompt_tokens, completion_tokens, exact, error) "
      "VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
      f.task, f.attempt, f.model, f.at, f.used.prompt_tokens, f.used.completion_tokens,
      f.used.exact, to_string(f.error));
}

void sqlite_writer::on(const session_removed& f) {
  auto session = session_id(f.key);
  if (!session)
    return;
  db_.run("UPDATE meta SET seq_floor = max(seq_floor, (SELECT max(lease, last_seq) FROM session "
          "WHERE id = ?))",
          *session);
  db_.run("DELETE FROM message WHERE session = ?", *session);
  db_.run("DELETE FROM checkpoint WHERE task IN (SELECT id FROM task WHERE session = ?)", *session);
  if (f.expired) {
    db_.run("DELETE FROM usage WHERE task IN (SELECT name FROM task WHERE session = ? AND "
            "ended_seq = 0)",
            *session);
    db_.run("DELETE FROM task WHERE session = ? AND ended_seq = 0", *session);
    db_.run("UPDATE task SET session = NULL WHERE session = ?", *session);
  } else {
    db_.run("DELETE FROM usage WHERE task IN (SELECT name FROM task WHERE session = ?)", *session);
    // A repeated request shall not be answered with a task that is gone.
    db_.run("DELETE FROM idempotency WHERE task IN (SELECT name FROM task WHERE session = ?)",
            *session);
    db_.run("DELETE FROM task WHERE session = ?", *session);
    // Tasks of an earlier, expired session of that name: whoever deletes it means those too.
    db_.run("DELETE FROM task WHERE session IS NULL AND tenant = ? AND session_name = ?",
            f.key.tenant, f.key.id);
  }
  db_.run("DELETE FROM session WHERE id = ?", *session);
}

std::size_t sqlite_writer::prune(std::int64_t tasks_before, std::int64_t keys_before,
                                 std::size_t limit) {
  std::int64_t most = 0;
  transaction([&] {
    db_.run("DELETE FROM usage WHERE task IN (SELECT name FROM task WHERE ended_at > 0 AND "
            "ended_at < ? "
            "ORDER BY ended_at, id LIMIT ?)",
            tasks_before, limit);
    most = db_.run(
        "DELETE FROM task WHERE id IN (SELECT id FROM task WHERE ended_at > 0 AND ended_at < ? "
        "ORDER BY ended_at, id LIMIT ?)",
        tasks_before, limit);
    most = std::max(
        most,
        db_.run("DELETE FROM idempotency WHERE id IN (SELECT id FROM idempotency WHERE at < ? "
                "ORDER BY at LIMIT ?)",
                keys_before, limit));
    // Usage of tasks that were deleted while they ran.
    most = std::max(
        most,
        db_.run("DELETE FROM usage WHERE id IN (SELECT u.id FROM usage u WHERE u.at < ? AND "
                "NOT EXISTS (SELECT 1 FROM task t WHERE t.name = u.task) ORDER BY u.at LIMIT ?)",
                tasks_before, limit));
  });
  return static_cast<std::size_t>(most);
}

void sqlite_writer::checkpoint() {
  if (broken_)
    broken("the store has failed before");
  std::error_code none;
  auto size = std::filesystem::file_size(wal_path_, none);
  auto truncate = removed_ || (!none && size > truncate_from);
  if (!truncate && wal_frames_ < passive_from_frames)
    return;
  int left = 0;
  int moved = 0;
  sqlite3_busy_timeout(db_.raw(), 50); // readers are brief; if not, the next idle moment will do
  errno = 0;
  auto rc = sqlite3_wal_checkpoint_v2(
      db_.raw(), nullptr, truncate ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE, &left,
      &moved);
  auto errno_then = errno;
  sqlite::error said{db_.raw(), rc, "checkpoint", errno_then};
  sqlite3_busy_timeout(db_.raw(), 5000);
  if (rc == SQLITE_OK) {
    if (truncate)
      removed_ = false;
    wal_frames_ = left < 0 ? 0 : left - moved;
    return;
  }
  if ((rc & 0xff) == SQLITE_BUSY)
    return;
  if (said.no_space())
    throw store_error{store_error::kind::full, said.what()};
  broken_ = true;
  broken(said.what());
}

} // namespace parlor::store
