#pragma once
// A store in a folder of its own, and short ways to make facts.

#include "store/store.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <unistd.h>
#include <vector>

namespace parlor::store::test {

struct folder {
  folder() {
    auto pattern = (std::filesystem::temp_directory_path() / "parlor-store-XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path = pattern;
  }
  folder(const folder&) = delete;
  folder& operator=(const folder&) = delete;
  ~folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::string db() const { return (path / "parlor.db").string(); }
  std::filesystem::path path;
};

struct fixture {
  fixture() { open(); }
  void open() {
    disk = open_sqlite(dir.db());
    w = disk->open_writer();
    r = disk->open_reader();
  }
  void close() {
    r.reset();
    w.reset();
    disk.reset();
  }
  void reopen() {
    close();
    open();
  }
  std::vector<group_result> apply(std::vector<fact_group> groups) {
    std::vector<fact_group_ptr> shared;
    for (auto& g : groups)
      shared.push_back(std::make_shared<const fact_group>(std::move(g)));
    return w->apply(shared);
  }

  folder dir;
  std::unique_ptr<store> disk;
  std::unique_ptr<writer> w;
  std::unique_ptr<reader> r;
};

inline std::string slurp(const std::string& path) {
  std::ifstream in{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}

inline task_accepted accepted(session_key key, std::string task, std::int64_t at, std::uint64_t seq,
                              std::string content = "hello", idempotency once = {}) {
  task_accepted f;
  f.key = std::move(key);
  f.message_id = "msg_u_" + task;
  f.task = std::move(task);
  f.at = at;
  f.seq = seq;
  f.settings.model = std::string{"m"}; // GCC 12 warns wrongly about the plain literal
  f.said.content = std::move(content);
  f.once = std::move(once);
  return f;
}

inline task_ended ended(session_key key, std::string task, std::int64_t at, std::uint64_t seq,
                        std::string content = "answer",
                        task_status status = task_status::completed) {
  task_ended f;
  f.key = std::move(key);
  outcome end;
  end.status = status;
  end.message_id = "msg_a_" + task;
  f.task = std::move(task);
  f.at = at;
  f.seq = seq;
  f.text = content;
  end.content = std::move(content);
  end.used = {3, 4, true};
  f.end = std::make_shared<const outcome>(std::move(end));
  return f;
}

/// Changes how a task ended.
template <class Change>
void change_end(task_ended& f, Change change) {
  auto end = *f.end;
  change(end);
  f.end = std::make_shared<const outcome>(std::move(end));
}

/// A session with one task that has ended.
inline fact_group turn(session_key key, std::string task, std::int64_t at, std::uint64_t seq,
                       std::string said = "hello", std::string answer = "answer") {
  return {session_opened{key, at, {}, {}}, seq_leased{key, seq + 100},
          accepted(key, task, at, seq, said), task_started{task, at + 1, seq + 1},
          ended(key, task, at + 2, seq + 2, answer)};
}

/// The tasks that have an event numbered above `after`, in the order of that.
inline std::vector<std::string> tasks_after(reader& r, const session_key& key, std::uint64_t after,
                                            bool* gap = nullptr) {
  auto page = r.past_of_session(key, {.after = after});
  if (gap != nullptr)
    *gap = page.gap;
  std::vector<std::string> out;
  for (auto& e : page.events)
    if (std::find(out.begin(), out.end(), e->task->id) == out.end())
      out.push_back(e->task->id);
  return out;
}

} // namespace parlor::store::test
