#pragma once
// Turns that end when nobody attends them any more: those whose request says cancel_on_disconnect.
// Their askers attend them, and whoever comes to watch them later: a connection that was cut is
// often noticed long after its client has come back.
//
// Owner: shared by the edges, as a client comes back to any of them. Thread: any. What it knows is
// not stored: after a restart such turns go on like all others.

#include "protocol/ids.hpp"

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace parlor {

class attendance {
public:
  /// Its asker attends a turn, or who repeats its request.
  void ask(const session_key& key, const std::string& task);
  /// Somebody watches `task` from now on, or all of the session (""): the turns he attends by that.
  std::vector<std::string> come(const session_key& key, const std::string& task);
  /// He attends it no longer. Not 0: nor does anybody else, and here is the number for expire().
  std::uint64_t leave(const session_key& key, const std::string& task);
  /// Enough time has gone by. True if nobody has come since that leave(): it is to be stopped.
  bool expire(const session_key& key, const std::string& task, std::uint64_t number);
  /// Those that nobody attends.
  std::vector<std::string> abandoned(const session_key& key);
  void ended(const session_key& key, const std::string& task);

private:
  struct turn {
    std::string task;
    std::size_t attendants = 0;
    std::uint64_t left = 0; // the number of the last leave(), while there are none
  };
  using turns = std::vector<turn>;
  turn* find(const session_key& key, const std::string& task);
  void forget(const session_key& key, const std::string& task);

  std::mutex mutex_;
  std::unordered_map<session_key, turns> by_session_; // guarded; none is empty
  std::uint64_t last_ = 0;                            // guarded
  std::atomic<std::size_t> sessions_{0}; // of those: nearly always there is nothing to look for
};

} // namespace parlor
