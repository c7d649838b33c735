#pragma once
// Which sessions are in memory. One of several, partitioned by session key.
//
// Thread: the pool. Spawns a session at its first touch and monitors it; a crashed one is forgotten
// and rebuilt from the store by the next request.

#include "actors/session.hpp"

#include <functional>
#include <set>
#include <unordered_map>

namespace parlor {

struct lobby_options {
  std::chrono::milliseconds sweep_every{60'000};
  std::size_t partition = 0; // of `partitions`: this one's sessions
  std::size_t partitions = 1;
  std::function<void(const session_key&)> lost; // tells the edges of a session that crashed
};

struct lobby_state {
  explicit lobby_state(lobby_actor::pointer me) : self{me}, counted{actor_kind::lobby} {}
  static inline const char* name = "lobby";
  lobby_actor::pointer self;
  alive counted;
  struct entry {
    session_actor actor;
    std::uint64_t sent = 0;
  };
  session_world_ptr world;
  lobby_options options;
  std::unordered_map<session_key, entry> sessions;
  std::map<caf::actor_addr, session_key> keys;
  std::set<session_key> crashed; // and not come back yet
  void expire_stored();
};

lobby_actor::behavior_type lobby(lobby_actor::stateful_pointer<lobby_state> self,
                                 session_world_ptr world, lobby_options options);

} // namespace parlor
