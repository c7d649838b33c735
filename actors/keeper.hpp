#pragma once
// The only one that writes to the store, and the only one that may block on it.

#include "actors/instrument.hpp"
#include "actors/interfaces.hpp"
#include "actors/measures.hpp"

#include <functional>
#include <memory>

namespace parlor {

struct keeper_options {
  std::size_t batch = 64; // facts groups in one commit, at most
  std::chrono::milliseconds task_retention{24LL * 3600 * 1000};
  std::chrono::milliseconds key_retention{24LL * 3600 * 1000};
  std::function<std::int64_t()> wall; // ms since the epoch
  std::function<void(const std::string&)>
      on_broken; // the store may not be trusted any more: end the process
};

/// Commits what has queued up since the last commit: it never waits on purpose, so an idle store
/// answers after one fsync, and a busy one shares it among up to `batch` groups. An exit message
/// (user_shutdown) ends it behind the commit of all that came before.
keeper_actor::behavior_type keeper(keeper_actor::stateful_pointer<struct keeper_state> self,
                                   std::shared_ptr<store::writer> writer, keeper_options options);

struct archive_state {
  explicit archive_state(archive_actor::pointer) : counted{actor_kind::archive} {}
  static inline const char* name = "archive";
  alive counted;
};

/// Reads from the store.
archive_actor::behavior_type archive(archive_actor::stateful_pointer<archive_state> self,
                                     std::shared_ptr<store::reader> reader);

struct keeper_state {
  explicit keeper_state(keeper_actor::pointer me) : self{me}, counted{actor_kind::keeper} {}
  static inline const char* name = "keeper";
  keeper_actor::pointer self;
  alive counted;
  std::shared_ptr<store::writer> writer;
  keeper_options options;
  std::vector<fact_group_ptr> groups;
  std::vector<caf::typed_response_promise<recorded_ptr>> promises;
  bool scheduled = false;
  bool broken = false;
  bool full = false;
  void commit();
  void give_up(const std::string& why);
};

} // namespace parlor
