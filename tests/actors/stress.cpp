#include "house.hpp"

#include <random>
#include <set>

// Everything below the edge at once, with the real keeper and archive, in random order: turns,
// watchers that come and go, cancellations, deletions, expiry, leaving memory, crashes of tasks and
// of sessions. What must hold for a watcher is checked with every event, the rest in the end.

using namespace parlor;
using namespace std::chrono_literals;
using parlor::test::house;
using parlor::test::reply_ptr;
using parlor::test::to_ask;

namespace {

/// As the edge's watchers: whoever loses its session comes back with its cursor.
using watcher_actor = listener_actor::extend<caf::reacts_to<to_ask>, caf::reacts_to<session_lost>>;

struct chaos;

struct guest {
  chaos* in = nullptr;
  watcher_actor actor;
  session_key key;
  bool asking = false;
  bool live = false;
  bool leaving = false; // as soon as the answer is there
  bool paging = false;  // it is told the past, and the session counts it already
  std::uint64_t life = 0;
  std::uint64_t seen = 0;
  int lost_then = 0;                        // how often its session had crashed when it saw that
  int skipped = 0;                          // and when it last saw the numbers that this costs
  std::map<std::string, std::string> texts; // of tasks seen from their start
  std::set<std::string> ended;

  void join(std::optional<cursor> after);
  void next_page();
  void answered(const session_answer_ptr& a);
  void gone() {
    live = false;
    texts.clear();
    ended.clear();
  }
  void take(const event& e, bool may_skip = false);
};

struct chaos : house {
  std::mt19937 random;
  std::map<session_key, int> losses;
  std::vector<std::unique_ptr<guest>> guests;
  std::vector<std::pair<std::string, reply_ptr>> turns;
  std::map<std::string, int> seen; // what happened at least once
  std::vector<std::string> wrong;

  void must(bool ok, const std::string& what) { // an exception would only end the actor
    if (!ok)
      wrong.push_back(what);
  }

  explicit chaos(unsigned seed) : random{seed} {
    keeper_options keeping;
    keeping.wall = world->wall;
    keeping.batch = 3;
    keeping.on_broken = [this](const std::string& why) { must(false, why); };
    world->keeper = time.owned(
        time.system.spawn(keeper, std::make_shared<parlor::test::sim_writer>(disk), keeping));
    world->archive =
        time.owned(time.system.spawn(archive, std::make_shared<parlor::test::sim_reader>(disk)));
    world->limits.recent_events = 8;
    world->rest_after = 500ms;
    world->limits.lease_block = 16;
    world->limits.max_turns = 4;
    world->page = 700; // a few events
    served->limit = limit = llm::make_limiter(2, 6);
    options.lost = [this](const session_key& key) {
      ++losses[key];
      ++seen["lost"];
      auto shared = std::make_shared<const session_key>(key);
      for (auto& g : guests)
        caf::anon_send(g->actor, session_lost{shared});
    };
    open();
  }
  ~chaos() {
    for (auto& g : guests)
      g->actor = nullptr;
    stop();
  }
  std::size_t any(std::size_t n) { return random() % n; }
  void pick_room() { room.id = "room" + std::to_string(any(3)); }

  void run(std::size_t steps) {
    for (; steps > 0 && !time.sched.jobs.empty(); --steps) {
      std::swap(time.sched.jobs.front(), time.sched.jobs[any(time.sched.jobs.size())]);
      time.sched.run_once();
    }
  }
  parlor::test::puppet::talk_of* open_call() {
    std::vector<parlor::test::puppet::talk_of*> all;
    for (auto& c : model->calls)
      if (!c->over)
        all.push_back(c.get());
    return all.empty() ? nullptr : all[any(all.size())];
  }

  void new_guest() {
    guests.push_back(std::make_unique<guest>());
    auto* g = guests.back().get();
    g->in = this;
    g->key = room;
    g->actor = time.owned(
        time.system.spawn([this, g](watcher_actor::pointer self) -> watcher_actor::behavior_type {
          return {[g](const published& p) {
                    if (g->live)
                      g->take(*p.what);
                  },
                  [this, self, g](const to_ask& a) {
                    self->request(door, caf::infinite, a.what)
                        .then([g](const session_answer_ptr& answer) { g->answered(answer); },
                              [g](caf::error&) { g->answered(nullptr); });
                  },
                  [this, g](const session_lost& l) {
                    if (*l.key != g->key || !g->live)
                      return;
                    g->live = false;
                    g->join(cursor{world->epoch, g->seen});
                  }};
        }));
    auto from = any(8);
    g->join(from == 0  ? std::optional{cursor{"another", 1}}
            : from < 4 ? std::optional{cursor{world->epoch, 0}}
                       : std::nullopt);
  }
  void guest_leaves() {
    if (guests.empty())
      return;
    auto& g = *guests[any(guests.size())];
    if (g.asking) {
      g.leaving = true;
      return;
    }
    if (!g.live)
      return g.join({});
    g.gone();
    auto a = asking(session_ask::kind::unwatch);
    a.key = g.key;
    a.listener = g.actor;
    a.life = g.life;
    post(a);
  }

