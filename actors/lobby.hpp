#pragma once
// Which sessions are in memory. One of several, partitioned by session key.
//
// Thread: the pool. Spawns a session at its first touch and monitors it; a crashed one is forgotten
// and rebuilt from the store by the next request. Of one that has come to rest it keeps what that
// knew, without an actor, until it is touched again or its time in memory is over.

#include "actors/session.hpp"

#include <atomic>
#include <functional>
#include <map>
#include <set>
#include <unordered_map>

namespace parlor {

struct lobby_options {
  std::chrono::milliseconds sweep_every{60'000};
  std::size_t partition = 0; // of `partitions`: this one's sessions
  std::size_t partitions = 1;
  std::function<void(const session_key&)> lost; // tells the edges of a session that crashed
  std::size_t sweep_page = 500;                 // sessions that are expired at once
};

/// Sessions in memory, at rest or not. Any thread.
inline std::atomic<std::int64_t> sessions_in_memory{0};

struct lobby_state {
  explicit lobby_state(lobby_actor::pointer me) : self{me}, counted{actor_kind::lobby} {}
  ~lobby_state() { sessions_in_memory -= static_cast<std::int64_t>(sessions.size()); }
  static inline const char* name = "lobby";
  lobby_actor::pointer self;
  alive counted;
  using time_point = caf::actor_clock::time_point;
  struct entry {
    session_actor actor; // null: at rest
    std::uint64_t sent = 0;
    conversation_at_rest_ptr rest;
    std::multimap<time_point, const session_key*>::iterator due{}; // at rest: in `resting`
  };
  session_world_ptr world;
  lobby_options options;
  std::unordered_map<session_key, entry> sessions;
  std::map<caf::actor_addr, const session_key*> keys;    // into `sessions`
  std::multimap<time_point, const session_key*> resting; // into `sessions`, by when to let go
  bool letting_go = false;                               // the alarm is out
  bool sweeping = false;                                 // stored sessions are being expired
  std::set<session_key> crashed;                         // and not come back yet
  entry& found(const session_key& key);
  bool let_leave(const leave& l);
  void on_let_go();
  void arm();
  void expire(const session_key& key, std::function<void(bool)> answered);
  /// All that are idle for long enough, page by page; again at the next sweep.
  void expire_stored(const store::idle_place& after = {});
  void expire_page(const store::idle_page& page);
};

lobby_actor::behavior_type lobby(lobby_actor::stateful_pointer<lobby_state> self,
                                 session_world_ptr world, lobby_options options);

} // namespace parlor
