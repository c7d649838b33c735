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
  std::vector<std::string> kinds() const {
    std::vector<std::string> out;
    for (auto& h : log)
      if (h.what->kind != event_kind::progress)
        out.push_back(talk::describe(*h.what));
    return out;
  }
  const heard* find(const std::string& what) const {
    for (auto& h : log)
      if (talk::describe(*h.what) == what)
        return &h;
    return nullptr;
  }
  std::int64_t at(const std::string& what) const {
    auto* h = find(what);
    return h == nullptr ? -1 : h->at;
  }
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

  house() {
    disk.now = [this] { return time.now_ms(); };
    auto& entry = served;
    entry->name = std::string{"m"};
    entry->provider = model;
    entry->limit = limit;
    world->epoch = "epoch";
    world->rest_after = 24h; // most tests are about actors: these stay as long as the session
    world->keeper = spawn_keeper();
    archive_ = spawn_archive();
    world->archive = archive_;
    world->wall = [this] { return wall_start + time.now_ms(); };
    world->random = [this] {
      if (jitter_throws)
        throw std::runtime_error{"on purpose"};
      return jitter;
    };
    world->find_model = [entry](const std::string& name) -> std::shared_ptr<const model_entry> {
      if (name == "crash") // the session that asks dies of it
        throw std::runtime_error{"on purpose"};
      return name.empty() || name == entry->name ? entry : nullptr;
    };
    options.lost = [this](const session_key& k) { lost.push_back(k); };
    asker_ = time.owned(time.system.spawn([](caf::event_based_actor* self) -> caf::behavior {
      return {[self](const to_ask& a) {
        auto into = a.into;
        auto done = [self, into](session_answer_ptr answer) {
          ++into->times;
          into->at = std::chrono::duration_cast<std::chrono::milliseconds>(
                         self->clock().now().time_since_epoch())
                         .count();
          into->answer = std::move(answer);
        };
        self->request(a.door, caf::infinite, a.what)
            .then([done](const session_answer_ptr& answer) { done(answer); },
                  [done](caf::error&) { done(nullptr); });
      }};
    }));
  }
  ~house() { stop(); }
  /// Begins, once the test has set up `world` and `options`.
  void open() {
    lobby = time.system.spawn(parlor::lobby, session_world_ptr{world}, options);
    door = lobby;
    time.settle();
  }
  /// kill -9, and begin again with what is on the disk.
  void restart() {
    door = nullptr;
    caf::anon_send_exit(lobby, caf::exit_reason::user_shutdown);
    lobby = nullptr;
    time.settle();
    held_groups_.clear();
    open();
  }
  void stop() {
    door = nullptr;
    if (lobby)
      caf::anon_send_exit(lobby, caf::exit_reason::user_shutdown); // takes its sessions along
    lobby = nullptr;
    time.settle();
    for (auto& e : ears)
      e->actor = nullptr;
    asker_ = nullptr;
    archive_ = nullptr;
    world->keeper = nullptr;
    world->archive = nullptr;
    time.stop();
  }

  static std::int64_t living(actor_kind k) { return stats_of(k).living.load(); }
  std::int64_t sessions() const { return living(actor_kind::session) - sessions_before; }
  std::int64_t in_memory() const { return sessions_in_memory - in_memory_before; }
  std::int64_t tasks() const {
    return living(actor_kind::task) + living(actor_kind::external) - tasks_before;
  }

  // -- clients ---
  ear& new_ear() {
    ears.push_back(std::make_unique<ear>());
    auto* e = ears.back().get();
    e->actor = time.owned(
        time.system.spawn([this, e](listener_actor::pointer) -> listener_actor::behavior_type {
          return {[this, e](const published& p) {
            e->log.push_back({time.now_ms(), *p.key, p.what});
          }};
        }));
    return *e;
  }
  reply_ptr post(session_ask a) { // without giving anybody time to act on it
    auto r = std::make_shared<reply>();
    if (a.listener)
      listening_.emplace_back(a.listener.address(), r);
    caf::anon_send(asker_, to_ask{door, std::make_shared<const session_ask>(std::move(a)), r});
    return r;
  }
  reply_ptr ask(session_ask a) {
    auto r = post(std::move(a));
    time.settle();
    return r;
  }
  session_ask asking(session_ask::kind what, const ear* e = nullptr) const {
    session_ask a;
    a.what = what;
    a.key = room;
    if (e != nullptr)
      a.listener = e->actor;
    return a;
  }
  session_ask turn(const std::string& task, const ear* e = nullptr,
                   on_busy busy = on_busy::queue) const {
    auto a = asking(session_ask::kind::submit, e);
    a.turn.session = room;
    a.turn.task_id = task;
    a.turn.message_id = "q_" + task;
    a.turn.said.content = "say " + task;
    a.turn.when_busy = busy;
    return a;
  }
  reply_ptr submit(const std::string& task, const ear* e = nullptr, on_busy busy = on_busy::queue) {
    return ask(turn(task, e, busy));
  }
  session_ask watching(const ear& e, std::optional<std::uint64_t> after = {},
                       std::string task = {}) const {
    auto a = asking(session_ask::kind::watch, &e);
    a.task = std::move(task);
    if (after)
      a.after = cursor{world->epoch, *after};
    return a;
  }
  reply_ptr watch(const ear& e, std::optional<std::uint64_t> after = {}, std::string task = {}) {
    return ask(watching(e, after, std::move(task)));
  }
  /// From the session that has answered it last, or from the one of that life.
  reply_ptr unwatch(const ear& e, std::uint64_t life = 0) {
    auto a = asking(session_ask::kind::unwatch, &e);
    for (auto& [who, answered] : listening_)
      if (life == 0 && who == e.actor.address() && answered->answer && answered->answer->life != 0)
        a.life = answered->answer->life;
    if (life != 0)
      a.life = life;
    return ask(std::move(a));
  }
  reply_ptr look(std::string task = {}) {
    auto a = asking(session_ask::kind::look);
    a.task = std::move(task);
    return ask(std::move(a));
  }
  reply_ptr remove() { return ask(asking(session_ask::kind::remove)); }
  reply_ptr cancel(std::string task) {
    auto a = asking(session_ask::kind::cancel);
    a.task = std::move(task);
    return ask(std::move(a));
  }
  /// Its actor dies of an exception.
  reply_ptr crash() {
    auto a = turn("crash");
    a.turn.settings.model = std::string{"crash"};
    return ask(std::move(a));
  }
  std::int64_t when(const reply_ptr& r) const {
    return r->at -
           std::chrono::duration_cast<std::chrono::milliseconds>(time.start.time_since_epoch())
               .count();
  }

  // -- the model ---
  puppet::talk_of* call(const std::string& task) {
    for (auto i = model->calls.rbegin(); i != model->calls.rend(); ++i)
      if ((*i)->request.messages.back().content == "say " + task)
        return i->get();
    return nullptr;
  }
  void say(const std::string& task, std::string text) {
    REQUIRE(call(task) != nullptr);
    call(task)->sink(llm::call_delta{std::move(text)});
    time.settle();
  }
  void finish(const std::string& task) {
    REQUIRE(call(task) != nullptr);
    call(task)->over = true;
    llm::call_finished f;
    f.finish_reason = "stop";
    f.used = usage{3, 4, true};
    call(task)->sink(f);
    time.settle();
  }
  void fail(const std::string& task, bool can_pass) {
    REQUIRE(call(task) != nullptr);
    call(task)->over = true;
    llm::call_failed f;
    f.code = errc::upstream_error;
    f.can_pass = can_pass;
    call(task)->sink(f);
    time.settle();
  }
  void chat(const std::string& task, const ear* e = nullptr) {
    auto r = submit(task, e);
    say(task, "hi");
    finish(task);
    REQUIRE(yes(r));
  }

  // -- the disk ---
  void release_keeper() {
    hold_keeper = false;
    caf::anon_send(world->keeper, commit_now{});
    time.settle();
  }
  /// So many of those that are held, in their order; the others stay.
  void release_writes(std::size_t n) {
    passing_ = n;
    caf::anon_send(world->keeper, commit_now{});
    time.settle();
    passing_ = std::numeric_limits<std::size_t>::max();
  }
  void release_archive() {
    hold_archive = false;
    caf::anon_send(archive_, commit_now{});
    time.settle();
  }
  std::size_t held_writes() const { return held_groups_.size(); }
  std::size_t held_reads() const { return held_replies_.size(); }

  // -- what came of it ---
  static errc code(const reply_ptr& r) {
    REQUIRE(r->times == 1);
    REQUIRE(r->answer);
    return r->answer->why.code;
  }
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
  keeper_actor spawn_keeper() {
    return time.owned(
        time.system.spawn([this](keeper_actor::pointer self) -> keeper_actor::behavior_type {
          return {
              [this, self](const fact_group_ptr& g) -> caf::typed_response_promise<recorded_ptr> {
                auto p = self->make_response_promise<recorded_ptr>();
                held_groups_.emplace_back(g, p);
                if (!hold_keeper)
                  commit();
                return p;
              },
              [this](const commit_now&) { commit(); }, [](const tidy_store&) {}};
        }));
  }
  void commit() {
    for (auto n = std::min(passing_, held_groups_.size()); n > 0; --n) {
      auto [group, promise] = std::move(held_groups_.front());
      held_groups_.pop_front();
      auto r = std::make_shared<recorded>();
      try {
        r->result = disk.apply({group.get(), 1}).front();
      } catch (const store::store_error& e) {
        r->error =
            e.what_kind == store::store_error::kind::full ? errc::store_full : errc::store_failed;
      }
      promise.deliver(recorded_ptr{std::move(r)});
    }
  }
  /// Held, it has read but not answered.
  gated_archive spawn_archive() {
    return time.owned(
        time.system.spawn([this](gated_archive::pointer self) -> gated_archive::behavior_type {
          auto reader = std::make_shared<sim_reader>(disk);
          return {
              [=, this](const store_query_ptr& q) -> caf::typed_response_promise<store_reply_ptr> {
                auto p = self->make_response_promise<store_reply_ptr>();
                auto r = std::make_shared<store_reply>();
                try {
                  r->value = q->ask(*reader);
                } catch (const std::exception&) {
                }
                held_replies_.emplace_back(std::move(r), p);
                if (!hold_archive)
                  reply_all();
                return p;
              },
              [this](const commit_now&) { reply_all(); }};
        }));
  }
  void reply_all() {
    for (auto& [answer, promise] : std::exchange(held_replies_, {}))
      promise.deliver(store_reply_ptr{answer});
  }

  caf::actor asker_;
  std::vector<std::pair<caf::actor_addr, reply_ptr>> listening_; // who has asked to
  std::size_t passing_ = std::numeric_limits<std::size_t>::max();
  gated_archive archive_;
  std::deque<std::pair<fact_group_ptr, caf::typed_response_promise<recorded_ptr>>> held_groups_;
  std::deque<std::pair<store_reply_ptr, caf::typed_response_promise<store_reply_ptr>>>
      held_replies_;
};

} // namespace parlor::test
