// Thousands of random operations on one session, with a disk that is late, full, or loses power.
// test::talk checks at every step that nothing is told before it is durable and that nobody is
// answered twice; here are the rest of the promises, and the real store as the judge of the model.

#include "../store/fixture.hpp"
#include "store/store.hpp"
#include "talk.hpp"

#include <random>

using namespace parlor;
using parlor::test::talk;

namespace {

struct random_life {
  explicit random_life(unsigned seed, session_limits l) : random{seed}, t{l} {}

  std::mt19937 random;
  talk t;
  std::vector<std::string> tasks;
  std::vector<store::fact_group> on_disk; // everything that became durable, in order
  std::set<std::uint64_t> seen_accepted;  // seq
  bool at_work = false;                   // a task actor is out
  std::uint32_t attempt = 1;
  bool stop_asked = false;
  int crashes = 0;
  int rests = 0;

  std::size_t below(std::size_t n) { return random() % n; }

  void commit_one() {
    auto& q = t.pending.empty() ? t.later : t.pending;
    on_disk.push_back(*q.front().group);
    t.commit_one();
  }

  void step() {
    t.now += static_cast<std::int64_t>(below(80));
    auto orders = t.orders.size();
    auto stops = t.stops;
    auto before = t.orders.empty() ? std::string{} : t.running();
    act();
    if (t.stops != stops && !t.retired && t.c->view().active_task != before)
      at_work = false; // its acceptance was refused: it is stopped, and what it says is nobody's
    if (t.orders.size() != orders) {
      REQUIRE(t.orders.size() == orders + 1);
      REQUIRE_FALSE(at_work); // one turn at a time
      at_work = true;
      stop_asked = false;
      attempt = t.orders.back()->first_attempt;
      check_messages();
    } else if (t.stops != stops) {
      stop_asked = at_work;
    }
    if (t.retired) {
      at_work = false;
      t.crash();
    }
  }

  void act() {
    switch (below(20)) {
    case 0:
    case 1:
    case 2: {
      auto turn = t.turn("t" + std::to_string(tasks.size()));
      turn.when_busy = static_cast<on_busy>(below(8) < 6 ? 0 : below(3));
      if (below(4) == 0)
        turn.once = {"key" + std::to_string(below(6)), below(5) == 0 ? "x" : "y"};
      tasks.push_back(turn.task_id);
      t.submit(std::move(turn));
      return;
    }
    case 3:
      if (!tasks.empty())
        t.cancel(tasks[tasks.size() - 1 - below(std::min<std::size_t>(tasks.size(), 5))]);
      return;
    case 4:
      if (below(25) == 0)
        t.remove(t.c->idle() && below(2) == 0); // only idle ones expire
      return;
    case 5:
      if (below(12) == 0) {
        ++crashes;
        for (auto n = below(t.pending.size() + 1); n > 0; --n) { // what reached the disk
          on_disk.push_back(*t.pending.front().group);
          t.disk.apply(*t.pending.front().group);
          t.pending.pop_front();
        }
        at_work = false;
        t.crash();
      }
      return;
    case 6:
    case 7:
      if (!t.pending.empty() || !t.later.empty()) {
        if (below(3) == 0)
          t.refuse_one();
        else
          commit_one();
      }
      return;
    case 8:
    case 9:
    case 10:
      for (auto n = below(4); n > 0 && (!t.pending.empty() || !t.later.empty()); --n)
        commit_one();
      return;
    case 11:
      t.checkpoint();
      if (t.c->idle() && t.c->exists()) {
        ++rests;
        t.rest();
      }
      return;
    default:
      if (at_work)
        work();
    }
  }

  void work() {
    auto& task = t.running();
    if (stop_asked && below(2) == 0) {
      over(task_status::cancelled, errc::cancelled);
      return;
    }
    switch (below(12)) {
    case 0:
      over(task_status::completed, errc::none);
      return;
    case 1:
      if (below(3) == 0)
        over(task_status::failed, errc::upstream_timeout);
      return;
    case 2:
      if (below(3) == 0) {
        t.take(t.c->attempt_ended(task, attempt, {}, errc::upstream_error, t.now));
        t.retry(++attempt, below(2) == 0);
      }
      return;
    default:
      t.say(std::string(1 + below(30), static_cast<char>('a' + below(26))));
    }
  }
  void over(task_status status, errc error) {
    at_work = false;
    stop_asked = false;
    t.finish(status, error, attempt);
  }