  void step() {
    pick_room();
    auto dice = any(100);
    if (dice < 14) {
      auto name = "t" + std::to_string(turns.size());
      turns.emplace_back(name, post(turn(name, nullptr, static_cast<on_busy>(any(3)))));
    } else if (dice < 20 && guests.size() < 8) {
      new_guest();
    } else if (dice < 24) {
      guest_leaves();
    } else if (dice < 27 && !turns.empty()) {
      auto a = asking(session_ask::kind::cancel);
      a.task = turns[turns.size() - 1 - any(std::min<std::size_t>(turns.size(), 4))].first;
      post(a);
    } else if (dice < 28) {
      post(asking(session_ask::kind::remove));
    } else if (dice < 29) {
      auto a = turn("crash");
      a.turn.settings.model = std::string{"crash"};
      post(a);
    } else if (dice < 75) {
      if (auto* c = open_call()) {
        auto what = any(20);
        if (what < 14) {
          c->sink(llm::call_delta{"w" + std::to_string(random() % 1000) + " "});
        } else if (what < 18) {
          c->over = true;
          c->sink(llm::call_finished{"stop", {}, usage{3, 4, true}, {}});
        } else {
          c->over = true;
          llm::call_failed f;
          f.can_pass = what == 18;
          jitter_throws = f.can_pass && any(3) == 0;
          seen["task crashed"] += jitter_throws ? 1 : 0;
          c->sink(f);
        }
      }
    } else if (dice < 92) {
      time.sched.clock().advance_time(std::chrono::milliseconds{1 + any(400)});
    } else if (dice < 95) {
      time.sched.clock().advance_time(61s);
    } else if (dice == 95 && any(4) == 0) {
      time.sched.clock().advance_time(31min);
    }
    run(any(12));
  }

  void quiesce() {
    jitter_throws = false;
    for (int round = 0; round < 200; ++round) {
      time.advance(1s);
      auto worked = false;
      for (std::size_t i = 0; i < model->calls.size(); ++i)
        if (auto& c = model->calls[i]; !c->over) {
          c->over = worked = true;
          c->sink(llm::call_finished{"stop", {}, usage{3, 4, true}, {}});
        }
      time.settle();
      if (round % 10 == 0) // what a crash has left open
        for (auto id : {"room0", "room1", "room2"}) {
          room.id = id;
          ask(asking(session_ask::kind::wake));
        }
      if (round > 10 && !worked && tasks() == 0 && round % 10 != 0)
        return;
    }
    FAIL("it does not come to rest");
  }

