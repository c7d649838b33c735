#pragma once
// A connection that only reads. One thread at a time, not necessarily the writer's.

#include "store/session_row.hpp"
#include "store/sqlite.hpp"
#include "store/store.hpp"

namespace parlor::store {

class sqlite_reader final : public reader {
public:
  /// `keep`: what must live as long as the connection (the lock on the file).
  sqlite_reader(const std::string& path, std::shared_ptr<void> keep);

  session_image load_session(const session_key& key, const history_limits& limits) override;
  std::optional<stored_session> find_session(const session_key& key) override;
  std::optional<stored_task> find_task(const std::string& tenant, const std::string& task) override;
  std::optional<stored_task> find_task_head(const std::string& tenant,
                                            const std::string& task) override;
  std::optional<past_page> past_of_task(const std::string& tenant, const std::string& task,
                                        const past& what) override;
  past_page past_of_session(const session_key& key, const past& what) override;
  session_page list_sessions(const std::string& tenant, std::size_t limit,
                             const std::string& page) override;
  std::optional<message_page> list_messages(const session_key& key, std::size_t limit,
                                            const std::string& before) override;
  std::int64_t count_sessions() override;
  std::optional<external_session> find_external(const session_key& key) override;
  external_counts count_external() override;
  std::vector<session_key> unfinished_sessions() override;
  idle_page idle_sessions(std::int64_t moment, std::size_t limit,
                          const idle_place& after = {}) override;
  std::vector<usage_recorded> usage_of(const std::string& task) override;

private:
  /// A message that a page ends before.
  struct place {
    std::int64_t row = 0;         // of the newest stored message that may be shown
    std::uint64_t open_below = 0; // questions of open tasks that were accepted below this
  };
  static place newest(const session_row& s) { return {s.last_message, ~std::uint64_t{0}}; }
  stored_session told(const session_row& s);
  stored_session told_with_texts(const session_row& row);
  std::int64_t row_before(const session_row& s, const std::string& msg_id);
  place place_of(const session_row& s, const std::string& before);
  message_page messages(const session_row& s, std::size_t limit, place from);
  void load_turns(const session_row& s, const history_limits& limits, session_image& into);
  void load_open(const session_row& s, session_image& into);

  std::shared_ptr<void> keep_;
  sqlite::connection db_;
};

} // namespace parlor::store