  /// Valid for any provider: user and assistant take turns, the last word is the user's.
  void check_messages() {
    auto& m = t.orders.back()->messages;
    REQUIRE_FALSE(m.empty());
    for (std::size_t i = 0; i < m.size(); ++i) {
      REQUIRE(m[m.size() - 1 - i].who == (i % 2 == 0 ? role::user : role::assistant));
      REQUIRE_FALSE(m[i].content.empty());
    }
  }

  /// Everything comes to rest.
  void settle() {
    for (int i = 0; i < 10'000 && (at_work || !t.c->idle()); ++i) {
      auto orders = t.orders.size();
      if (!t.pending.empty() || !t.later.empty())
        commit_one();
      else if (at_work)
        over(stop_asked ? task_status::cancelled : task_status::completed,
             stop_asked ? errc::cancelled : errc::none);
      if (t.orders.size() != orders) {
        at_work = true;
        stop_asked = false;
        attempt = t.orders.back()->first_attempt;
      }
      if (t.retired) {
        at_work = false;
        t.crash();
      }
    }
    REQUIRE(t.c->idle());
    REQUIRE_FALSE(at_work);
  }

  void check_events() {
    struct seen {
      int accepted = 0, started = 0, ended = 0;
      std::string text;
    };
    std::map<std::string, seen> by_task;
    for (auto& e : t.told) {
      if (!e->task)
        continue;
      auto& s = by_task[e->task->id];
      REQUIRE(s.ended == 0); // nothing follows the end
      if (e->kind == event_kind::accepted) {
        REQUIRE(++s.accepted == 1);
        continue;
      }
      if (e->kind == event_kind::started)
        REQUIRE(++s.started == 1);
      if (e->kind == event_kind::delta || e->kind == event_kind::progress)
        REQUIRE(s.started + crashes > 0);
      if (e->kind == event_kind::delta)
        s.text += e->text;
      if (e->kind == event_kind::retry && e->discard)
        s.text.clear();
      if (ends_task(e->kind)) {
        ++s.ended;
        if (crashes == 0)
          REQUIRE(e->end->content == s.text); // never two attempts joined
      }
    }
    for (auto& [id, task] : t.disk.tasks) {
      INFO(id);
      REQUIRE(task.ended_seq != 0);
      if (crashes == 0) {
        REQUIRE(by_task[id].accepted == 1);
        REQUIRE(by_task[id].ended == 1);
      }
    }
    // What is stored and was told live is the same.
    std::map<std::uint64_t, event_ptr> live;
    for (auto& e : t.told)
      live.emplace(e->seq, e);
    for (auto& e : t.disk.events(t.key)) {
      auto i = live.find(e->seq);
      if (i == live.end()) {
        REQUIRE(crashes > 0); // it was durable, but nobody was left to be told
        continue;
      }
      INFO("seq " << e->seq);
      REQUIRE(talk::describe(*i->second) == talk::describe(*e));
      REQUIRE(i->second->text == e->text);
      REQUIRE(i->second->at == e->at);
    }
    if (crashes == 0) { // and nothing is missing
      auto gone = t.disk.events(t.key);
      auto first = gone.empty() ? ~0ULL : gone.front()->seq;
      std::size_t since = 0;
      for (auto& e : t.told)
        if (e->seq >= first && e->task)
          ++since;
      REQUIRE(since == gone.size());
    }
  }

  void check_view() {
    auto s = t.disk.sessions.find(t.key);
    REQUIRE(t.c->exists() == (s != t.disk.sessions.end()));
    if (s == t.disk.sessions.end())
      return;
    auto v = t.c->view();
    auto& stored = s->second.row.view;
    REQUIRE(v.message_count == stored.message_count);
    REQUIRE(v.question_count == stored.question_count);
    REQUIRE(v.total_tokens == stored.total_tokens);
    REQUIRE(static_cast<std::size_t>(v.message_count) == s->second.history.size());
  }
};

int all_rests = 0;

} // namespace

