// Who may open a store, and what it looks like on the disk.

#include "fixture.hpp"

#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>

using namespace parlor;
using namespace parlor::store;
using namespace parlor::store::test;
using Catch::Matchers::Contains;

namespace {

void sql(const std::string& path, const char* text) {
  sqlite3* db = nullptr;
  REQUIRE(sqlite3_open(path.c_str(), &db) == SQLITE_OK);
  REQUIRE(sqlite3_exec(db, text, nullptr, nullptr, nullptr) == SQLITE_OK);
  sqlite3_close(db);
}

} // namespace

TEST_CASE_METHOD(fixture, "a second instance and a second process are refused", "[store]") {
  CHECK_THROWS_WITH(open_sqlite(dir.db()), Contains("in use"));
  CHECK_THROWS_WITH(disk->open_writer(), Contains("writer"));
  auto child = ::fork();
  if (child == 0) {
    try {
      open_sqlite(dir.db());
      ::_exit(1);
    } catch (const std::runtime_error&) {
      ::_exit(0);
    }
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  w.reset();
  w = disk->open_writer();
  disk.reset(); // the handles hold the lock
  CHECK_THROWS_WITH(open_sqlite(dir.db()), Contains("in use"));
  close();
  CHECK_NOTHROW(open());
}

TEST_CASE_METHOD(fixture, "the files are private", "[store]") {
  apply({turn({"", "s"}, "t", 1, 1)});
  for (auto* suffix : {"", "-wal", "-shm", ".lock"}) {
    struct stat info {};
    CAPTURE(suffix);
    REQUIRE(::stat((dir.db() + suffix).c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
  }
}

TEST_CASE_METHOD(fixture, "a newer schema is refused", "[store]") {
  close();
  sql(dir.db(), "PRAGMA user_version=1000");
  CHECK_THROWS_WITH(open(), Contains("newer"));
}

TEST_CASE_METHOD(fixture, "the schema from before the first release is refused, not misread",
                 "[store]") {
  apply({turn({"", "s"}, "t", 1, 1)});
  auto epoch = disk->epoch();
  auto secret = disk->secret();
  CHECK(secret.size() == 64);
  reopen(); // a present one is taken as it is
  CHECK(disk->epoch() == epoch);
  CHECK(disk->secret() == secret);
  CHECK(r->find_task("", "t"));
  close();
  sql(dir.db(), "PRAGMA user_version=2");
  CHECK_THROWS_WITH(open(), Contains("before the first release"));
  sql(dir.db(), "PRAGMA user_version=3");
  CHECK_NOTHROW(open());
}

TEST_CASE("what is not a store is refused", "[store]") {
  folder dir;
  CHECK_THROWS_AS(open_sqlite(":memory:"), std::runtime_error);
  CHECK_THROWS_AS(open_sqlite(""), std::runtime_error);
  CHECK_THROWS_AS(open_sqlite((dir.path / "no" / "such.db").string()), std::runtime_error);
  sql(dir.db(), "CREATE TABLE theirs(x)");
  CHECK_THROWS_WITH(open_sqlite(dir.db()), Contains("other program"));
  auto text = (dir.path / "text").string();
  std::ofstream{text} << std::string(5000, 'x');
  CHECK_THROWS_AS(open_sqlite(text), std::runtime_error);
}

TEST_CASE_METHOD(fixture, "what cannot be recorded leaves nothing, and the writer stops",
                 "[store]") {
  apply({turn({"", "s"}, "t", 1, 1)});
  // The same task twice breaks a promise of the caller; the first group must go with it.
  CHECK_THROWS_AS(apply({turn({"", "x"}, "t9", 1, 1), turn({"", "y"}, "t", 1, 1)}), store_error);
  CHECK_FALSE(r->find_session({"", "x"}));
  CHECK_THROWS_AS(apply({turn({"", "z"}, "t10", 1, 1)}), store_error);
  CHECK(r->find_task("", "t"));
}
