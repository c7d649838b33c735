#pragma once
// The one connection that writes, and that moves the write-ahead log into the file. One thread at a
// time.

#include "store/session_row.hpp"
#include "store/sqlite.hpp"
#include "store/store.hpp"

#include <functional>
#include <random>
#include <unordered_map>

namespace parlor::store {

class sqlite_writer final : public writer {
public:
  /// `on_close` is called when the writer goes, so that the next one may be opened.
  sqlite_writer(const std::string& path, std::function<void()> on_close);
  ~sqlite_writer() override;

  std::vector<group_result> apply(std::span<const fact_group_ptr> groups) override;
  std::size_t prune(std::int64_t tasks_before, std::int64_t keys_before,
                    std::size_t limit) override;
  void checkpoint() override;

private:
  void transaction(const std::function<void()>& body);
  void move_log(bool truncate);
  group_result record(const fact_group& group);
  std::optional<group_result> known(const idempotency& once, std::int64_t at);

  // A group is about one session, as a rule: its row is read once, changed here and written once.
  session_row* session(const session_key& key);
  session_row& session_made(const session_key& key, std::int64_t at, const std::string& prompt,
                            const std::string& metadata);
  void session_used(session_row& s, std::int64_t at);
  void put_session();
  void forget_session();

  std::int64_t free_task_id(const std::string& name);
  void remove_messages(std::int64_t last, std::int64_t session);
  void remove_task(std::int64_t id, const std::string& name, const std::string& key);
  std::int64_t remove_tasks(std::int64_t last, std::int64_t session, bool ended_too);
  bool is_task(std::int64_t id);
  std::size_t prune_tasks(std::int64_t before, std::size_t limit);
  std::size_t prune_expired(std::int64_t before, std::size_t limit);
  std::size_t prune_keys(std::int64_t before, std::size_t limit);

  void on(const session_opened& f, const fact_group&);
  void on(const seq_leased& f, const fact_group&);
  void on(const key_probed&, const fact_group&) {}
  void on(const task_accepted& f, const fact_group& group);
  void on(const task_started& f, const fact_group& group);
  void on(const task_checkpoint& f, const fact_group&);
  void on(const task_ended& f, const fact_group& group);
  void on(const usage_recorded& f, const fact_group& group);
  void on(const session_removed& f, const fact_group&);

  std::function<void()> on_close_;
  sqlite::connection db_;
  std::mt19937_64 dice_{std::random_device{}()}; // numbers of sessions
  std::optional<session_row> session_;           // of the group under way
  /// Rows of sessions that have open tasks, as this transaction or the last one has left them: the
  /// end of a turn does not read again what its acceptance wrote. Empty after a rollback.
  std::unordered_map<session_key, session_row> in_turn_;
  std::int64_t newest_task_ = 0; // no row of a task has a higher id
  bool session_new_ = false;     // has no row yet
  bool session_changed_ = false;
  bool session_moved_ = false; // was used: its place in the index changes
  int wal_frames_ = 0;         // in the log after the last commit
  int wal_moved_ = 0;          // of those, are in the file
  bool removed_ = false;       // texts were removed: they are still in the log
  bool broken_ = false;
};

} // namespace parlor::store
