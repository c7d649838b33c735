// What tasks have told, in parts.

#include "store/past_reader.hpp"
#include "store/snapshot.hpp"
#include "store/sqlite_reader.hpp"
#include "store/task_row.hpp"

#include <algorithm>

namespace parlor::store {

namespace {

class texts_of_ended final : public task_texts {
public:
  texts_of_ended(sqlite::connection& db, std::int64_t id) : db_{db}, id_{id} {}
  std::string log() override {
    auto all = part("log");
    return all.read(0, all.size());
  }
  std::string text(std::size_t from, std::size_t size) override {
    return part("text").read(from, size);
  }
  std::size_t content_size() override { return part(content_column()).size(); }
  std::string content() override {
    auto all = part(content_column());
    return all.read(0, all.size());
  }

private:
  sqlite::part_reader part(const char* column) const {
    return {db_.raw(), "ended_task", column, id_};
  }
  const char* content_column() {
    auto r = db_.query("SELECT content IS NULL FROM ended_task WHERE id = ?", id_);
    return r.next() && r.integer(0) != 0 ? "text" : "content";
  }

  sqlite::connection& db_;
  std::int64_t id_;
};

class texts_of_open final : public task_texts {
public:
  texts_of_open(sqlite::connection& db, std::int64_t id) : db_{db}, id_{id} {}
  std::string log() override {
    std::string all;
    for (auto r = db_.query("SELECT log FROM checkpoint WHERE task = ? ORDER BY n", id_); r.next();)
      all += r.text(0);
    return all;
  }
  std::string text(std::size_t from, std::size_t size) override {
    std::string out;
    for (auto r = db_.query("SELECT text FROM checkpoint WHERE task = ? ORDER BY n", id_);
         out.size() < size && r.next();) { // about a second's each
      auto piece = r.text(0);
      auto skip = std::min(from, piece.size());
      from -= skip;
      out.append(piece, skip, size - out.size());
    }
    return out;
  }
  std::size_t content_size() override { return 0; }
  std::string content() override { return {}; }

private:
  sqlite::connection& db_;
  std::int64_t id_;
};

void add(past_reader& out, sqlite::connection& db, const task_row& t) {
  texts_of_ended ended{db, t.id};
  texts_of_open open{db, t.id};
  if (t.task.ended_seq != 0)
    out.add(t.task, ended);
  else
    out.add(t.task, open);
}

} // namespace

std::optional<past_page> sqlite_reader::past_of_task(const std::string& tenant,
                                                     const std::string& task, const past& what) {
  snapshot one{db_};
  auto t = find_task_row(db_, task, false);
  if (!t || t->task.key.tenant != tenant)
    return std::nullopt;
  past_reader out{what};
  add(out, db_, *t);
  return std::move(out).take();
}

past_page sqlite_reader::past_of_session(const session_key& key, const past& what) {
  snapshot one{db_};
  past_reader out{what};
  auto gap = false;
  auto s = find_session_row(db_, key);
  struct link {
    std::int64_t id;
    std::uint64_t accepted_seq;
  };
  std::vector<link> tasks; // newest first
  // Accepted when nothing else was open: what was accepted before had ended by then.
  auto alone = [&what](std::uint64_t accepted, std::uint64_t started) {
    return accepted <= what.after && started == accepted + 1;
  };
  for (auto id = s ? s->last_task : 0; id != 0;) {
    if (auto r = db_.query("SELECT prev, accepted_seq, started_seq FROM open_task WHERE id = ? AND "
                           "session = ?",
                           id, s->number);
        r.next()) {
      tasks.push_back({id, r.number(1)});
      if (alone(r.number(1), r.number(2)))
        break;
      id = r.integer(0);
      continue;
    }
    auto r = db_.query("SELECT prev, ended_seq, settled, accepted_seq, started_seq FROM ended_task "
                       "WHERE id = ? AND session = ?",
                       id, s->number);
    if (!r.next()) { // pruned, and all before it
      gap = true;
      break;
    }
    auto seen = r.number(1) <= what.after;
    if (seen && r.integer(2) != 0)
      break; // and all that were accepted before had ended by then
    if (!seen)
      tasks.push_back({id, r.number(3)});
    if (alone(r.number(3), r.number(4)))
      break;
    id = r.integer(0);
  }
  for (auto t = tasks.rbegin(); t != tasks.rend() && t->accepted_seq <= out.upto(); ++t)
    if (auto row = task_row_at(db_, t->id, true, false))
      add(out, db_, *row);
  auto page = std::move(out).take();
  page.gap = gap;
  return page;
}

} // namespace parlor::store
