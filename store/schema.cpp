#include "store/schema.hpp"

#include "protocol/ids.hpp"

#include <array>

namespace parlor::store {

namespace {

constexpr std::int64_t application_id = 0x50726c72; // "Prlr"

// What a commit costs is the number of pages that it touches, so there is an index only where
// nothing else leads to a row (docs/decisions/0006-pages-per-turn.md):
// - a session's row names its newest message and task, and each of those the one before;
// - a task's id is made from its name (store/task_id.hpp);
// - a task that has not ended has a row in a small table, which is written again, whole, to the end
//   of the large one when it ends; what was said joins the messages then.
constexpr const char* first_schema = R"sql(
CREATE TABLE meta(
  id INTEGER PRIMARY KEY CHECK (id = 1),
  epoch TEXT NOT NULL,
  secret TEXT NOT NULL, -- random; what it signs stays good across restarts
  seq_floor INTEGER NOT NULL DEFAULT 0 -- no removed session has used a number above this
);
CREATE TABLE session(
  tenant TEXT NOT NULL,
  name TEXT NOT NULL,
  number INTEGER NOT NULL, -- random: by it the rows of other tables say whose they are
  created_at INTEGER NOT NULL,
  last_accessed INTEGER NOT NULL,
  message_count INTEGER NOT NULL,
  total_tokens INTEGER NOT NULL,
  question_count INTEGER NOT NULL,
  first_seq INTEGER NOT NULL, -- 0 until the first task
  last_seq INTEGER NOT NULL,
  lease INTEGER NOT NULL,
  open_tasks INTEGER NOT NULL,
  last_task INTEGER NOT NULL, -- in order of acceptance; 0: none
  last_message INTEGER NOT NULL, -- 0: none
  PRIMARY KEY(tenant, name)
) WITHOUT ROWID;
CREATE INDEX session_recent ON session(tenant, last_accessed, number);
CREATE TABLE session_text( -- of those that have any
  tenant TEXT NOT NULL,
  name TEXT NOT NULL,
  system_prompt TEXT NOT NULL,
  metadata TEXT NOT NULL,
  PRIMARY KEY(tenant, name)
) WITHOUT ROWID;
CREATE TABLE message( -- of ended tasks; a question and its answer stand next to each other
  id INTEGER PRIMARY KEY,
  prev INTEGER NOT NULL, -- the one before in its session; 0: none
  session INTEGER NOT NULL,
  msg_id TEXT NOT NULL,
  role INTEGER NOT NULL,
  content TEXT NOT NULL,
  extra TEXT NOT NULL,
  task TEXT NOT NULL,
  at INTEGER NOT NULL,
  partial INTEGER NOT NULL
);
CREATE TABLE open_task(
  id INTEGER PRIMARY KEY,
  prev INTEGER NOT NULL, -- the one accepted before in its session, ended or not, perhaps pruned
  session INTEGER NOT NULL,
  name TEXT NOT NULL,
  tenant TEXT NOT NULL,
  session_name TEXT NOT NULL,
  accepted_at INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  accepted_seq INTEGER NOT NULL,
  started_seq INTEGER NOT NULL, -- 0: it waits
  message_id TEXT NOT NULL,
  role INTEGER NOT NULL,
  said TEXT NOT NULL,
  extra TEXT NOT NULL,
  model TEXT NOT NULL,
  temperature TEXT NOT NULL,
  max_tokens INTEGER,
  response_format TEXT NOT NULL,
  passthrough TEXT NOT NULL,
  script TEXT NOT NULL,
  kind INTEGER NOT NULL, -- task_kind
  ref TEXT NOT NULL,
  wants_text_done INTEGER NOT NULL,
  idempotency_key TEXT NOT NULL
);
CREATE TABLE ended_task(
  id INTEGER PRIMARY KEY,
  prev INTEGER NOT NULL,
  session INTEGER NOT NULL,
  name TEXT NOT NULL,
  tenant TEXT NOT NULL,
  session_name TEXT NOT NULL,
  accepted_at INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  accepted_seq INTEGER NOT NULL,
  started_seq INTEGER NOT NULL,
  message_id TEXT NOT NULL,
  model TEXT NOT NULL,
  temperature TEXT NOT NULL,
  max_tokens INTEGER,
  response_format TEXT NOT NULL,
  passthrough TEXT NOT NULL,
  script TEXT NOT NULL,
  kind INTEGER NOT NULL, -- task_kind
  ref TEXT NOT NULL,
  wants_text_done INTEGER NOT NULL,
  idempotency_key TEXT NOT NULL,
  settled INTEGER NOT NULL, -- 1: with it the last open task of the session ended
  status INTEGER NOT NULL,
  ended_at INTEGER NOT NULL,
  ended_seq INTEGER NOT NULL,
  error TEXT NOT NULL,
  detail TEXT NOT NULL,
  answer_id TEXT NOT NULL,
  finish_reason TEXT NOT NULL,
  prompt_tokens INTEGER NOT NULL,
  completion_tokens INTEGER NOT NULL,
  exact INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  history_dropped INTEGER NOT NULL,
  session_tokens INTEGER NOT NULL, -- the session's counters with it
  session_questions INTEGER NOT NULL,
  last_attempt INTEGER NOT NULL, -- the usage of the attempt it ended with; 0: none was made
  last_at INTEGER NOT NULL,
  last_prompt_tokens INTEGER NOT NULL,
  last_completion_tokens INTEGER NOT NULL,
  last_exact INTEGER NOT NULL,
  last_error TEXT NOT NULL,
  content TEXT, -- of the outcome; null: the same as text
  text TEXT NOT NULL,
  log BLOB NOT NULL
);
-- Of those that a service outside has made; for all others it costs nothing.
CREATE INDEX external_task ON ended_task(session, id, status) WHERE kind = 1;
CREATE TABLE checkpoint( -- of open tasks; folded into the task's row when it ends
  task INTEGER NOT NULL,
  n INTEGER NOT NULL,
  text TEXT NOT NULL,
  log BLOB NOT NULL,
  PRIMARY KEY(task, n)
) WITHOUT ROWID;
CREATE TABLE attempt( -- those before the one that a task ended with
  task INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  model TEXT NOT NULL,
  at INTEGER NOT NULL,
  prompt_tokens INTEGER NOT NULL,
  completion_tokens INTEGER NOT NULL,
  exact INTEGER NOT NULL,
  error TEXT NOT NULL,
  PRIMARY KEY(task, attempt)
) WITHOUT ROWID;
CREATE TABLE expired( -- sessions whose ended tasks may still be read
  id INTEGER PRIMARY KEY,
  tenant TEXT NOT NULL,
  name TEXT NOT NULL,
  number INTEGER NOT NULL,
  last_task INTEGER NOT NULL,
  at INTEGER NOT NULL
);
CREATE INDEX expired_name ON expired(tenant, name);
CREATE TABLE idempotency(
  id INTEGER PRIMARY KEY,
  key TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  task TEXT NOT NULL,
  session TEXT NOT NULL,
  at INTEGER NOT NULL
);
CREATE UNIQUE INDEX idempotency_key ON idempotency(key);
-- For people: the server itself does not use these.
CREATE VIEW task(id, name, tenant, session_name, status, accepted_at, started_at, ended_at) AS
  SELECT id, name, tenant, session_name, started_seq > 0, accepted_at, started_at, 0 FROM open_task
  UNION ALL SELECT id, name, tenant, session_name, status, accepted_at, started_at, ended_at
  FROM ended_task;
CREATE VIEW usage(task, attempt, model, at, prompt_tokens, completion_tokens, exact, error) AS
  SELECT t.name, a.attempt, a.model, a.at, a.prompt_tokens, a.completion_tokens, a.exact, a.error
  FROM attempt a JOIN task t ON t.id = a.task
  UNION ALL SELECT name, last_attempt, model, last_at, last_prompt_tokens, last_completion_tokens,
  last_exact, last_error FROM ended_task WHERE last_attempt > 0;
)sql";

// Schemas before this were never released, and their files are refused. Migration n leads from
// first_version + n to the one after it; published ones never change.
constexpr std::int64_t first_version = 3;
constexpr std::array<const char*, 0> migrations{};

std::int64_t single(sqlite::connection& db, const char* sql) {
  auto r = db.query(sql);
  return r.next() ? r.integer(0) : 0;
}

} // namespace

