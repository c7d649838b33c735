#pragma once
// Turns that end with the connection of whoever asked for them, and whose connection has gone. It
// may only have been cut: for a while somebody may come and watch such a turn, which then ends with
// that connection.
//
// Owner: shared by the edges, as a client comes back to any of them. Thread: any.

#include "protocol/ids.hpp"

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace parlor {

class absent_askers {
public:
  /// The asker of a task has gone. The number is for give_up().
  std::uint64_t left(const session_key& key, std::string task);
  /// Somebody watches `task` from now on, or all of the session (""): the tasks that are his.
  std::vector<std::string> take_over(const session_key& key, const std::string& task);
  /// Nobody is waited for any longer. True if nobody has come: the task is to end.
  bool give_up(const session_key& key, std::uint64_t number);

private:
  struct absence {
    std::uint64_t number;
    std::string task;
  };
  std::mutex mutex_;
  std::uint64_t last_ = 0;                                          // guarded
  std::unordered_map<session_key, std::vector<absence>> by_session_; // guarded; none is empty
  std::atomic<std::size_t> sessions_{0}; // of those: nearly always there is none to look for
};

} // namespace parlor
