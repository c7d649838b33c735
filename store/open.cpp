// Opening a store: the lock beside the file, the file's mode, its schema.

#include "store/schema.hpp"
#include "store/sqlite_reader.hpp"
#include "store/sqlite_writer.hpp"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace parlor::store {

namespace {

class descriptor {
public:
  descriptor(const std::string& path, int flags)
      : fd_{::open(path.c_str(), flags | O_CLOEXEC, 0600)} {
    if (fd_ < 0)
      throw std::runtime_error{"cannot open " + path + ": " + std::strerror(errno)};
  }
  descriptor(const descriptor&) = delete;
  descriptor& operator=(const descriptor&) = delete;
  ~descriptor() { ::close(fd_); }
  int get() const noexcept { return fd_; }

private:
  int fd_;
};

/// What everything made from one open store shares: the lock lasts until the last of them is gone.
struct shared_state {
  explicit shared_state(const std::string& path) : lock{path + ".lock", O_RDWR | O_CREAT} {
    // flock, not fcntl: it also refuses a second instance within the process.
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0)
      throw std::runtime_error{errno == EWOULDBLOCK
                                   ? path + " is in use by another process"
                                   : "cannot lock " + path + ": " + std::strerror(errno)};
  }
  descriptor lock;
  std::atomic<bool> has_writer{false};
};

class sqlite_store final : public store {
public:
  explicit sqlite_store(const std::string& path)
      : path_{std::filesystem::weakly_canonical(path).string()}, shared_{
                                                                     std::make_shared<shared_state>(
                                                                         path_)} {
    prepare_file();
    sqlite::connection db{path_};
    identity_ = migrate(db, path_);
  }

  const std::string& epoch() const noexcept override { return identity_.epoch; }
  const std::string& secret() const noexcept override { return identity_.secret; }

  std::unique_ptr<writer> open_writer() override {
    if (shared_->has_writer.exchange(true))
      throw std::runtime_error{path_ + " has a writer already"};
    try {
      return std::make_unique<sqlite_writer>(path_, [s = shared_] { s->has_writer = false; });
    } catch (...) {
      shared_->has_writer = false;
      throw;
    }
  }

  std::unique_ptr<reader> open_reader() override {
    return std::make_unique<sqlite_reader>(path_, shared_);
  }

private:
  // Conversations are private. The log and its index get the mode of the file from SQLite.
  void prepare_file() {
    descriptor file{path_, O_RDWR | O_CREAT};
    ::fchmod(file.get(), 0600);
    auto folder = std::filesystem::path{path_}.parent_path().string();
    descriptor parent{folder.empty() ? "." : folder, O_RDONLY | O_DIRECTORY};
    ::fsync(parent.get());
  }

  std::string path_;
  std::shared_ptr<shared_state> shared_;
  identity identity_;
};

} // namespace

std::unique_ptr<store> open_sqlite(const std::string& path) {
  if (path.empty())
    throw std::runtime_error{"the path of the store must not be empty"};
  if (path == ":memory:" || path.starts_with("file:"))
    throw std::runtime_error{"the store must be a file: two handles of \"" + path +
                             "\" would see two stores"};
  if (sqlite3_libversion_number() < SQLITE_VERSION_NUMBER)
    throw std::runtime_error{std::string{"SQLite "} + sqlite3_libversion() +
                             " is older than the " SQLITE_VERSION " this was built with"};
  if (sqlite3_threadsafe() == 0)
    throw std::runtime_error{"this SQLite was built without threads"};
  try {
    return std::make_unique<sqlite_store>(path);
  } catch (const sqlite::error& e) {
    throw std::runtime_error{"cannot open " + path + ": " + e.what()};
  } catch (const std::filesystem::filesystem_error& e) {
    throw std::runtime_error{"cannot open " + path + ": " + e.code().message()};
  }
}

} // namespace parlor::store
