// A disk that is full, and one whose fsync fails: what is recorded, and what is said.

#include "fixture.hpp"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <sys/resource.h>
#include <sys/syscall.h>

namespace {

std::atomic<bool> fsync_fails{false};

int synced(long call, int fd) {
  if (fsync_fails) {
    errno = EIO;
    return -1;
  }
  return static_cast<int>(::syscall(call, fd));
}

} // namespace

// SQLite's library calls these instead of those of the C library.
extern "C" int fsync(int fd) { return synced(SYS_fsync, fd); }
extern "C" int fdatasync(int fd) { return synced(SYS_fdatasync, fd); }

using namespace parlor;
using namespace parlor::store;
using namespace parlor::store::test;
using failure = store_error::kind;

namespace {

/// No file of this process grows beyond `bytes` while this lives: a disk that is full.
class file_limit {
public:
  explicit file_limit(rlim_t bytes) : signal_{std::signal(SIGXFSZ, SIG_IGN)} {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    auto now = before_;
    now.rlim_cur = bytes;
    ::setrlimit(RLIMIT_FSIZE, &now);
  }
  file_limit(const file_limit&) = delete;
  file_limit& operator=(const file_limit&) = delete;
  ~file_limit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, signal_);
  }

private:
  rlimit before_{};
  void (*signal_)(int);
};

std::optional<failure> failure_of(fixture& f, std::vector<fact_group> groups) {
  try {
    f.apply(std::move(groups));
  } catch (const store_error& e) {
    return e.what_kind;
  }
  return std::nullopt;
}

} // namespace

TEST_CASE_METHOD(fixture, "a full disk refuses, serves reads and recovers", "[store]") {
  session_key key{"", "s"};
  apply({turn(key, "t1", 1, 1)});
  std::optional<failure> what;
  {
    file_limit full{std::filesystem::file_size(dir.db() + "-wal") + 10000};
    what = failure_of(*this, {turn(key, "t2", 2, 10, std::string(500000, 'x'))});
    CHECK(r->find_task("", "t1"));
    CHECK_FALSE(r->find_task("", "t2"));
  }
  CHECK(what == failure::full);
  apply({turn(key, "t3", 3, 20)});
  reopen();
  CHECK_FALSE(r->find_task("", "t2"));
  CHECK(r->find_task("", "t3"));
  CHECK(r->find_session(key)->view.message_count == 4);
}

TEST_CASE_METHOD(fixture, "after a failed fsync nothing more is acknowledged", "[store]") {
  apply({turn({"", "s"}, "t1", 1, 1)});
  fsync_fails = true;
  auto what = failure_of(*this, {turn({"", "s"}, "t2", 2, 10)});
  fsync_fails = false;
  CHECK(what == failure::broken);
  // SQLite itself would go on.
  CHECK(failure_of(*this, {turn({"", "s"}, "t3", 3, 20)}) == failure::broken);
  CHECK_THROWS_AS(w->checkpoint(), store_error);
  CHECK_THROWS_AS(w->prune(0, 0, 1), store_error);
  reopen();
  CHECK(r->find_task("", "t1"));
  CHECK_FALSE(r->find_task("", "t3"));
}

TEST_CASE_METHOD(fixture, "an end that was refused for space counts once", "[store]") {
  session_key key{"", "s"};
  apply({{session_opened{key, 1, {}, {}}, seq_leased{key, 100}, accepted(key, "t1", 1, 1),
          task_started{"t1", 1, 2}}});
  {
    file_limit full{std::filesystem::file_size(dir.db() + "-wal") + 10000};
    // Within one transaction: what the first group has left is undone with it.
    CHECK(failure_of(*this, {{ended(key, "t1", 5, 3)},
                             {accepted(key, "t2", 6, 4)},
                             turn({"", "other"}, "t3", 7, 1, std::string(500000, 'x'))}) ==
          failure::full);
  }
  apply({{ended(key, "t1", 5, 3)}});
  auto s = r->find_session(key).value();
  CHECK(s.view.message_count == 2);
  CHECK(s.view.total_tokens == 7);
  CHECK(s.view.question_count == 1);
  CHECK(s.view.state == "idle");
  CHECK(r->load_session(key, {10}).history.size() == 2);
}
