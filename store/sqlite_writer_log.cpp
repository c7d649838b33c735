// Transactions, what their failures mean, and the write-ahead log.

#include "store/sqlite_writer.hpp"

#include <algorithm>
#include <cerrno>

namespace parlor::store {

namespace {

// The log is begun anew, from the start of its file, by the first commit after all of it was moved:
// a file that is written over is synced sooner than one that grows.
constexpr int idle_from_frames = 256;  // about 1 MiB, when somebody says that nothing else is to do
constexpr int busy_from_frames = 1024; // about 4 MiB, before the next commit

[[noreturn]] void broken(const std::string& why) {
  throw store_error{store_error::kind::broken, why};
}

} // namespace

sqlite_writer::sqlite_writer(const std::string& path, std::function<void()> on_close)
    : on_close_{std::move(on_close)}, db_{path} {
  for (auto r = db_.query("SELECT max((SELECT coalesce(max(id), 0) FROM open_task), (SELECT "
                          "coalesce(max(id), 0) FROM ended_task))");
       r.next();)
    newest_task_ = r.integer(0);
  sqlite3_wal_hook(
      db_.raw(),
      [](void* self, sqlite3*, const char*, int frames) {
        auto& me = *static_cast<sqlite_writer*>(self);
        if (frames < me.wal_frames_)
          me.wal_moved_ = 0; // it has begun anew
        me.wal_frames_ = frames;
        return SQLITE_OK;
      },
      this);
}

sqlite_writer::~sqlite_writer() {
  if (!broken_ && (wal_frames_ > 0 || removed_)) {
    try {
      move_log(true); // leave an empty log
    } catch (...) {   // everything is in the log: the next start reads it from there
    }
  }
  on_close_();
}

void sqlite_writer::transaction(const std::function<void()>& body) {
  if (broken_)
    broken("the store has failed before");
  if (wal_frames_ - wal_moved_ >= busy_from_frames) {
    try {
      move_log(false);
    } catch (const store_error& e) { // the file has no room to grow; the log may have
      if (e.what_kind != store_error::kind::full)
        throw;
    }
  }
  forget_session();
  try {
    db_.run("BEGIN IMMEDIATE");
    body();
    db_.run("COMMIT");
  } catch (const std::exception& e) {
    auto* said = dynamic_cast<const sqlite::error*>(&e);
    auto full = said && said->no_space();
    in_turn_.clear();
    try {
      if (db_.in_transaction())
        db_.script("ROLLBACK");
    } catch (const sqlite::error&) {
      full = false;
    }
    if (full)
      throw store_error{store_error::kind::full, e.what()};
    broken_ = true;
    broken(e.what());
  }
}

void sqlite_writer::checkpoint() {
  if (broken_)
    broken("the store has failed before");
  if (removed_ || wal_frames_ - wal_moved_ >= idle_from_frames)
    move_log(removed_);
}

/// `truncate`: nothing is left of what the log said.
void sqlite_writer::move_log(bool truncate) {
  int left = 0;
  int moved = 0;
  sqlite3_busy_timeout(db_.raw(), 50); // readers are brief; if not, the next idle moment will do
  errno = 0;
  auto rc = sqlite3_wal_checkpoint_v2(
      db_.raw(), nullptr, truncate ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE, &left,
      &moved);
  auto errno_then = errno;
  sqlite::error said{db_.raw(), rc, "checkpoint", errno_then};
  sqlite3_busy_timeout(db_.raw(), 5000);
  if (rc == SQLITE_OK) {
    if (truncate)
      removed_ = false;
    wal_frames_ = std::max(left, 0);
    wal_moved_ = std::max(moved, 0);
    return;
  }
  if ((rc & 0xff) == SQLITE_BUSY)
    return;
  if (said.no_space())
    throw store_error{store_error::kind::full, said.what()};
  broken_ = true;
  broken(said.what());
}

} // namespace parlor::store