  void check() {
    std::map<std::string, int> ends;
    std::map<std::string, std::size_t> accepted;
    std::map<session_key, std::size_t> removed;
    for (std::size_t i = 0; i < disk.facts.size(); ++i) {
      auto& f = disk.facts[i].what;
      if (auto* e = std::get_if<store::task_ended>(&f))
        ++ends[e->task];
      else if (auto* a = std::get_if<store::task_accepted>(&f))
        accepted[a->task] = i;
      else if (auto* r = std::get_if<store::session_removed>(&f))
        removed[r->key] = i;
    }
    for (auto& [name, r] : turns) {
      INFO("turn " << name);
      REQUIRE(r->times == 1); // every ask is answered, once
      auto yes = r->answer && r->answer->why.code == errc::none;
      seen[yes ? "accepted" : "refused"]++;
      if (!yes)
        continue;
      REQUIRE(accepted.count(name) == 1);
      auto kept = disk.data.tasks.find(name);
      if (kept != disk.data.tasks.end()) {
        REQUIRE(ends[name] == 1);
        REQUIRE(kept->second.ended_seq != 0);
        seen["ended " + std::string{to_string(kept->second.view.status)}]++;
      } else { // its session was removed, after that
        REQUIRE(ends[name] <= 1);
        auto gone = std::any_of(removed.begin(), removed.end(),
                                [&](auto& x) { return x.second > accepted[name]; });
        REQUIRE(gone);
        seen["removed"]++;
      }
    }
    for (auto& g : guests) {
      if (!g->live)
        continue;
      REQUIRE_FALSE(g->asking);
      REQUIRE(g->seen >= disk.data.sessions.at(g->key).row.view.last_seq);
      g->gone();
      auto a = asking(session_ask::kind::unwatch);
      a.key = g->key;
      a.listener = g->actor;
      a.life = g->life;
      REQUIRE(yes(ask(a)));
    }
    time.advance(62s);
    REQUIRE(sessions() == 0);
    REQUIRE(in_memory() == 0);
    REQUIRE(tasks() == 0);
    REQUIRE(limit->in_flight() == 0);
    REQUIRE(limit->waiting() == 0);
    time.advance(2min);
    REQUIRE(alarms<session_alarm>() == 0);
    REQUIRE(alarms<checkpoint_alarm>() == 0);
    REQUIRE(alarms<record_again>() == 0);
  }
};

void guest::join(std::optional<cursor> after) {
  asking = true;
  lost_then = after ? lost_then : -1;
  auto a = in->asking(session_ask::kind::watch);
  a.key = key;
  a.listener = caf::actor_cast<listener_actor>(actor);
  a.after = std::move(after);
  caf::anon_send(actor, to_ask{in->door, std::make_shared<const session_ask>(std::move(a)), {}});
}

void guest::next_page() {
  asking = paging = true;
  auto a = in->asking(session_ask::kind::watch);
  a.key = key;
  a.after = cursor{in->world->epoch, seen};
  caf::anon_send(actor, to_ask{in->door, std::make_shared<const session_ask>(std::move(a)), {}});
}

void guest::answered(const session_answer_ptr& a) {
  asking = false;
  auto why = a ? a->why.code : errc::internal;
  auto of_page = std::exchange(paging, false);
  if (of_page && (why == errc::internal || why == errc::store_failed))
    return next_page();
  if (of_page && why == errc::none && a->life != life) // which does not know of this guest
    return join(cursor{in->world->epoch, seen});
  if (why == errc::store_failed) // time may jump while the disk is read
    in->seen["read too late"]++;
  if (why == errc::internal || why == errc::store_failed) // it crashed before it could answer
    return join(lost_then < 0 ? std::nullopt : std::optional{cursor{in->world->epoch, seen}});
  if (why != errc::none) {
    in->must(why == errc::session_not_found, "a watch was refused");
    leaving = false;
    return gone();
  }
  live = true;
  if (!of_page)
    life = a->life;
  if (a->reset) {
    gone();
    live = true;
    in->seen["reset"]++;
  } else if (!a->events.empty()) {
    in->seen["caught up"]++;
    auto crashed = in->losses[key] > std::max(lost_then, 0);
    if (lost_then <= 0 && !of_page) // from the start, wherever that is
      seen = a->events.front()->seq - 1;
    for (auto& e : a->events)
      take(*e, crashed);
    in->must(seen <= a->last_seq, "more was told than has happened");
    in->must(crashed || seen == a->last_seq, "something was not told");
  }
  seen = a->last_seq;
  if (a->more) {
    live = false;
    in->seen["page"]++;
    return next_page();
  }
  lost_then = in->losses[key];
  if (std::exchange(leaving, false)) {
    gone();
    auto u = in->asking(session_ask::kind::unwatch);
    u.key = key;
    u.listener = caf::actor_cast<listener_actor>(actor);
    u.life = life;
    in->post(u);
  }
}

void guest::take(const event& e, bool may_skip) {
  auto what = parlor::test::talk::describe(e) + ", number " + std::to_string(e.seq) + " after " +
              std::to_string(seen);
  in->must(e.seq > seen, "told twice: " + what);
  if (e.seq != seen + 1) { // after a crash the session goes on behind its lease, promise 2
    in->must(may_skip || in->losses[key] > skipped, "not told what was before: " + what);
    skipped = in->losses[key];
  }
  seen = e.seq;
  if (ends_session(e.kind)) {
    in->seen[e.kind == event_kind::session_expired ? "expired" : "deleted"]++;
    return gone();
  }
  auto& id = e.task->id;
  in->must(ended.count(id) == 0, "after its end: " + what);
  if (e.kind == event_kind::accepted)
    texts[id];
  auto text = texts.find(id);
  if (e.kind == event_kind::retry && e.discard && text != texts.end())
    text->second.clear();
  if (e.kind == event_kind::delta && text != texts.end())
    text->second += e.text;
  if (ends_task(e.kind)) {
    ended.insert(id);
    in->must(text == texts.end() || text->second == e.end->content, "another text: " + what);
  }
}

} // namespace

TEST_CASE("whatever happens in whatever order: no gap, one end for each turn, nothing left over") {
  std::map<std::string, int> seen;
  for (unsigned seed = 1; seed <= 60; ++seed) {
    INFO("seed " << seed);
    chaos c{seed};
    for (int i = 0; i < 500; ++i) {
      c.step();
      REQUIRE(c.wrong == std::vector<std::string>{});
    }
    c.quiesce();
    c.check();
    REQUIRE(c.wrong == std::vector<std::string>{});
    for (auto& [what, n] : c.seen)
      seen[what] += n;
  }
  // It proves something only if all of this has happened.
  for (auto what :
       {"lost", "task crashed", "accepted", "refused", "ended completed", "ended failed",
        "ended cancelled", "removed", "reset", "caught up", "page", "expired", "deleted"}) {
    INFO(what);
    REQUIRE(seen[what] > 0);
  }
}
