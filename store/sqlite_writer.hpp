#pragma once
// The one connection that writes, and that moves the write-ahead log into the file. One thread at a
// time.

#include "store/sqlite.hpp"
#include "store/store.hpp"

#include <functional>

namespace parlor::store {

class sqlite_writer final : public writer {
public:
  /// `on_close` is called when the writer goes, so that the next one may be opened.
  sqlite_writer(const std::string& path, std::function<void()> on_close);
  ~sqlite_writer() override;

  std::vector<group_result> apply(std::span<const fact_group> groups) override;
  std::size_t prune(std::int64_t tasks_before, std::int64_t keys_before,
                    std::size_t limit) override;
  void checkpoint() override;

private:
  template <class F>
  void transaction(F&& body);
  group_result record(const fact_group& group);
  std::optional<group_result> known(const idempotency& once, std::int64_t at);
  std::optional<std::int64_t> session_id(const session_key& key);
  std::int64_t session_made(const session_key& key, std::int64_t at, const std::string& prompt,
                            const std::string& metadata);

  void on(const session_opened& f);
  void on(const seq_leased& f);
  void on(const key_probed&) {}
  void on(const task_accepted& f);
  void on(const task_started& f);
  void on(const task_checkpoint& f);
  void on(const task_ended& f);
  void on(const usage_recorded& f);
  void on(const session_removed& f);

  std::string wal_path_;
  std::function<void()> on_close_;
  sqlite::connection db_;
  int wal_frames_ = 0;   // in the log after the last commit
  bool removed_ = false; // texts were removed: they are still in the log
  bool broken_ = false;
};

} // namespace parlor::store
