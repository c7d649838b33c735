// What turns record. Removal, pruning and the log are in sqlite_writer_removal.cpp.

#include "store/sqlite_writer.hpp"

#include "store/task_id.hpp"

#include <algorithm>

namespace parlor::store {

namespace {

constexpr std::int64_t idempotency_ms = 24 * 60 * 60 * 1000;
constexpr std::size_t most_in_turn = 4096;

/// The last fact of that kind about that task in the group, or null.
template <class Fact>
const Fact* in(const fact_group& group, const std::string& task) {
  for (auto f = group.rbegin(); f != group.rend(); ++f)
    if (auto* x = std::get_if<Fact>(&*f); x && x->task == task)
      return x;
  return nullptr;
}

} // namespace

// -- groups
// -----------------------------------------------------------------------------------------

std::vector<group_result> sqlite_writer::apply(std::span<const fact_group_ptr> groups) {
  std::vector<group_result> results;
  auto removed = false;
  transaction([&] {
    results.reserve(groups.size());
    for (auto& g : groups) {
      results.push_back(record(*g));
      for (auto& f : *g)
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
    std::visit([&](auto& x) { on(x, group); }, f);
  put_session();
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

// -- sessions
// ---------------------------------------------------------------------------------------

session_row* sqlite_writer::session(const session_key& key) {
  if (session_ && session_->key == key)
    return &*session_;
  put_session();
  if (auto known = in_turn_.extract(key))
    session_ = std::move(known.mapped());
  else
    session_ = find_session_row(db_, key);
  return session_ ? &*session_ : nullptr;
}

session_row& sqlite_writer::session_made(const session_key& key, std::int64_t at,
                                         const std::string& prompt, const std::string& metadata) {
  if (auto* s = session(key))
    return *s;
  session_.emplace();
  session_->key = key;
  // At most 18 digits: it is part of what the cursor of a page says.
  session_->number = std::uniform_int_distribution<std::int64_t>{1, 999'999'999'999'999'999}(dice_);
  session_->created_at = session_->last_accessed = at;
  session_new_ = true;
  if (!prompt.empty() || !metadata.empty())
    db_.run("INSERT INTO session_text(tenant, name, system_prompt, metadata) VALUES(?, ?, ?, ?)",
            key.tenant, key.id, prompt, metadata);
  return *session_;
}

void sqlite_writer::session_used(session_row& s, std::int64_t at) {
  session_changed_ = true;
  if (at <= s.last_accessed)
    return;
  s.last_accessed = at;
  session_moved_ = true;
}

/// Every other table is written when its fact is seen; the session's row when the group is done.
void sqlite_writer::put_session() {
  if (!session_)
    return;
  auto& s = *session_;
  if (session_new_) {
    db_.run("INSERT INTO session(tenant, name, number, created_at, last_accessed, message_count, "
            "total_tokens, question_count, first_seq, last_seq, lease, open_tasks, last_task, "
            "last_message) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            s.key.tenant, s.key.id, s.number, s.created_at, s.last_accessed, s.message_count,
            s.total_tokens, s.question_count, s.first_seq, s.last_seq, s.lease, s.open_tasks,
            s.last_task, s.last_message);
  } else if (session_moved_) { // writes the index too
    db_.run("UPDATE session SET last_accessed = ?, message_count = ?, total_tokens = ?, "
            "question_count = ?, first_seq = ?, last_seq = ?, lease = ?, open_tasks = ?, "
            "last_task = ?, last_message = ? WHERE tenant = ? AND name = ?",
            s.last_accessed, s.message_count, s.total_tokens, s.question_count, s.first_seq,
            s.last_seq, s.lease, s.open_tasks, s.last_task, s.last_message, s.key.tenant, s.key.id);
  } else if (session_changed_) {
    db_.run("UPDATE session SET message_count = ?, total_tokens = ?, question_count = ?, "
            "first_seq = ?, last_seq = ?, lease = ?, open_tasks = ?, last_task = ?, "
            "last_message = ? WHERE tenant = ? AND name = ?",
            s.message_count, s.total_tokens, s.question_count, s.first_seq, s.last_seq, s.lease,
            s.open_tasks, s.last_task, s.last_message, s.key.tenant, s.key.id);
  }
  if (s.open_tasks > 0) {
    if (in_turn_.size() >= most_in_turn)
      in_turn_.clear();
    auto key = s.key;
    in_turn_.insert_or_assign(std::move(key), std::move(s));
  }
  forget_session();
}

void sqlite_writer::forget_session() {
  session_.reset();
  session_new_ = session_changed_ = session_moved_ = false;
}

void sqlite_writer::on(const session_opened& f, const fact_group&) {
  session_made(f.key, f.at, f.system_prompt, f.metadata);
}

void sqlite_writer::on(const seq_leased& f, const fact_group&) {
  if (auto* s = session(f.key)) {
    s->lease = std::max(f.exactly ? s->last_seq : s->lease, f.upto);
    session_changed_ = true;
  } else if (!f.exactly) { // removed meanwhile: its numbers stay used
    db_.run("UPDATE meta SET seq_floor = max(seq_floor, ?)", f.upto);
  }
}

// -- tasks
// ------------------------------------------------------------------------------------------

std::int64_t sqlite_writer::free_task_id(const std::string& name) {
  auto ids = task_ids_of(name);
  if (ids.first > newest_task_) // as a rule: names begin with the time
    return newest_task_ = ids.first;
  for (auto id = ids.first; id <= ids.last; ++id) {
    auto r = db_.query("SELECT name FROM open_task WHERE id = ?1 UNION ALL SELECT name FROM "
                       "ended_task WHERE id = ?1",
                       id);
    if (!r.next()) {
      newest_task_ = std::max(newest_task_, id);
      return id;
    }
    if (r.text(0) == name)
      throw std::logic_error{"a task was accepted twice"};
  }
  throw std::runtime_error{"no row is left for a task of that name"};
}

void sqlite_writer::on(const task_accepted& f, const fact_group& group) {
  auto id = free_task_id(f.task);
  auto& s = session_made(f.key, f.at, {}, {});
  session_used(s, f.at);
  ++s.message_count;
  ++s.question_count;
  s.last_seq = std::max(s.last_seq, f.seq);
  s.lease = std::max(s.lease, f.seq);
  if (s.first_seq == 0)
    s.first_seq = f.seq;
  std::int64_t started_at = 0;
  std::uint64_t started_seq = 0;
  if (auto* started = in<task_started>(group, f.task)) {
    started_at = started->at;
    started_seq = started->seq;
    s.last_seq = std::max(s.last_seq, started->seq);
  }
  db_.run("INSERT INTO open_task(id, prev, session, name, tenant, session_name, accepted_at, "
          "started_at, accepted_seq, started_seq, message_id, role, said, extra, model, "
          "temperature, max_tokens, response_format, passthrough, script, kind, ref, "
          "wants_text_done, idempotency_key) "
          "VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
          id, s.last_task, s.number, f.task, f.key.tenant, f.key.id, f.at, started_at, f.seq,
          started_seq, f.message_id, static_cast<int>(f.said.who), f.said.content, f.said.extra,
          f.settings.model, f.settings.temperature, f.settings.max_tokens,
          f.settings.response_format, f.settings.passthrough, f.settings.script,
          static_cast<int>(f.kind), f.ref, f.wants_text_done, f.once.scope_and_key);
  s.last_task = id;
  ++s.open_tasks;
  if (!f.once.scope_and_key.empty())
    db_.run("INSERT OR REPLACE INTO idempotency(key, fingerprint, task, session, at) VALUES(?, ?, "
            "?, ?, ?)",
            f.once.scope_and_key, f.once.fingerprint, f.task, f.key.id, f.at);
}

void sqlite_writer::on(const task_started& f, const fact_group& group) {
  if (in<task_accepted>(group, f.task))
    return; // recorded with that
  auto ids = task_ids_of(f.task);
  session_key key;
  {
    auto r = db_.query("UPDATE open_task SET started_at = ?, started_seq = ? WHERE id BETWEEN ? "
                       "AND ? AND name = ? RETURNING tenant, session_name",
                       f.at, f.seq, ids.first, ids.last, f.task);
    if (!r.next()) // it has ended, or its session was removed
      return;
    key = {r.text(0), r.text(1)};
  }
  if (auto* s = session(key)) {
    s->last_seq = std::max(s->last_seq, f.seq);
    session_changed_ = true;
  }
}

void sqlite_writer::on(const task_checkpoint& f, const fact_group&) {
  auto ids = task_ids_of(f.task);
  std::int64_t task = 0;
  std::int64_t n = 0;
  {
    auto r = db_.query("SELECT id, (SELECT coalesce(max(n), 0) FROM checkpoint WHERE task = id) "
                       "FROM open_task WHERE id BETWEEN ? AND ? AND name = ?",
                       ids.first, ids.last, f.task);
    if (!r.next()) // it has ended, or its session was removed
      return;
    task = r.integer(0);
    n = r.integer(1) + 1;
  }
  // Not an INSERT ... SELECT from the same table: SQLite would make a table in between for each.
  db_.run("INSERT INTO checkpoint(task, n, text, log) VALUES(?, ?, ?, ?)", task, n, f.text,
          sqlite::blob{f.log});
}

void sqlite_writer::on(const task_ended& f, const fact_group& group) {
  auto ids = task_ids_of(f.task);
  std::int64_t task = 0;
  std::string text;
  std::string log;
  auto checkpoints = 0;
  for (auto r = db_.query("SELECT o.id, c.n, c.text, c.log FROM open_task o LEFT JOIN checkpoint c "
                          "ON c.task = o.id WHERE o.id BETWEEN ? AND ? AND o.name = ? "
                          "ORDER BY o.id, c.n",
                          ids.first, ids.last, f.task);
       r.next();) {
    task = r.integer(0);
    if (r.null(1))
      continue;
    ++checkpoints;
    text += r.text(2);
    log += r.text(3);
  }
  if (task == 0) // its session was removed
    return;
  auto* s = session(f.key);
  if (s == nullptr)
    throw std::logic_error{"an open task has no session"};
  text += f.text;
  log += f.log;
  auto& e = *f.end;
  auto kept = !e.message_id.empty();
  // What was said joins the history when its turn is over: questions stand before their answers.
  // OR FAIL: else SQLite keeps a copy of the pages, to undo a statement that may be of many rows.
  // What fails here undoes the transaction.
  db_.run(
      "INSERT OR FAIL INTO message(prev, session, msg_id, role, content, extra, task, at, partial) "
      "SELECT ?, session, message_id, role, said, extra, name, accepted_at, 0 FROM open_task "
      "WHERE id = ?",
      s->last_message, task);
  s->last_message = db_.last_rowid();
  if (kept) {
    db_.run("INSERT INTO message(prev, session, msg_id, role, content, extra, task, at, partial) "
            "VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)",
            s->last_message, s->number, e.message_id, static_cast<int>(role::assistant), e.content,
            f.answer_extra, f.task, f.at, e.status != task_status::completed);
    s->last_message = db_.last_rowid();
  }
  session_used(*s, f.at);
  s->message_count += kept;
  s->total_tokens += e.used.total();
  s->last_seq = std::max(s->last_seq, f.seq);
  --s->open_tasks;
  auto* last = in<usage_recorded>(group, f.task);
  static const usage_recorded none{{}, 0, {}, 0, {}, errc::none};
  auto& u = last != nullptr ? *last : none;
  auto content = e.content == text ? std::nullopt : std::optional<std::string_view>{e.content};
  db_.run(
      "INSERT OR FAIL INTO ended_task(id, prev, session, name, tenant, session_name, accepted_at, "
      "started_at, accepted_seq, started_seq, message_id, model, temperature, max_tokens, "
      "response_format, passthrough, script, kind, ref, wants_text_done, idempotency_key, "
      "settled, status, ended_at, "
      "ended_seq, error, detail, answer_id, finish_reason, prompt_tokens, completion_tokens, "
      "exact, attempts, history_dropped, session_tokens, session_questions, "
      "last_attempt, last_at, last_prompt_tokens, "
      "last_completion_tokens, last_exact, last_error, content, text, log) "
      "SELECT id, prev, session, name, tenant, session_name, accepted_at, started_at, "
      "accepted_seq, started_seq, message_id, model, temperature, max_tokens, "
      "response_format, passthrough, script, kind, ref, wants_text_done, idempotency_key, "
      "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, "
      "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM open_task WHERE id = ?",
      s->open_tasks == 0, static_cast<int>(e.status), f.at, f.seq, to_string(e.error), e.detail,
      e.message_id, e.finish_reason, e.used.prompt_tokens, e.used.completion_tokens, e.used.exact,
      e.attempts, e.history_dropped, e.session_tokens, e.session_questions, u.attempt, u.at,
      u.used.prompt_tokens, u.used.completion_tokens, u.used.exact, to_string(u.error), content,
      text, sqlite::blob{log}, task);
  if (checkpoints > 0)
    db_.run("DELETE FROM checkpoint WHERE task = ?", task);
  db_.run("DELETE FROM open_task WHERE id = ?", task);
}

/// Of a task that is gone there is nothing to account for.
void sqlite_writer::on(const usage_recorded& f, const fact_group& group) {
  if (in<task_ended>(group, f.task) == nullptr || in<usage_recorded>(group, f.task) != &f) {
    auto ids = task_ids_of(f.task);
    db_.run("INSERT OR REPLACE INTO attempt(task, attempt, model, at, prompt_tokens, "
            "completion_tokens, exact, error) SELECT id, ?, ?, ?, ?, ?, ?, ? FROM (SELECT id FROM "
            "open_task WHERE id BETWEEN ?8 AND ?9 AND name = ?10 UNION ALL SELECT id FROM "
            "ended_task WHERE id BETWEEN ?8 AND ?9 AND name = ?10)",
            f.attempt, f.model, f.at, f.used.prompt_tokens, f.used.completion_tokens, f.used.exact,
            to_string(f.error), ids.first, ids.last, f.task);
  }
}

} // namespace parlor::store
