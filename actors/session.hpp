#pragma once
// The actor round one conversation: performs what the rules (actors/conversation.hpp) decide.
//
// Owner: its lobby. Thread: the pool. Lifetime: loaded from the store at the first touch; ends when
// nobody watches, nothing runs and nothing was asked for a moment. What it knew rests with its
// lobby for a while, and comes back with the next touch
// (docs/decisions/0010-memory-at-rest.md). Owns its running task (linked).

#include "actors/external_task.hpp"
#include "actors/instrument.hpp"
#include "actors/interfaces.hpp"
#include "actors/pipeline_task.hpp"
#include "actors/task.hpp"

#include <boost/container/deque.hpp>
#include <boost/container/small_vector.hpp>

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace parlor {

/// What all sessions share. Immutable once the system runs.
struct session_world {
  static constexpr std::chrono::seconds store_timeout{30}; // for reads
  std::size_t page = page_bytes;                           // of what a watcher has missed
  std::string epoch;
  keeper_actor keeper;
  archive_actor archive;
  session_limits limits;
  std::chrono::milliseconds idle_expiry{30 * 60 * 1000}; // 0: never
  std::chrono::milliseconds memory_for{60'000};
  std::chrono::milliseconds rest_after{2'000}; // of idleness; not shorter than memory_for: never
  /// Or a little more: at moments that all sessions share, so that one commit serves many.
  std::chrono::milliseconds checkpoint_every{1000};
  using checkpoint_beat = std::chrono::duration<std::int64_t, std::ratio<1, 20>>; // of a second
  std::size_t history_limit = 1000;                                               // messages loaded
  std::function<std::shared_ptr<const model_entry>(const std::string& model)>
      find_model;                                                     // null: unknown
  std::function<pipeline_ptr(const std::string& name)> find_pipeline; // null: unknown
  std::function<std::int64_t()> wall;                                 // ms since the epoch
  random_source random;
  external_service_ptr external;          // null: there is none
  std::shared_ptr<byte_room> turn_memory; // null: as much as they want
};
using session_world_ptr = std::shared_ptr<const session_world>;

struct session_state {
  explicit session_state(session_actor::pointer me) : self{me}, counted{actor_kind::session} {}
  static inline const char* name = "session";
  session_actor::pointer self;
  alive counted;

  session_world_ptr world;
  std::shared_ptr<const session_key> key;
  lobby_actor lobby;
  std::optional<conversation> talk; // none: not loaded
  bool loading = false;
  bool after_crash = false;
  bool leaving = false;
  std::uint64_t received = 0; // asks, for the lobby
  std::uint64_t life = 0;     // whenever it is loaded it is another one, in all of this process
  caf::actor_clock::time_point last_active;
  boost::container::deque<
      std::pair<session_ask_ptr, caf::typed_response_promise<session_answer_ptr>>>
      stash;
  struct kept {
    caf::typed_response_promise<session_answer_ptr> promise;
    listener_actor listener;
    std::string task; // of a submission
  };
  std::map<std::uint64_t, kept> promises;
  caf::typed_response_promise<session_answer_ptr> asked; // of the ask in hand
  std::uint64_t next_promise = 1;
  struct listening {
    listener_actor who;
    std::size_t times;
  };
  boost::container::small_vector<listening, 1> listeners; // the edges, of which there are few
  std::map<std::string, admission> admitted;              // tasks that have not begun
  worker_actor running;
  std::string running_id;
  std::int64_t silent_since = 0; // when the running turn was accepted; 0: it has said something
  std::uint64_t alarm_generation = 0;
  bool alarm_out = false;
  bool checkpoint_out = false;

  void receive(const session_ask_ptr& ask, caf::typed_response_promise<session_answer_ptr> promise);
  void load();
  void read();
  void not_loaded();
  void loaded(store::session_image image);
  void handle(const session_ask& ask, caf::typed_response_promise<session_answer_ptr> promise);
  void submit(const session_ask& ask, caf::typed_response_promise<session_answer_ptr> promise);
  void watch(const session_ask& ask, caf::typed_response_promise<session_answer_ptr> promise);
  void look(const session_ask& ask, caf::typed_response_promise<session_answer_ptr> promise);
  void listen(const listener_actor& l);
  void drop_listener(const listener_actor& l);
  bool is_there() const; // durably
  /// Answers a watch with a page. `found` are those of its events up to `done`, which take `used`
  /// of it; what follows is found.
  void recall(session_ask_ptr ask, std::uint64_t done, std::vector<event_ptr> found,
              std::size_t used, caf::typed_response_promise<session_answer_ptr> promise);
  void answer_watch(const session_ask& ask, std::uint64_t done, std::vector<event_ptr> found,
                    std::size_t used, caf::typed_response_promise<session_answer_ptr>& promise);
  void perform(effects es);
  void record(record_effect&& r);
  void run(task_order_ptr order);
  void arm_checkpoint();
  /// Whom a turn will ask, and its places there, or why it cannot be taken. `ref` names a pipeline.
  errc admit(task_kind kind, const std::string& ref, const std::string& model, bool in_any_case,
             admission& out) const;
  worker_actor spawn_worker(task_order_ptr order, errc& why); // null: why
  void answer(answer_effect&& a);
  void report(task_report& r);
  void task_down();
  void crashed();
  void arm();
  void on_alarm(std::uint64_t generation);
  void try_leave(conversation_at_rest_ptr rest = {});
  std::uint64_t keep(caf::typed_response_promise<session_answer_ptr> promise,
                     listener_actor listener = {}, std::string task = {});
};

session_answer_ptr refusal_answer(errc code);

/// What became of the earlier actor of a session.
struct session_past {
  bool crashed = false;          // it may have left facts on their way
  conversation_at_rest_ptr rest; // it came to rest; null: the store knows
};

session_actor::behavior_type session(session_actor::stateful_pointer<session_state> self,
                                     session_world_ptr world, session_key key, lobby_actor lobby,
                                     session_past past);

} // namespace parlor
