#include "store/sqlite_store.hpp"

#include "protocol/task_log.hpp"

#include <algorithm>
#include <charconv>

namespace parlor::store {

namespace {

constexpr const char* session_by_name =
    "SELECT created_at, last_accessed, message_count, total_tokens, question_count, system_prompt, "
    "metadata, first_seq, lease, "
    "last_seq, id FROM session WHERE tenant = ? AND name = ?";

#define TASK_COLUMNS                                                                               \
  "SELECT id, name, tenant, session_name, status, accepted_at, started_at, ended_at, "             \
  "accepted_seq, started_seq, ended_seq, "                                                         \
  "message_id, model, temperature, max_tokens, response_format, passthrough, script, error, "      \
  "detail, answer_id, "                                                                            \
  "finish_reason, prompt_tokens, completion_tokens, exact, attempts, history_dropped, content, "   \
  "text, log FROM task "

std::int64_t number(const std::string& text) {
  std::int64_t n = 0;
  std::from_chars(text.data(), text.data() + text.size(), n);
  return n;
}

class sqlite_reader final : public reader {
public:
  explicit sqlite_reader(const std::string& path) : db_{path} {
    db_.script("PRAGMA query_only=ON");
  }

  std::optional<stored_session> find_session(const session_key& key) override {
    auto r = db_.query(session_by_name, key.tenant, key.id);
    if (!r.next())
      return std::nullopt;
    stored_session s;
    s.key = key;
    s.view.id = key.id;
    s.view.created_at = r.integer(0);
    s.view.last_accessed = r.integer(1);
    s.view.message_count = r.integer(2);
    s.view.total_tokens = r.integer(3);
    s.view.question_count = r.integer(4);
    s.system_prompt = r.text(5);
    s.metadata = r.text(6);
    s.first_seq = r.number(7);
    s.lease = r.number(8);
    s.view.last_seq = r.number(9);
    return s;
  }

  session_image load_session(const session_key& key, std::size_t history_limit) override {
    session_image image;
    image.session = find_session(key);
    if (!image.session) {
      auto r = db_.query("SELECT seq_floor FROM meta");
      image.first_free_seq = (r.next() ? r.number(0) : 0) + 1;
      return image;
    }
    image.history = newest(row_of(key), history_limit, INT64_MAX).first;
    std::vector<std::string> open;
    {
      auto r = db_.query(
          "SELECT name FROM task WHERE session = ? AND ended_seq = 0 ORDER BY accepted_seq",
          row_of(key));
      while (r.next())
        open.push_back(r.text(0));
    }
    for (auto& name : open)
      if (auto t = find_task(key.tenant, name))
        image.open_tasks.push_back(std::move(*t));
    return image;
  }

  std::optional<stored_task> find_task(const std::string& tenant,
                                       const std::string& task) override {
    std::optional<stored_task> found;
    std::int64_t row = 0;
    {
      auto r = db_.query(TASK_COLUMNS "WHERE name = ? AND tenant = ?", task, tenant);
      if (!r.next())
        return std::nullopt;
      row = r.integer(0);
      found = read_task(r);
    }
    complete(*found, row);
    return found;
  }

  std::vector<stored_task> tasks_after(const session_key& key, std::uint64_t after,
                                       std::size_t limit) override {
    std::vector<stored_task> out;
    std::vector<std::int64_t> rows;
    {
      auto r = db_.query(
          TASK_COLUMNS
          "WHERE session = ? AND (ended_seq = 0 OR ended_seq > ?) ORDER BY accepted_seq LIMIT ?",
          row_of(key), after, limit);
      while (r.next()) {
        rows.push_back(r.integer(0));
        out.push_back(read_task(r));
      }
    }
    for (std::size_t i = 0; i < out.size(); ++i)
      complete(out[i], rows[i]);
    return out;
  }

  session_page list_sessions(const std::string& tenant, std::size_t limit,
                             const std::string& page) override {
    session_page out;
    {
      auto r = db_.query("SELECT count(*) FROM session WHERE tenant = ?", tenant);
      r.next();
      out.total = r.integer(0);
    }
    auto dot = page.find('.');
    auto at = page.empty() ? INT64_MAX : number(page.substr(0, dot));
    auto id = dot == std::string::npos ? INT64_MAX : number(page.substr(dot + 1));
    auto r = db_.query("SELECT name, created_at, last_accessed, message_count, total_tokens, "
                       "question_count, id FROM session "
                       "WHERE tenant = ? AND (last_accessed < ? OR (last_accessed = ? AND id < ?)) "
                       "ORDER BY last_accessed DESC, id DESC LIMIT ?",
                       tenant, at, at, id, limit + 1);
    std::string next;
    while (r.next()) {
      if (out.sessions.size() == limit) {
        out.next_cursor = next;
        break;
      }
      session_view v;
      v.id = r.text(0);
      v.created_at = r.integer(1);
      v.last_accessed = r.integer(2);
      v.message_count = r.integer(3);
      v.total_tokens = r.integer(4);
      v.question_count = r.integer(5);
      next = std::to_string(v.last_accessed) + '.' + std::to_string(r.integer(6));
      out.sessions.push_back(std::move(v));
    }
    return out;
  }

  std::optional<message_page> list_messages(const session_key& key, std::size_t limit,
                                            const std::string& before) override {
    if (!find_session(key))
      return std::nullopt;
    auto [messages, oldest] =
        newest(row_of(key), limit, before.empty() ? INT64_MAX : number(before));
    message_page out;
    out.messages = std::move(messages);
    if (out.messages.size() == limit) {
      auto r = db_.query("SELECT 1 FROM message WHERE session = ? AND id < ? LIMIT 1", row_of(key),
                         oldest);
      if (r.next())
        out.next_before = std::to_string(oldest);
    }
    return out;
  }

