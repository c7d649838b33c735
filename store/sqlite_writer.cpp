#include "store/sqlite_store.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <type_traits>
#include <utility>

namespace parlor::store {

namespace {

constexpr std::int64_t key_lifetime_ms = 24LL * 3600 * 1000;
constexpr std::int64_t large_wal = 64LL * 1024 * 1024; // bytes

class sqlite_writer final : public writer {
public:
  explicit sqlite_writer(const std::string& path) : path_{path}, db_{path} {
    db_.script("PRAGMA synchronous=FULL; PRAGMA secure_delete=ON;");
  }

  std::vector<group_result> apply(std::span<const fact_group> groups) override {
    return guarded([&] {
      std::vector<group_result> results;
      db_.script("BEGIN IMMEDIATE");
      for (auto& g : groups) {
        auto result = known_key(g);
        if (result.what == group_result::kind::durable)
          for (auto& f : g)
            std::visit([this](auto& x) { record(x); }, f);
        results.push_back(std::move(result));
      }
      db_.script("COMMIT");
      dirty_ = true;
      return results;
    });
  }

  std::size_t prune(std::int64_t tasks_before, std::int64_t keys_before,
                    std::size_t limit) override {
    return guarded([&] {
      db_.script("BEGIN IMMEDIATE");
      auto tasks = db_.run("DELETE FROM task WHERE id IN (SELECT id FROM task WHERE ended_at > 0 "
                           "AND ended_at < ? LIMIT ?)",
                           tasks_before, limit);
      db_.run("DELETE FROM usage WHERE id IN (SELECT id FROM usage WHERE at < ? LIMIT ?)",
              tasks_before, limit);
      auto keys = db_.run(
          "DELETE FROM idempotency WHERE id IN (SELECT id FROM idempotency WHERE at < ? LIMIT ?)",
          keys_before, limit);
      db_.script("COMMIT");
      return static_cast<std::size_t>(std::max(tasks, keys));
    });
  }

  void checkpoint() override {
    guarded([&] {
      struct stat info {};
      auto size =
          stat((path_ + "-wal").c_str(), &info) == 0 ? static_cast<std::int64_t>(info.st_size) : 0;
      if (size == 0 || !std::exchange(dirty_, false))
        return 0;
      auto mode =
          removed_ || size > large_wal ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE;
      auto rc = sqlite3_wal_checkpoint_v2(db_.raw(), nullptr, mode, nullptr, nullptr);
      if (rc == SQLITE_BUSY) // somebody reads: at the next idle moment
        dirty_ = true;
      else if (rc != SQLITE_OK)
        throw sqlite::error{db_.raw(), rc, "checkpoint"};
      else
        removed_ = false;
      return 0;
    });
  }

private:
  template <class F>
  std::invoke_result_t<F> guarded(F f) {
    try {
      return f();
    } catch (const sqlite::error& e) {
      if (db_.in_transaction()) {
        try {
          db_.script("ROLLBACK");
        } catch (const sqlite::error&) { // what failed is already known
        }
      }
      throw store_error{e.no_space() ? store_error::kind::full : store_error::kind::broken,
                        e.what()};
    }
  }

  group_result known_key(const fact_group& g) {
    for (auto& f : g) {
      auto* t = std::get_if<task_accepted>(&f);
      if (t == nullptr || t->once.scope_and_key.empty())
        continue;
      auto r = db_.query("SELECT fingerprint, task, session, at FROM idempotency WHERE key = ?",
                         t->once.scope_and_key);
      if (r.next() && r.integer(3) > t->at - key_lifetime_ms)
        return {r.text(0) == t->once.fingerprint ? group_result::kind::duplicate
                                                 : group_result::kind::mismatch,
                r.text(1), r.text(2)};
    }
    return {};
  }

  std::int64_t session_id(const session_key& key) {
    auto r = db_.query("SELECT id FROM session WHERE tenant = ? AND name = ?", key.tenant, key.id);
    return r.next() ? r.integer(0) : 0;
  }

