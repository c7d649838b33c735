#pragma once
// A thin RAII layer over SQLite's C API: connections, cached statements, errors. A connection and
// everything made from it belong to one thread at a time.

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>

namespace parlor::store::sqlite {

/// What SQLite said. `code` is the extended result code, `system_errno` that of a system call which
/// failed meanwhile, or 0.
struct error : std::runtime_error {
  error(sqlite3* db, int rc, const char* doing, int errno_then = 0);
  int code;
  int system_errno;
  /// The disk (or quota) is full, and nothing else is wrong.
  bool no_space() const noexcept;
};

/// Bytes that are not text.
struct blob {
  std::string_view bytes;
};

/// One run of a prepared statement; resets it when it goes, so that it holds no read lock.
class rows {
public:
  rows(sqlite3* db, sqlite3_stmt* stmt) noexcept : db_{db}, stmt_{stmt} {}
  rows(const rows&) = delete;
  rows& operator=(const rows&) = delete;
  ~rows() {
    sqlite3_reset(stmt_);
    sqlite3_clear_bindings(stmt_);
  }

  bool next();
  std::int64_t integer(int column) const { return sqlite3_column_int64(stmt_, column); }
  std::uint64_t number(int column) const { return static_cast<std::uint64_t>(integer(column)); }
  std::uint32_t small(int column) const { return static_cast<std::uint32_t>(integer(column)); }
  std::string text(int column) const;
  bool null(int column) const { return sqlite3_column_type(stmt_, column) == SQLITE_NULL; }

private:
  sqlite3* db_;
  sqlite3_stmt* stmt_;
};

/// A value that may be long, read in parts: the rest of it does not come into memory. Not for what
/// is null.
class part_reader {
public:
  part_reader(sqlite3* db, const char* table, const char* column, std::int64_t row);
  part_reader(const part_reader&) = delete;
  part_reader& operator=(const part_reader&) = delete;
  ~part_reader() { sqlite3_blob_close(blob_); }

  std::size_t size() const { return static_cast<std::size_t>(sqlite3_blob_bytes(blob_)); }
  /// So many bytes from there on, or as many as there are.
  std::string read(std::size_t from, std::size_t bytes) const;

private:
  sqlite3* db_;
  sqlite3_blob* blob_ = nullptr;
};

class connection {
public:
  /// Opens an existing file. No connection checkpoints by itself, not even when it closes: SQLite
  /// before 3.51.3 can lose commits when one connection checkpoints while another commits, so the
  /// writer does both.
  explicit connection(const std::string& path);
  connection(const connection&) = delete;
  connection& operator=(const connection&) = delete;

  /// Begins a query; the SQL must be a literal, which is prepared once and kept. One run of it at a
  /// time.
  template <class... Args>
  rows query(const char* sql, const Args&... args) {
    auto* stmt = prepared(sql);
    bind_all(stmt, SQLITE_TRANSIENT, args...);
    return rows{db_.get(), stmt};
  }

  /// Runs a statement to its end and returns the number of rows it changed.
  template <class... Args>
  std::int64_t run(const char* sql, const Args&... args) {
    auto* stmt = prepared(sql);
    rows r{db_.get(), stmt};
    bind_all(stmt, SQLITE_STATIC, args...);
    while (r.next())
      ;
    return sqlite3_changes64(db_.get());
  }

  /// Runs a script of statements without parameters.
  void script(const char* sql);

  std::int64_t last_rowid() const { return sqlite3_last_insert_rowid(db_.get()); }
  bool in_transaction() const { return sqlite3_get_autocommit(db_.get()) == 0; }
  sqlite3* raw() const noexcept { return db_.get(); }

private:
  struct closer {
    void operator()(sqlite3* db) const noexcept { sqlite3_close_v2(db); }
    void operator()(sqlite3_stmt* s) const noexcept { sqlite3_finalize(s); }
  };

  sqlite3_stmt* prepared(const char* sql);
  void check(int rc, const char* doing) const {
    if (rc != SQLITE_OK)
      throw error{db_.get(), rc, doing};
  }

  template <class... Args>
  void bind_all([[maybe_unused]] sqlite3_stmt* stmt, [[maybe_unused]] sqlite3_destructor_type keep,
                const Args&... args) {
    [[maybe_unused]] int at = 0;
    (check(bind(stmt, ++at, keep, args), "bind"), ...);
  }
  template <class T>
  requires std::is_integral_v<T>
  static int bind(sqlite3_stmt* s, int at, sqlite3_destructor_type, T v) {
    return sqlite3_bind_int64(s, at, static_cast<sqlite3_int64>(v));
  }
  template <class T>
  static int bind(sqlite3_stmt* s, int at, sqlite3_destructor_type keep,
                  const std::optional<T>& v) {
    return v ? bind(s, at, keep, *v) : sqlite3_bind_null(s, at);
  }
  static int bind(sqlite3_stmt* s, int at, sqlite3_destructor_type keep, std::string_view v) {
    return sqlite3_bind_text64(s, at, v.data() ? v.data() : "", v.size(), keep, SQLITE_UTF8);
  }
  static int bind(sqlite3_stmt* s, int at, sqlite3_destructor_type keep, const blob& v) {
    return sqlite3_bind_blob64(s, at, v.bytes.data() ? v.bytes.data() : "", v.bytes.size(), keep);
  }

  std::unique_ptr<sqlite3, closer> db_;
  /// By the literal's address: the text is not looked at again.
  std::unordered_map<const char*, std::unique_ptr<sqlite3_stmt, closer>> statements_;
};

} // namespace parlor::store::sqlite
