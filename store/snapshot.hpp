#pragma once
// One state of the store for several queries of a reader.

#include "store/sqlite.hpp"

namespace parlor::store {

/// One within another is the other.
class snapshot {
public:
  explicit snapshot(sqlite::connection& db) : db_{db}, mine_{!db.in_transaction()} {
    if (mine_)
      db_.run("BEGIN");
  }
  snapshot(const snapshot&) = delete;
  snapshot& operator=(const snapshot&) = delete;
  ~snapshot() {
    if (!mine_)
      return;
    try {
      db_.run("COMMIT"); // of nothing: it cannot fail but for memory
    } catch (const sqlite::error&) {
      sqlite3_exec(db_.raw(), "ROLLBACK", nullptr, nullptr, nullptr);
    }
  }

private:
  sqlite::connection& db_;
  bool mine_;
};

} // namespace parlor::store
