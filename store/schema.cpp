#include "store/schema.hpp"

#include "protocol/ids.hpp"

#include <array>

namespace parlor::store {

namespace {

constexpr std::int64_t application_id = 0x50726c72; // "Prlr"

// Migration n leads from user_version n to n + 1; published ones never change.
// Rows are appended by rowid: busy sessions write to the ends of a few B-trees, not all over them.
constexpr std::array<const char*, 1> migrations{R"sql(
CREATE TABLE meta(
  id INTEGER PRIMARY KEY CHECK (id = 1),
  epoch TEXT NOT NULL,
  seq_floor INTEGER NOT NULL DEFAULT 0 -- no removed session has used a number above this
);
CREATE TABLE session(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  tenant TEXT NOT NULL,
  name TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  last_accessed INTEGER NOT NULL,
  message_count INTEGER NOT NULL DEFAULT 0,
  total_tokens INTEGER NOT NULL DEFAULT 0,
  question_count INTEGER NOT NULL DEFAULT 0,
  system_prompt TEXT NOT NULL DEFAULT '',
  metadata TEXT NOT NULL DEFAULT '',
  first_seq INTEGER NOT NULL DEFAULT 0, -- 0 until the first task
  last_seq INTEGER NOT NULL DEFAULT 0,
  lease INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX session_name ON session(tenant, name);
CREATE INDEX session_recent ON session(tenant, last_accessed);
CREATE INDEX session_idle ON session(last_accessed);
CREATE TABLE message(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  session INTEGER NOT NULL REFERENCES session(id),
  msg_id TEXT NOT NULL,
  role INTEGER NOT NULL,
  content TEXT NOT NULL,
  extra TEXT NOT NULL,
  task TEXT NOT NULL,
  at INTEGER NOT NULL,
  partial INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX message_session ON message(session);
CREATE TABLE task(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL,
  session INTEGER REFERENCES session(id), -- null: the session has expired
  tenant TEXT NOT NULL,
  session_name TEXT NOT NULL,
  status INTEGER NOT NULL,
  accepted_at INTEGER NOT NULL,
  started_at INTEGER NOT NULL DEFAULT 0,
  ended_at INTEGER NOT NULL DEFAULT 0,
  accepted_seq INTEGER NOT NULL,
  started_seq INTEGER NOT NULL DEFAULT 0,
  ended_seq INTEGER NOT NULL DEFAULT 0,
  message_id TEXT NOT NULL,
  model TEXT NOT NULL,
  temperature TEXT NOT NULL,
  max_tokens INTEGER,
  response_format TEXT NOT NULL,
  passthrough TEXT NOT NULL,
  script TEXT NOT NULL,
  error TEXT NOT NULL DEFAULT 'none',
  detail TEXT NOT NULL DEFAULT '',
  answer_id TEXT NOT NULL DEFAULT '',
  finish_reason TEXT NOT NULL DEFAULT '',
  prompt_tokens INTEGER NOT NULL DEFAULT 0,
  completion_tokens INTEGER NOT NULL DEFAULT 0,
  exact INTEGER NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0,
  history_dropped INTEGER NOT NULL DEFAULT 0,
  content TEXT, -- of the outcome; null: the same as text
  text TEXT NOT NULL DEFAULT '',
  log BLOB NOT NULL DEFAULT x''
);
CREATE UNIQUE INDEX task_name ON task(name);
CREATE INDEX task_session ON task(session, accepted_seq);
CREATE INDEX task_open ON task(session) WHERE ended_seq = 0;
CREATE INDEX task_ended ON task(ended_at) WHERE ended_at > 0;
CREATE TABLE checkpoint( -- of running tasks; folded into the task's row when it ends
  id INTEGER PRIMARY KEY,
  task INTEGER NOT NULL REFERENCES task(id),
  text TEXT NOT NULL,
  log BLOB NOT NULL
);
CREATE INDEX checkpoint_task ON checkpoint(task);
CREATE TABLE usage(
  id INTEGER PRIMARY KEY,
  task TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  model TEXT NOT NULL,
  at INTEGER NOT NULL,
  prompt_tokens INTEGER NOT NULL,
  completion_tokens INTEGER NOT NULL,
  exact INTEGER NOT NULL,
  error TEXT NOT NULL
);
CREATE INDEX usage_task ON usage(task);
CREATE INDEX usage_at ON usage(at);
CREATE TABLE idempotency(
  id INTEGER PRIMARY KEY,
  key TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  task TEXT NOT NULL,
  session TEXT NOT NULL,
  at INTEGER NOT NULL
);
CREATE UNIQUE INDEX idempotency_key ON idempotency(key);
CREATE INDEX idempotency_at ON idempotency(at);
)sql"};

std::int64_t single(sqlite::connection& db, const char* sql) {
  auto r = db.query(sql);
  return r.next() ? r.integer(0) : 0;
}

} // namespace

std::string migrate(sqlite::connection& db, const std::string& path) {
  auto version = single(db, "PRAGMA user_version");
  auto newest = static_cast<std::int64_t>(migrations.size());
  if (single(db, "SELECT count(*) FROM sqlite_master") > 0 &&
      single(db, "PRAGMA application_id") != application_id)
    throw std::runtime_error{path + " is a database of some other program"};
  if (version > newest)
    throw std::runtime_error{path + " has schema " + std::to_string(version) +
                             ", written by a newer release; this one knows " +
                             std::to_string(newest)};
  if (version < newest) {
    db.script("BEGIN IMMEDIATE");
    for (auto v = version; v < newest; ++v)
      db.script(migrations[static_cast<std::size_t>(v)]);
    if (version == 0) {
      db.run("INSERT INTO meta(id, epoch) VALUES(1, ?)", make_epoch());
      db.script(("PRAGMA application_id=" + std::to_string(application_id)).c_str());
    }
    db.script(("PRAGMA user_version=" + std::to_string(newest)).c_str());
    db.script("COMMIT");
  }
  auto r = db.query("SELECT epoch FROM meta");
  if (!r.next())
    throw std::runtime_error{path + " is damaged: it has no epoch"};
  return r.text(0);
}

} // namespace parlor::store
