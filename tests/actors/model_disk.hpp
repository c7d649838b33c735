#pragma once
// What the store promises (store/store.hpp), in memory and as plainly as possible: the yardstick of
// the tests of the session's rules. conversation_random.cpp compares it with the real store.

#include "protocol/task_log.hpp"
#include "store/past_reader.hpp"

#include <map>
#include <string>
#include <vector>

namespace parlor::test {

struct model_disk {
  struct kept_session {
    store::stored_session row;
    std::vector<history_message> history;
  };
  std::map<session_key, kept_session> sessions;
  std::map<std::string, store::stored_task> tasks; // of sessions that have not been removed
  std::map<std::string, store::task_accepted> keys;
  std::vector<store::usage_recorded> usages;
  std::uint64_t floor = 0; // no session made from now on may use a number up to this

  store::group_result apply(const store::fact_group& group);

  store::session_image load(const session_key& key, const store::history_limits& limits) const;

  /// All that the store could tell a watcher of the session.
  std::vector<event_ptr> events(const session_key& key) const;
  past_page past_of(const session_key& key, const past& what) const;

  static store::stored_task whole(store::stored_task t);

  // -- one fact ---
  void on(const store::session_opened& f);
  void on(const store::seq_leased& f);
  void on(const store::task_accepted& f);
  void on(const store::task_started& f);
  void on(const store::task_checkpoint& f);
  void on(const store::task_ended& f);
  void on(const store::usage_recorded& f);
  void on(const store::key_probed&) {}
  void on(const store::session_removed& f);

private:
  static void touch(kept_session& s, std::int64_t at, std::uint64_t seq);
  store::stored_task* open_task(const std::string& name);
};

} // namespace parlor::test
