#include "store/task_row.hpp"

#include "protocol/task_log.hpp"
#include "store/task_id.hpp"

#include <algorithm>

namespace parlor::store {

namespace {

#define PARLOR_TASK_COLUMNS                                                                        \
  "id, prev, session, name, tenant, session_name, accepted_at, started_at, accepted_seq, "         \
  "started_seq, message_id, model, temperature, max_tokens, response_format, passthrough, "        \
  "script, kind, ref, wants_text_done"
#define PARLOR_END_COLUMNS                                                                         \
  "status, ended_at, ended_seq, error, detail, answer_id, finish_reason, prompt_tokens, "          \
  "completion_tokens, exact, attempts, history_dropped, session_tokens, "                          \
  "session_questions"
#define PARLOR_TEXT_COLUMNS "content, text, log"

task_row read_common(const sqlite::rows& r) {
  task_row row{r.integer(0), r.integer(1), r.integer(2), {}};
  auto& t = row.task;
  t.view.id = r.text(3);
  t.key = {r.text(4), r.text(5)};
  t.view.session = t.key.id;
  t.view.created_at = r.integer(6);
  t.started_at = r.integer(7);
  t.accepted_seq = r.number(8);
  t.started_seq = r.number(9);
  t.view.status = t.started_seq == 0 ? task_status::pending : task_status::running;
  t.message_id = r.text(10);
  t.settings.model = t.view.model = r.text(11);
  t.settings.temperature = r.text(12);
  if (!r.null(13))
    t.settings.max_tokens = r.integer(13);
  t.settings.response_format = r.text(14);
  t.settings.passthrough = r.text(15);
  t.settings.script = r.text(16);
  t.kind = static_cast<task_kind>(r.integer(17));
  t.ref = r.text(18);
  t.wants_text_done = r.integer(19) != 0;
  return row;
}

task_row read_open(sqlite::connection& db, const sqlite::rows& r, bool texts) {
  auto row = read_common(r);
  if (texts)
    for (auto c = db.query("SELECT text, log FROM checkpoint WHERE task = ? ORDER BY n", row.id);
         c.next();) {
      row.task.text += c.text(0);
      row.task.log += c.text(1);
    }
  // What is recorded of an attempt may be newer than the log.
  for (auto a = db.query("SELECT coalesce(max(attempt), 0) FROM attempt WHERE task = ?", row.id);
       a.next();)
    row.task.view.attempt = row.task.accounted = a.small(0);
  return row;
}

task_row read_ended(const sqlite::rows& r, bool texts) {
  auto row = read_common(r);
  auto& t = row.task;
  t.view.status = static_cast<task_status>(r.integer(20));
  t.ended_at = r.integer(21);
  t.ended_seq = r.number(22);
  auto end = std::make_shared<outcome>();
  end->status = t.view.status;
  end->error = errc_from_name(r.text(23));
  end->detail = r.text(24);
  end->message_id = r.text(25);
  end->finish_reason = r.text(26);
  end->used = {r.integer(27), r.integer(28), r.integer(29) != 0};
  end->attempts = r.small(30);
  end->history_dropped = r.small(31);
  end->session_tokens = r.integer(32);
  end->session_questions = r.integer(33);
  if (texts) {
    t.text = r.text(35);
    t.log = r.text(36);
    end->content = r.null(34) ? t.text : r.text(34);
  }
  t.view.end = std::move(end);
  return row;
}

} // namespace

std::optional<task_row> find_task_row(sqlite::connection& db, std::string_view name, bool texts) {
  auto ids = task_ids_of(name);
  if (auto r = db.query("SELECT " PARLOR_TASK_COLUMNS
                        " FROM open_task WHERE id BETWEEN ? AND ? AND name = ?",
                        ids.first, ids.last, name);
      r.next())
    return read_open(db, r, texts);
  auto r = texts ? db.query("SELECT " PARLOR_TASK_COLUMNS ", " PARLOR_END_COLUMNS
                            ", " PARLOR_TEXT_COLUMNS
                            " FROM ended_task WHERE id BETWEEN ? AND ? AND name = ?",
                            ids.first, ids.last, name)
                 : db.query("SELECT " PARLOR_TASK_COLUMNS ", " PARLOR_END_COLUMNS
                            " FROM ended_task WHERE id BETWEEN ? AND ? AND name = ?",
                            ids.first, ids.last, name);
  return r.next() ? std::optional{read_ended(r, texts)} : std::nullopt;
}

std::optional<task_row> task_row_at(sqlite::connection& db, std::int64_t id, bool open,
                                    bool texts) {
  if (open)
    if (auto r = db.query("SELECT " PARLOR_TASK_COLUMNS " FROM open_task WHERE id = ?", id);
        r.next())
      return read_open(db, r, texts);
  auto r = texts ? db.query("SELECT " PARLOR_TASK_COLUMNS ", " PARLOR_END_COLUMNS
                            ", " PARLOR_TEXT_COLUMNS " FROM ended_task WHERE id = ?",
                            id)
                 : db.query("SELECT " PARLOR_TASK_COLUMNS ", " PARLOR_END_COLUMNS
                            " FROM ended_task WHERE id = ?",
                            id);
  return r.next() ? std::optional{read_ended(r, texts)} : std::nullopt;
}

void complete_view(stored_task& t) {
  auto& v = t.view;
  v.updated_at = std::max(v.created_at, t.started_at);
  v.last_seq = std::max(t.accepted_seq, t.started_seq);
  v.attempt = std::max<std::uint32_t>(v.attempt, t.started_seq != 0 ? 1 : 0);
  log_reader log{t.accepted_seq, v.created_at, t.log};
  for (event e; log.next(e) && log.text_read() <= t.text.size();) {
    v.last_seq = std::max(v.last_seq, e.seq);
    v.updated_at = std::max(v.updated_at, e.at);
    if (e.kind == event_kind::delta) {
      if (!v.end)
        v.text.append(t.text, log.text_from(), log.text_size());
    } else if (e.kind == event_kind::progress) {
      v.progress = e.number;
    } else if (e.kind == event_kind::stage_done) {
      v.text.clear(); // of the next stage from here on
    } else if (e.kind == event_kind::retry) {
      v.attempt = std::max(v.attempt, e.number);
      if (e.discard) {
        v.text.clear();
        v.progress = 0;
      }
    }
  }
  if (!v.end)
    return;
  v.last_seq = t.ended_seq;
  v.updated_at = t.ended_at;
  v.attempt = v.end->attempts;
  v.text = v.end->content;
  if (v.status == task_status::completed)
    v.progress = 100;
}

} // namespace parlor::store