  std::int64_t count_sessions() override {
    auto r = db_.query("SELECT count(*) FROM session");
    return r.next() ? r.integer(0) : 0;
  }

  std::vector<session_key> unfinished_sessions() override {
    std::vector<session_key> out;
    auto r = db_.query("SELECT DISTINCT tenant, session_name FROM task WHERE ended_seq = 0 AND "
                       "session IS NOT NULL");
    while (r.next())
      out.push_back({r.text(0), r.text(1)});
    return out;
  }

  std::vector<session_key> idle_sessions(std::int64_t moment, std::size_t limit) override {
    std::vector<session_key> out;
    auto r = db_.query(
        "SELECT tenant, name FROM session WHERE last_accessed < ? ORDER BY last_accessed LIMIT ?",
        moment, limit);
    while (r.next())
      out.push_back({r.text(0), r.text(1)});
    return out;
  }

  std::vector<usage_recorded> usage_of(const std::string& task) override {
    std::vector<usage_recorded> out;
    auto r = db_.query("SELECT attempt, model, at, prompt_tokens, completion_tokens, exact, error "
                       "FROM usage WHERE task = ? "
                       "ORDER BY attempt, id",
                       task);
    while (r.next()) {
      usage_recorded u;
      u.task = task;
      u.attempt = r.small(0);
      u.model = r.text(1);
      u.at = r.integer(2);
      u.used = {r.integer(3), r.integer(4), r.integer(5) != 0};
      u.error = errc_from_name(r.text(6));
      out.push_back(std::move(u));
    }
    return out;
  }

private:
  std::int64_t row_of(const session_key& key) {
    auto r = db_.query("SELECT id FROM session WHERE tenant = ? AND name = ?", key.tenant, key.id);
    return r.next() ? r.integer(0) : 0;
  }

  std::pair<std::vector<history_message>, std::int64_t>
  newest(std::int64_t session, std::size_t limit, std::int64_t before) {
    std::vector<history_message> out;
    std::int64_t oldest = 0;
    auto r = db_.query("SELECT id, msg_id, role, content, extra, task, at, partial FROM message "
                       "WHERE session = ? AND id < ? ORDER BY id DESC LIMIT ?",
                       session, before, limit);
    while (r.next()) {
      history_message m;
      oldest = r.integer(0);
      m.id = r.text(1);
      m.said = {static_cast<role>(r.integer(2)), r.text(3), r.text(4)};
      m.task = r.text(5);
      m.at = r.integer(6);
      m.partial = r.integer(7) != 0;
      out.push_back(std::move(m));
    }
    std::reverse(out.begin(), out.end());
    return {std::move(out), oldest};
  }

  static stored_task read_task(const sqlite::rows& r) {
    stored_task t;
    t.view.id = r.text(1);
    t.key = {r.text(2), r.text(3)};
    t.view.session = t.key.id;
    t.view.status = static_cast<task_status>(r.integer(4));
    t.view.created_at = r.integer(5);
    t.started_at = r.integer(6);
    t.ended_at = r.integer(7);
    t.accepted_seq = r.number(8);
    t.started_seq = r.number(9);
    t.ended_seq = r.number(10);
    t.message_id = r.text(11);
    t.settings.model = t.view.model = r.text(12);
    t.settings.temperature = r.text(13);
    if (!r.null(14))
      t.settings.max_tokens = r.integer(14);
    t.settings.response_format = r.text(15);
    t.settings.passthrough = r.text(16);
    t.settings.script = r.text(17);
    t.view.attempt = r.small(25);
    t.view.updated_at = std::max({t.view.created_at, t.started_at, t.ended_at});
    t.view.last_seq = std::max({t.accepted_seq, t.started_seq, t.ended_seq});
    t.text = r.text(28);
    t.log = r.text(29);
    if (t.ended_seq != 0) {
      auto end = std::make_shared<outcome>();
      end->status = t.view.status;
      end->error = errc_from_name(r.text(18));
      end->detail = r.text(19);
      end->message_id = r.text(20);
      end->finish_reason = r.text(21);
      end->used = {r.integer(22), r.integer(23), r.integer(24) != 0};
      end->attempts = r.small(25);
      end->history_dropped = r.small(26);
      end->content = r.text(27);
      t.view.text = end->content;
      t.view.end = std::move(end);
    }
    return t;
  }

  /// What the checkpoints of a running task and its log add.
  void complete(stored_task& t, std::int64_t row) {
    if (t.ended_seq == 0) {
      auto r = db_.query("SELECT text, log FROM checkpoint WHERE task = ? ORDER BY id", row);
      while (r.next()) {
        t.text += r.text(0);
        t.log += r.text(1);
      }
    }
    auto header = std::make_shared<task_header>(
        task_header{t.view.id, t.key.id, t.view.model, t.view.created_at});
    std::string text;
    for (auto& e : replay(t.accepted_seq, t.view.created_at, header, t.text, t.log)) {
      t.view.last_seq = std::max(t.view.last_seq, e->seq);
      t.view.updated_at = std::max(t.view.updated_at, e->at);
      if (e->kind == event_kind::progress) {
        t.view.progress = e->number;
      } else if (e->kind == event_kind::delta) {
        text += e->text;
      } else {
        t.view.attempt = std::max(t.view.attempt, e->number);
        if (e->discard) {
          text.clear();
          t.view.progress = 0;
        }
      }
    }
    if (t.ended_seq == 0)
      t.view.text = std::move(text);
    if (t.view.status == task_status::completed)
      t.view.progress = 100;
  }

  sqlite::connection db_;
};

} // namespace

std::unique_ptr<reader> make_sqlite_reader(const std::string& path) {
  return std::make_unique<sqlite_reader>(path);
}

} // namespace parlor::store