TEST_CASE("whatever happens in whatever order, the promises of a session hold") {
  auto seed = GENERATE(range(1U, 41U));
  session_limits l;
  l.max_turns = 1 + seed % 7;
  l.lease_block = seed % 3 == 0 ? 4 : seed % 3 == 1 ? 64 : 4096;
  l.recent_events = seed % 2 == 0 ? 10 : 1024;
  l.retry_interrupted = seed % 5 != 0;
  CAPTURE(seed);
  random_life life{seed, l};
  for (int i = 0; i < 1500; ++i)
    life.step();
  life.settle();
  life.check_events();
  life.check_view();
  REQUIRE(life.t.asked.empty()); // everybody who was left has been answered
  REQUIRE(life.t.told.size() > 100);
  all_rests += life.rests;
  if (seed == 40)
    REQUIRE(all_rests > 40);
}

TEST_CASE("the real store says what the model of it says") {
  auto seed = GENERATE(101U, 102U, 103U, 104U);
  session_limits l;
  l.lease_block = 16;
  CAPTURE(seed);
  random_life life{seed, l};
  for (int i = 0; i < 1500; ++i)
    life.step();
  if (seed % 2 == 0)
    life.settle();
  store::test::fixture real;
  for (std::size_t i = 0; i < life.on_disk.size(); i += 64) {
    auto n = std::min<std::size_t>(64, life.on_disk.size() - i);
    real.apply({life.on_disk.begin() + static_cast<std::ptrdiff_t>(i),
                life.on_disk.begin() + static_cast<std::ptrdiff_t>(i + n)});
  }
  auto& t = life.t;
  auto model = t.disk.load(t.key, {});
  auto stored = real.r->load_session(t.key, {});
  REQUIRE(model.session.has_value() == stored.session.has_value());
  if (!model.session) {
    REQUIRE(model.first_free_seq == stored.first_free_seq);
    return;
  }
  auto& a = model.session->view;
  auto& b = stored.session->view;
  REQUIRE(model.session->lease == stored.session->lease);
  REQUIRE(model.session->first_seq == stored.session->first_seq);
  REQUIRE(a.last_seq == b.last_seq);
  REQUIRE(a.message_count == b.message_count);
  REQUIRE(a.question_count == b.question_count);
  REQUIRE(a.total_tokens == b.total_tokens);
  REQUIRE(a.last_accessed == b.last_accessed);
  REQUIRE(model.history.size() == stored.history.size());
  for (std::size_t i = 0; i < model.history.size(); ++i) {
    REQUIRE(model.history[i].id == stored.history[i].id);
    REQUIRE(model.history[i].said.content == stored.history[i].said.content);
    REQUIRE(model.history[i].partial == stored.history[i].partial);
  }
  REQUIRE(model.older == stored.older);
  REQUIRE(model.open_tasks.size() == stored.open_tasks.size());
  for (std::size_t i = 0; i < model.open_tasks.size(); ++i) {
    REQUIRE(model.open_tasks[i].view.id == stored.open_tasks[i].view.id);
    REQUIRE(model.open_tasks[i].said.content == stored.open_tasks[i].said.content);
    REQUIRE(model.open_tasks[i].view.attempt == stored.open_tasks[i].view.attempt);
    REQUIRE(model.open_tasks[i].view.text == stored.open_tasks[i].view.text);
    REQUIRE(model.open_tasks[i].log == stored.open_tasks[i].log);
  }
  for (auto& [id, task] : t.disk.tasks) {
    auto found = real.r->find_task(t.key.tenant, id);
    REQUIRE(found.has_value());
    REQUIRE(found->accepted_seq == task.accepted_seq);
    REQUIRE(found->started_seq == task.started_seq);
    REQUIRE(found->ended_seq == task.ended_seq);
    REQUIRE(found->text == task.text);
    REQUIRE(found->log == task.log);
    REQUIRE((found->view.end == nullptr) == (task.view.end == nullptr));
    if (task.view.end)
      REQUIRE(found->view.end->content == task.view.end->content);
  }
}