  void record(const session_opened& f) {
    db_.run("INSERT OR IGNORE INTO session(tenant, name, created_at, last_accessed, system_prompt, "
            "metadata) "
            "VALUES(?, ?, ?, ?, ?, ?)",
            f.key.tenant, f.key.id, f.at, f.at, f.system_prompt, f.metadata);
  }
  void record(const seq_leased& f) {
    db_.run("UPDATE session SET lease = max(lease, ?) WHERE tenant = ? AND name = ?", f.upto,
            f.key.tenant, f.key.id);
  }
  void record(const task_accepted& f) {
    auto session = session_id(f.key);
    auto& s = f.settings;
    if (s.max_tokens)
      insert_task(f, session, *s.max_tokens);
    else
      insert_task(f, session, nullptr);
    db_.run("INSERT INTO message(session, msg_id, role, content, extra, task, at) VALUES(?, ?, ?, "
            "?, ?, ?, ?)",
            session, f.message_id, static_cast<int>(f.said.who), f.said.content, f.said.extra,
            f.task, f.at);
    db_.run("UPDATE session SET message_count = message_count + 1, question_count = question_count "
            "+ 1, "
            "last_accessed = max(last_accessed, ?), last_seq = max(last_seq, ?), "
            "first_seq = CASE first_seq WHEN 0 THEN ? ELSE first_seq END WHERE id = ?",
            f.at, f.seq, f.seq, session);
    if (!f.once.scope_and_key.empty())
      db_.run("INSERT OR REPLACE INTO idempotency(key, fingerprint, task, session, at) VALUES(?, "
              "?, ?, ?, ?)",
              f.once.scope_and_key, f.once.fingerprint, f.task, f.key.id, f.at);
  }
  template <class MaxTokens>
  void insert_task(const task_accepted& f, std::int64_t session, MaxTokens max_tokens) {
    auto& s = f.settings;
    db_.run("INSERT INTO task(name, session, tenant, session_name, status, accepted_at, "
            "accepted_seq, message_id, model, "
            "temperature, max_tokens, response_format, passthrough, script) VALUES(?, ?, ?, ?, ?, "
            "?, ?, ?, ?, ?, ?, ?, ?, ?)",
            f.task, session, f.key.tenant, f.key.id, static_cast<int>(task_status::pending), f.at,
            f.seq, f.message_id, s.model, s.temperature, max_tokens, s.response_format,
            s.passthrough, s.script);
  }
  void record(const task_started& f) {
    db_.run("UPDATE task SET status = ?, started_at = ?, started_seq = ?, attempts = 1 WHERE name "
            "= ? AND ended_seq = 0",
            static_cast<int>(task_status::running), f.at, f.seq, f.task);
  }
  void record(const task_checkpoint& f) {
    db_.run("INSERT INTO checkpoint(task, text, log) SELECT id, ?, ? FROM task WHERE name = ?",
            f.text, sqlite::blob{f.log}, f.task);
  }
  void record(const task_ended& f) {
    std::int64_t row = 0, session = 0;
    std::string text, log;
    {
      auto r = db_.query("SELECT id, session FROM task WHERE name = ?", f.task);
      if (!r.next())
        return; // its session has been deleted meanwhile
      row = r.integer(0);
      session = r.integer(1);
    }
    {
      auto r = db_.query("SELECT text, log FROM checkpoint WHERE task = ? ORDER BY id", row);
      while (r.next()) {
        text += r.text(0);
        log += r.text(1);
      }
    }
    text += f.text;
    log += f.log;
    auto& e = f.end;
    db_.run("UPDATE task SET status = ?, ended_at = ?, ended_seq = ?, error = ?, detail = ?, "
            "answer_id = ?, finish_reason = ?, "
            "prompt_tokens = ?, completion_tokens = ?, exact = ?, attempts = ?, history_dropped = "
            "?, text = ?, log = ?, "
            "content = ? WHERE id = ?",
            static_cast<int>(e.status), f.at, f.seq, to_string(e.error), e.detail, e.message_id,
            e.finish_reason, e.used.prompt_tokens, e.used.completion_tokens, e.used.exact ? 1 : 0,
            e.attempts, e.history_dropped, text, sqlite::blob{log}, e.content, row);
    db_.run("DELETE FROM checkpoint WHERE task = ?", row);
    auto answered = !e.message_id.empty();
    if (answered)
      db_.run("INSERT INTO message(session, msg_id, role, content, extra, task, at, partial) "
              "VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
              session, e.message_id, static_cast<int>(role::assistant), e.content, f.answer_extra,
              f.task, f.at, e.status == task_status::completed ? 0 : 1);
    db_.run(
        "UPDATE session SET message_count = message_count + ?, total_tokens = total_tokens + ?, "
        "last_accessed = max(last_accessed, ?), last_seq = max(last_seq, ?) WHERE id = ?",
        answered ? 1 : 0, e.used.total(), f.at, f.seq, session);
  }
  void record(const usage_recorded& f) {
    db_.run("INSERT INTO usage(task, attempt, model, at, prompt_tokens, completion_tokens, exact, "
            "error) "
            "VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
            f.task, f.attempt, f.model, f.at, f.used.prompt_tokens, f.used.completion_tokens,
            f.used.exact ? 1 : 0, to_string(f.error));
  }
  void record(const session_removed& f) {
    auto session = session_id(f.key);
    db_.run("UPDATE meta SET seq_floor = max(seq_floor, (SELECT coalesce(max(lease), 0) FROM "
            "session WHERE id = ?))",
            session);
    db_.run("DELETE FROM checkpoint WHERE task IN (SELECT id FROM task WHERE session = ?)",
            session);
    db_.run("DELETE FROM message WHERE session = ?", session);
    if (f.expired) {
      db_.run("UPDATE task SET session = NULL WHERE session = ?", session);
    } else {
      db_.run("DELETE FROM usage WHERE task IN (SELECT name FROM task WHERE session = ?)", session);
      db_.run("DELETE FROM idempotency WHERE task IN (SELECT name FROM task WHERE session = ?)",
              session);
      db_.run("DELETE FROM task WHERE session = ?", session);
      // Tasks of an earlier session of this name, which had expired.
      db_.run("DELETE FROM task WHERE session IS NULL AND tenant = ? AND session_name = ?",
              f.key.tenant, f.key.id);
    }
    db_.run("DELETE FROM session WHERE id = ?", session);
    removed_ = true; // what was removed leaves the write-ahead log too
  }

  std::string path_;
  sqlite::connection db_;
  bool dirty_ = true;
  bool removed_ = false;
};

} // namespace

std::unique_ptr<writer> make_sqlite_writer(const std::string& path) {
  return std::make_unique<sqlite_writer>(path);
}

} // namespace parlor::store
