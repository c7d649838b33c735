#include "store/sqlite.hpp"

#include <algorithm>

#include <cerrno>

namespace parlor::store::sqlite {

namespace {

std::string describe(sqlite3* db, int rc, const char* doing) {
  std::string s = "sqlite ";
  s += doing;
  s += ": ";
  s += db ? sqlite3_errmsg(db) : sqlite3_errstr(rc);
  s += " (";
  s += std::to_string(db ? sqlite3_extended_errcode(db) : rc);
  s += ")";
  return s;
}

} // namespace

error::error(sqlite3* db, int rc, const char* doing, int errno_then)
    : std::runtime_error{describe(db, rc, doing)}, code{db ? sqlite3_extended_errcode(db) : rc},
      system_errno{errno_then} {
  if (code == SQLITE_OK)
    code = rc;
}

bool error::no_space() const noexcept {
  if ((code & 0xff) == SQLITE_FULL)
    return true;
  // After a failed fsync the kernel may have dropped the pages: never to be mistaken for a full
  // disk.
  if ((code & 0xff) != SQLITE_IOERR || code == SQLITE_IOERR_FSYNC || code == SQLITE_IOERR_DIR_FSYNC)
    return false;
  return system_errno == ENOSPC || system_errno == EDQUOT || system_errno == EFBIG;
}

bool rows::next() {
  // Not sqlite3_system_errno: a COMMIT that fails leaves there what an earlier failure has put.
  errno = 0;
  auto rc = sqlite3_step(stmt_);
  auto errno_then = errno;
  if (rc == SQLITE_ROW)
    return true;
  if (rc != SQLITE_DONE)
    throw error{db_, rc, "step", errno_then};
  return false;
}

std::string rows::text(int column) const {
  // The bytes first, then their number: the order that SQLite asks for.
  auto* p = static_cast<const char*>(sqlite3_column_blob(stmt_, column));
  auto n = sqlite3_column_bytes(stmt_, column);
  return p ? std::string(p, static_cast<std::size_t>(n)) : std::string{};
}

part_reader::part_reader(sqlite3* db, const char* table, const char* column, std::int64_t row)
    : db_{db} {
  if (auto rc = sqlite3_blob_open(db, "main", table, column, row, 0, &blob_); rc != SQLITE_OK) {
    sqlite3_blob_close(blob_);
    throw error{db, rc, "open a value"};
  }
}

std::string part_reader::read(std::size_t from, std::size_t bytes) const {
  if (from >= size())
    return {};
  std::string out(std::min(bytes, size() - from), '\0');
  if (auto rc = sqlite3_blob_read(blob_, out.data(), static_cast<int>(out.size()),
                                  static_cast<int>(from));
      rc != SQLITE_OK)
    throw error{db_, rc, "read a value"};
  return out;
}

connection::connection(const std::string& path) {
  // Nobody asks how much memory SQLite has; counting it takes a lock of the whole process at every
  // allocation. Refused, and no harm done, where something else has made SQLite begin before.
  [[maybe_unused]] static const auto uncounted = sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
  sqlite3* db = nullptr;
  auto rc =
      sqlite3_open_v2(path.c_str(), &db,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nullptr);
  db_.reset(db);
  check(rc, "open");
  sqlite3_busy_timeout(db, 5000);
  check(sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr), "configure");
  script("PRAGMA page_size=4096;"
         "PRAGMA journal_mode=WAL;"
         "PRAGMA synchronous=FULL;"
         "PRAGMA wal_autocheckpoint=0;"
         "PRAGMA journal_size_limit=8388608;" // when the log begins anew
         "PRAGMA secure_delete=ON;"
         "PRAGMA temp_store=MEMORY;"
         // Whenever a page has been split in the middle of a tree SQLite looks at every page that
         // it holds: more of them cost more than they spare (docs/decisions/0006).
         "PRAGMA cache_size=-4096;");
}

void connection::script(const char* sql) {
  check(sqlite3_exec(db_.get(), sql, nullptr, nullptr, nullptr), "exec");
}

sqlite3_stmt* connection::prepared(const char* sql) {
  auto& slot = statements_[sql];
  if (!slot) {
    sqlite3_stmt* stmt = nullptr;
    check(sqlite3_prepare_v3(db_.get(), sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, nullptr),
          "prepare");
    slot.reset(stmt);
  }
  return slot.get();
}

} // namespace parlor::store::sqlite
