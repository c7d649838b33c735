#pragma once
// A connection that only reads. One thread at a time, not necessarily the writer's.

#include "store/sqlite.hpp"
#include "store/store.hpp"

namespace parlor::store {

class sqlite_reader final : public reader {
public:
  /// `keep`: what must live as long as the connection (the lock on the file).
  sqlite_reader(const std::string& path, std::shared_ptr<void> keep);

  session_image load_session(const session_key& key, std::size_t history_limit) override;
  std::optional<stored_session> find_session(const session_key& key) override;
  std::optional<stored_task> find_task(const std::string& tenant, const std::string& task) override;
  std::vector<stored_task> tasks_after(const session_key& key, std::uint64_t after,
                                       std::size_t limit) override;
  session_page list_sessions(const std::string& tenant, std::size_t limit,
                             const std::string& page) override;
  std::optional<message_page> list_messages(const session_key& key, std::size_t limit,
                                            const std::string& before) override;
  std::int64_t count_sessions() override;
  std::vector<session_key> unfinished_sessions() override;
  std::vector<session_key> idle_sessions(std::int64_t moment, std::size_t limit) override;
  std::vector<usage_recorded> usage_of(const std::string& task) override;

private:
  class snapshot;
  std::optional<std::int64_t> session_id(const session_key& key);
  message_page messages(std::int64_t session, std::size_t limit, std::int64_t before);
  stored_task whole(std::int64_t id, stored_task t);

  std::shared_ptr<void> keep_;
  sqlite::connection db_;
};

} // namespace parlor::store
