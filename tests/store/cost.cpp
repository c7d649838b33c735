// What a turn may cost: pages of the log, its size, and an index for every question.

#include "fixture.hpp"

#include <sqlite3.h>

#include <map>
#include <set>

using namespace parlor;
using namespace parlor::store;
using namespace parlor::store::test;

namespace {

constexpr std::uintmax_t frame = 4096 + 24;

std::string task_name(std::int64_t at) { return "task_" + std::to_string(at) + "_abcdefghjkmn"; }

/// The connections that a store opens, so that a test can see what they were asked.
std::set<sqlite3*> opened;
int on_open(sqlite3* db, const char**, const sqlite3_api_routines*) {
  opened.insert(db);
  return SQLITE_OK;
}
struct watching {
  watching() { sqlite3_auto_extension(reinterpret_cast<void (*)()>(on_open)); }
  ~watching() {
    sqlite3_reset_auto_extension();
    opened.clear();
  }
};

} // namespace

TEST_CASE_METHOD(fixture, "a turn writes few pages", "[store]") {
  constexpr std::int64_t turns = 100;
  std::uintmax_t accept = 0;
  std::uintmax_t end = 0;
  auto log = [&] { return std::filesystem::file_size(dir.db() + "-wal"); };
  std::int64_t at = 1'758'000'000'000;
  for (std::int64_t i = 0; i < turns; ++i, ++at) {
    session_key key{"", make_session_id()};
    auto from = log();
    apply({{session_opened{key, at, {}, {}}, seq_leased{key, 1000},
            accepted(key, task_name(at), at, 1), task_started{task_name(at), at, 2}}});
    auto begun = log();
    apply({{ended(key, task_name(at), at, 70, std::string(300, 'x')),
            usage_recorded{task_name(at), 1, "m", at, {3, 4, true}, errc::none},
            seq_leased{key, 70, true}}});
    accept += begun - from;
    end += log() - begun;
  }
  // The session, its place in the list, the open task; the message and the ended task, too. The
  // rest is growth.
  CHECK(accept / frame <= turns * 7 / 2);
  CHECK(accept / frame >= turns * 3);
  CHECK(end / frame <= turns * 15 / 2);
}

TEST_CASE_METHOD(fixture, "the log is written over, also when nobody has time for it", "[store]") {
  std::uintmax_t written = 0;
  std::uintmax_t largest = 0;
  for (std::int64_t at = 1; at <= 60; ++at) {
    apply({turn({"", "s" + std::to_string(at)}, task_name(at), at, 1, "hello",
                std::string(150'000, 'x'))});
    written += 300'000;
    largest = std::max(largest, std::filesystem::file_size(dir.db() + "-wal"));
  }
  CHECK(written > 16'000'000);
  CHECK(largest < 6'000'000);
  // After a reader was in the way it grows, and is cut when it begins anew.
  sqlite3* other = nullptr;
  REQUIRE(sqlite3_open(dir.db().c_str(), &other) == SQLITE_OK);
  sqlite3_exec(other, "BEGIN; SELECT count(*) FROM session", nullptr, nullptr, nullptr);
  for (std::int64_t at = 101; at <= 150; ++at)
    apply({turn({"", "s" + std::to_string(at)}, task_name(at), at, 1, "hello",
                std::string(150'000, 'x'))});
  CHECK(std::filesystem::file_size(dir.db() + "-wal") > 10'000'000);
  sqlite3_exec(other, "COMMIT", nullptr, nullptr, nullptr);
  sqlite3_close(other);
  for (std::int64_t at = 201; at <= 220; ++at)
    apply({turn({"", "s" + std::to_string(at)}, task_name(at), at, 1, "hello",
                std::string(150'000, 'x'))});
  CHECK(std::filesystem::file_size(dir.db() + "-wal") < 9'000'000);
  CHECK(r->count_sessions() == 130);
}

TEST_CASE("every question has an index", "[store]") {
  fixture f;
  f.close();
  watching them;
  f.disk = open_sqlite(f.dir.db());
  opened.clear(); // that connection is closed
  f.w = f.disk->open_writer();
  f.r = f.disk->open_reader();
  REQUIRE(opened.size() == 2);
  session_key key{"a", "s"};
  auto first = turn(key, "t1", 1, 1);
  auto& asked = std::get<task_accepted>(first[2]);
  asked.once = {"k", "f"};
  std::get<session_opened>(first[0]).system_prompt = "p";
  f.apply({first,
           {accepted(key, "t2", 10, 10), usage_recorded{"t2", 1, "m", 11, {}, errc::internal}},
           {accepted(key, "t3", 10, 11)},
           {task_started{"t2", 11, 12}},
           {task_checkpoint{"t2", 12, "x", "y"}},
           {key_probed{{"k", "f"}, 13}},
           {seq_leased{{"a", "nobody"}, 5, false}}});
  f.r->load_session(key, {10});
  f.r->load_session({"a", "none"}, {10});
  f.r->find_task("a", "t1");
  f.r->find_task("a", "t2");
  f.r->find_task_head("a", "t1");
  f.r->past_of_session(key, {});
  f.r->past_of_task("a", "t1", {});
  f.r->past_of_task("a", "t2", {});
  f.r->list_sessions("a", 1, "");
  f.r->list_messages(key, 1, "1");
  f.r->list_messages(key, 1, "msg_u_t1");
  f.r->count_sessions();
  f.r->unfinished_sessions();
  f.r->idle_sessions(100, 10);
  f.r->usage_of("t2");
  f.apply({{ended(key, "t2", 20, 20), usage_recorded{"t2", 2, "m", 20, {}, errc::none}}});
  f.w->prune(3, 3, 10);
  f.apply({{session_removed{key, 30, true}}, {session_removed{key, 40, false}}});

  // What is read whole, and by which question: one row, few rows, the beginning, or to be counted.
  const std::map<std::string, std::string> whole{
      {"SCAN meta", "meta"},
      {"SCAN open_task", "SELECT DISTINCT tenant, session_name"},
      {"USE TEMP B-TREE FOR DISTINCT", "SELECT DISTINCT tenant, session_name"},
      {"SCAN expired", "FROM expired ORDER BY id"},
      {"SCAN idempotency", "ORDER BY id LIMIT"},
      {"SCAN session USING COVERING INDEX session_recent", "SELECT count(*) FROM session"},
      {"SCAN t", "WITH RECURSIVE"},
      {"SCAN CONSTANT ROW", ""}};
  sqlite3* db = nullptr;
  REQUIRE(sqlite3_open(f.dir.db().c_str(), &db) == SQLITE_OK);
  std::set<std::string> seen;
  opened.erase(db);
  for (auto* c : opened)
    for (auto* s = sqlite3_next_stmt(c, nullptr); s != nullptr; s = sqlite3_next_stmt(c, s))
      seen.insert(sqlite3_sql(s));
  CHECK(seen.size() > 40);
  for (auto& sql : seen) {
    CAPTURE(sql);
    sqlite3_stmt* plan = nullptr;
    REQUIRE(sqlite3_prepare_v2(db, ("EXPLAIN QUERY PLAN " + sql).c_str(), -1, &plan, nullptr) ==
            SQLITE_OK);
    while (sqlite3_step(plan) == SQLITE_ROW) {
      std::string how = reinterpret_cast<const char*>(sqlite3_column_text(plan, 3));
      CAPTURE(how);
      if (how.find("SCAN") != how.npos || how.find("TEMP B-TREE") != how.npos)
        CHECK((whole.contains(how) && sql.find(whole.at(how)) != sql.npos));
    }
    sqlite3_finalize(plan);
  }
  sqlite3_close(db);
}
