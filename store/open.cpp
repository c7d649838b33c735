#include "store/schema.hpp"
#include "store/sqlite_store.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

namespace parlor::store {

namespace {

constexpr int oldest_sqlite = 3'040'000;

/// Held as long as the store is open: a second process is told so instead of writing to the same
/// file.
class lock_file {
public:
  explicit lock_file(const std::string& path)
      : fd_{open((path + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)} {
    if (fd_ < 0)
      throw std::runtime_error{"cannot create " + path +
                               ".lock: is the folder there and writable?"};
    if (flock(fd_, LOCK_EX | LOCK_NB) != 0) {
      close(fd_);
      throw std::runtime_error{path + " is in use by another process"};
    }
  }
  ~lock_file() { close(fd_); }
  lock_file(const lock_file&) = delete;
  lock_file& operator=(const lock_file&) = delete;

private:
  int fd_;
};

class sqlite_store final : public store {
public:
  explicit sqlite_store(const std::string& path) : path_{path}, lock_{path} {
    auto fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
      throw std::runtime_error{"cannot open " + path + " for writing"};
    close(fd);
    try {
      sqlite::connection db{path};
      db.script("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;");
      epoch_ = migrate(db, path);
    } catch (const sqlite::error& e) {
      throw std::runtime_error{path + " cannot be used: " + e.what()};
    }
  }
  const std::string& epoch() const noexcept override { return epoch_; }
  std::unique_ptr<writer> open_writer() override { return make_sqlite_writer(path_); }
  std::unique_ptr<reader> open_reader() override { return make_sqlite_reader(path_); }

private:
  std::string path_;
  lock_file lock_;
  std::string epoch_;
};

} // namespace

std::unique_ptr<store> open_sqlite(const std::string& path) {
  if (path.empty() || path == ":memory:" || path.rfind("file:", 0) == 0)
    throw std::runtime_error{"store.path must be the path of a file"};
  if (sqlite3_libversion_number() < oldest_sqlite || sqlite3_threadsafe() == 0)
    throw std::runtime_error{"this SQLite is too old or was built without threads"};
  return std::make_unique<sqlite_store>(path);
}

} // namespace parlor::store