identity migrate(sqlite::connection& db, const std::string& path) {
  auto version = single(db, "PRAGMA user_version");
  auto newest = first_version + static_cast<std::int64_t>(migrations.size());
  if (single(db, "SELECT count(*) FROM sqlite_master") > 0 &&
      single(db, "PRAGMA application_id") != application_id)
    throw std::runtime_error{path + " is a database of some other program"};
  if (version > newest)
    throw std::runtime_error{path + " has schema " + std::to_string(version) +
                             ", written by a newer release; this one knows " +
                             std::to_string(newest)};
  if (version != 0 && version < first_version)
    throw std::runtime_error{path + " has schema " + std::to_string(version) +
                             ", from before the first release; move it away"};
  if (version < newest) {
    db.script("BEGIN IMMEDIATE");
    if (version == 0) {
      db.script(first_schema);
      db.run("INSERT INTO meta(id, epoch, secret) VALUES(1, ?, ?)", make_epoch(), make_secret());
      db.script(("PRAGMA application_id=" + std::to_string(application_id)).c_str());
      version = first_version;
    }
    for (auto v = version; v < newest; ++v)
      db.script(migrations[static_cast<std::size_t>(v - first_version)]);
    db.script(("PRAGMA user_version=" + std::to_string(newest)).c_str());
    db.script("COMMIT");
  }
  auto r = db.query("SELECT epoch, secret FROM meta");
  if (!r.next())
    throw std::runtime_error{path + " is damaged: it has no epoch"};
  return {r.text(0), r.text(1)};
}

} // namespace parlor::store
