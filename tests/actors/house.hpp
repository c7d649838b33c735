#pragma once
// The actors below the edge under virtual time: a lobby with its sessions and their tasks, a model
// that says what the test says, and a disk that answers when the test lets it.
//
// The keeper and the archive are stand-ins that can be held; tests/actors/keeper.cpp is about the
// real ones.

#include "actors/keeper.hpp"
#include "actors/lobby.hpp"
#include "puppet.hpp"
#include "sim_disk.hpp"
#include "support/catch.hpp"
#include "talk.hpp"
#include "virtual_time.hpp"

#include <deque>
#include <limits>

namespace parlor::test {

using namespace std::chrono_literals;

/// What became of a request.
struct reply {
  int times = 0;
  std::int64_t at = -1;
  session_answer_ptr answer; // none: an error of the actor system
};
using reply_ptr = std::shared_ptr<reply>;
struct to_ask {
  door_actor door;
  session_ask_ptr what;
  reply_ptr into;
};

} // namespace parlor::test

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(parlor::test::to_ask)

namespace parlor::test {

using gated_archive = archive_actor::extend<caf::reacts_to<commit_now>>;

/// Listens to sessions.
struct ear {
  listener_actor actor;
  struct heard {
    std::int64_t at;
    session_key key;
    event_ptr what;
  };
  std::vector<heard> log;
  /// Progress left out: it depends on lengths.
  std::vector<std::string> kinds() const;
  const heard* find(const std::string& what) const;
  std::int64_t at(const std::string& what) const;
};

struct house {
  static constexpr std::int64_t wall_start = 1'700'000'000'000;

  virtual_time time;
  sim_disk disk;
  std::shared_ptr<puppet> model = std::make_shared<puppet>();
  std::shared_ptr<llm::limiter> limit = llm::make_limiter(8, 8);
  std::shared_ptr<model_entry> served = std::make_shared<model_entry>();
  bool hold_keeper = false;
  bool hold_archive = false;
  double jitter = 0;
  bool jitter_throws = false; // the task that waits for its next attempt dies of it
  std::shared_ptr<session_world> world = std::make_shared<session_world>();
  lobby_actor lobby;
  door_actor door; // whom clients ask: the lobby
  lobby_options options;
  std::vector<session_key> lost;
  std::vector<std::unique_ptr<ear>> ears;
  session_key room{"", "room"};
  std::int64_t sessions_before = living(actor_kind::session);
  std::int64_t in_memory_before = sessions_in_memory.load();
  std::int64_t tasks_before = living(actor_kind::task) + living(actor_kind::external);

  house();
  ~house();
  /// Begins, once the test has set up `world` and `options`.
  void open();
  /// kill -9, or an orderly stop, and begin again with what is on the disk.
  void restart(bool orderly = false);
  void stop();

  static std::int64_t living(actor_kind k) { return stats_of(k).living.load(); }
  std::int64_t sessions() const { return living(actor_kind::session) - sessions_before; }
  std::int64_t in_memory() const { return sessions_in_memory - in_memory_before; }
  std::int64_t tasks() const;

  // -- clients ---
  ear& new_ear();
  reply_ptr post(session_ask a); // without giving anybody time to act on it
  reply_ptr ask(session_ask a);
  session_ask asking(session_ask::kind what, const ear* e = nullptr) const;
  session_ask turn(const std::string& task, const ear* e = nullptr,
                   on_busy busy = on_busy::queue) const;
  reply_ptr submit(const std::string& task, const ear* e = nullptr, on_busy busy = on_busy::queue);
  session_ask watching(const ear& e, std::optional<std::uint64_t> after = {},
                       std::string task = {}) const;
  reply_ptr watch(const ear& e, std::optional<std::uint64_t> after = {}, std::string task = {});
  /// From the session that has answered it last, or from the one of that life.
  reply_ptr unwatch(const ear& e, std::uint64_t life = 0);
  reply_ptr look(std::string task = {});
  reply_ptr remove() { return ask(asking(session_ask::kind::remove)); }
  reply_ptr cancel(std::string task);
  /// Its actor dies of an exception.
  reply_ptr crash();
  std::int64_t when(const reply_ptr& r) const;

  // -- the model ---
  puppet::talk_of* call(const std::string& task);
  void say(const std::string& task, std::string text);
  void finish(const std::string& task);
  void fail(const std::string& task, bool can_pass);
  void chat(const std::string& task, const ear* e = nullptr);

  // -- the disk ---
  void release_keeper();
  /// So many of those that are held, in their order; the others stay.
  void release_writes(std::size_t n);
  void release_archive();
  std::size_t held_writes() const { return held_groups_.size(); }
  std::size_t held_reads() const { return held_replies_.size(); }

  // -- what came of it ---
  static errc code(const reply_ptr& r);
  static bool yes(const reply_ptr& r) { return code(r) == errc::none; }
  /// How many messages of this type wait in the clock.
  template <class Message>
  std::size_t alarms() const {
    std::size_t n = 0;
    for (auto& [due, what] : time.sched.clock().schedule()) {
      using event = caf::detail::simple_actor_clock;
      if (what->subtype == event::actor_msg_type &&
          static_cast<event::actor_msg&>(*what).content->content().match_elements<Message>())
        ++n;
    }
    return n;
  }

private:
  keeper_actor spawn_keeper();
  void commit();
  /// Held, it has read but not answered.
  gated_archive spawn_archive();
  void reply_all();

  caf::actor asker_;
  std::vector<std::pair<caf::actor_addr, reply_ptr>> listening_; // who has asked to
  std::size_t passing_ = std::numeric_limits<std::size_t>::max();
  gated_archive archive_;
  std::deque<std::pair<fact_group_ptr, caf::typed_response_promise<recorded_ptr>>> held_groups_;
  std::deque<std::pair<store_reply_ptr, caf::typed_response_promise<store_reply_ptr>>>
      held_replies_;
};

} // namespace parlor::test
