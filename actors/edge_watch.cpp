#include "actors/edge.hpp"

// Who watches, from when to when, and how a watcher that fell behind catches up.

#include "actors/ask.hpp"
#include "actors/edge_answers.hpp"
#include "actors/replay.hpp"
#include "protocol/sse.hpp"

#include <algorithm>

namespace parlor {

watcher& edge_state::add(const visit& v, std::shared_ptr<http::outbox> out, session_key key,
                         std::string task) {
  auto id = next_id++;
  auto& w = watchers[id];
  w.id = id;
  w.what = v.what;
  w.lang = v.lang;
  w.request_id = v.request_id;
  w.out = std::move(out);
  w.key = key;
  w.task = std::move(task);
  if (auto turns = options.attended->come(key, w.task); !turns.empty())
    w.attends = std::make_unique<std::vector<std::string>>(std::move(turns));
  options.counts->add(key);
  by_session[std::move(key)].all.push_back({id, &w});
  stats_of_edges().watchers.fetch_add(1, std::memory_order_relaxed);
  if (v.what == visit::kind::plan_stream)
    stats_of_edges().plan_pages.fetch_add(1, std::memory_order_relaxed);
  auto me = caf::actor_cast<edge_actor>(self);
  w.out->watch([me, id](http::signal s) { caf::anon_send(me, exchange_news{id, s}); });
  return w;
}

/// Or one who waits for an answer of JSON.
watcher& edge_state::add_stream(const visit_ptr& v, session_key key, std::string task) {
  auto& w = add(*v, v->exchange, std::move(key), std::move(task));
  w.request = v;
  w.shape = v->shape;
  if (!v->on_reset.empty())
    w.at_reset = std::make_unique<watcher::own_reset>(watcher::own_reset{v->on_reset, v->known});
  return w;
}

void edge_state::watch(const visit_ptr& v, session_key key, std::string task,
                       std::optional<cursor> after, bool fresh, int looks) {
  if (!has_room(*v, key))
    return;
  auto& w = add_stream(v, std::move(key), std::move(task));
  if (v->turn.cancel_on_disconnect && !w.attends) // its request, once more
    attend(w, w.task);
  w.fresh = fresh;
  w.looks = looks;
  join(w, std::move(after));
}

void edge_state::join(watcher& w, std::optional<cursor> after) {
  auto a = std::make_shared<session_ask>();
  a->what = session_ask::kind::watch;
  a->key = w.key;
  a->task = w.task;
  a->after = std::move(after);
  a->listener = caf::actor_cast<listener_actor>(edge_actor{self});
  auto round = await(w);
  self->request(options.door(a->key), caf::infinite, session_ask_ptr{a})
      .then(
          [this, id = w.id, key = w.key, round](const session_answer_ptr& answer) {
            auto listening = answer->why.code == errc::none && !answer->ended;
            auto i = watchers.find(id);
            if (i != watchers.end())
              i->second.listening = listening ? answer->life : 0;
            else if (listening)
              unwatch(key, answer->life);
            if (i != watchers.end() && i->second.round == round) {
              i->second.asked = false;
              watching(id, *answer);
            }
          },
          [this, id = w.id, round](caf::error&) {
            if (auto i = watchers.find(id); i != watchers.end() && i->second.round == round)
              unanswered(i->second);
          });
}

void edge_state::lose(watcher& w) {
  if (w.socket)
    return close_socket(w, http::close_code::internal, "something went wrong here");
  if (w.open)
    w.out->abort();
  end(w.id, false);
}

/// The session has a turn now: who came before there was one listens from here on.
void edge_state::born(const session_key& key, std::uint64_t seq) {
  auto s = by_session.find(key);
  if (s == by_session.end())
    return;
  for (auto& m : members{s->second.all}) {
    auto& w = *m.who;
    if (w.socket && std::exchange(w.socket->unborn, false))
      join(w, cursor{options.epoch, seq});
  }
}

namespace {

/// The event that it is to go on after: the last one that it has seen, unless it has asked for
/// others.
std::uint64_t next_after(const watcher& w) {
  return w.socket && w.socket->rewind_to ? *w.socket->rewind_to : w.seen;
}

} // namespace

void edge_state::rejoin(const session_key& key) {
  auto s = by_session.find(key);
  if (s == by_session.end())
    return;
  for (auto& m : members{s->second.all}) {
    auto& w = *m.who;
    if (!w.listening)
      continue; // its own request is on its way, and will be told
    w.listening = 0;
    w.live = w.behind = false;
    join(w, cursor{options.epoch, next_after(w)});
  }
}

void edge_state::watching(std::uint64_t id, const session_answer& a) {
  auto i = watchers.find(id);
  if (i == watchers.end())
    return;
  auto& w = i->second;
  // The session that it listens to has crashed: it will be joined again.
  if (a.why.code == errc::internal && w.listening != 0) {
    w.live = false;
    w.behind = true;
    return;
  }
  if (w.socket)
    return caught_up(w, a);
  if (a.why.code != errc::none) {
    if (w.open) // it is over, or it is not whole
      return a.why.code == errc::session_not_found ? end(id, true) : lose(w);
    refuse(*w.request, a.why);
    return end(id, false);
  }
  auto json = w.what == visit::kind::chat;
  if (a.ended && !w.task.empty() && !w.open && w.looks == 0) {
    // It has ended since the store was asked: the store knows the whole of it now.
    auto again = w.request;
    end(id, false);
    return with_task(again, 1);
  }
  if (!json && !w.open) {
    auto& v = *w.request;
    if (a.ended && a.events.empty() && !a.reset && v.after) {
      http::response r;
      r.status = 204;
      r.headers = v.headers;
      v.exchange->respond(std::move(r));
      return end(id, false);
    }
    if (v.after)
      stats_of_edges().came_back(a.reset, a.ahead);
    open(w, a.the_task ? &*a.the_task : nullptr, w.fresh);
  }
  if (w.out->backlog() > http::outbox::high_water) { // another page would only lie there
    w.live = false;
    w.behind = true;
    return;
  }
  // A snapshot of its own, which tells up to `known`. Once: what is gone behind it is gone.
  if (a.reset && w.at_reset) {
    auto own = std::move(w.at_reset);
    w.out->push(as_chunk(std::move(own->block)));
    w.seen = std::max(w.seen, own->known);
    w.live = false;
    w.behind = true;
    return catch_up(w);
  }
  if (a.reset && a.the_session && w.shape != nullptr && w.shape->reset != nullptr)
    w.out->push(as_chunk(w.shape->reset(
        options.epoch, a.the_task && !w.task.empty() ? &*a.the_task : nullptr, *a.the_session)));
  w.live = true;
  w.behind = false;
  for (auto& e : w.skims ? merge_deltas(a.events) : a.events) {
    if (e->seq <= w.seen)
      continue;
    give(w, e, nullptr);
    if (watchers.find(id) == watchers.end())
      return; // that was the last one
  }
  w.seen = std::max(w.seen, a.last_seq);
  if (a.more)
    return go_on(w);
  w.skims = false;
  if (!a.ended)
    return;
  if (json)
    refuse(*w.request, {errc::internal}); // ended, but nobody knows how
  end(id, true);
}

void edge_state::news(const exchange_news& n) {
  auto i = watchers.find(n.watcher);
  if (i == watchers.end())
    return;
  auto& w = i->second;
  if (n.what == http::signal::drained) {
    if (w.behind && !w.asked)
      catch_up(w);
    return;
  }
  end(n.watcher, false);
}

void edge_state::go_on(watcher& w) {
  w.live = false;
  w.behind = true;
  if (w.out->backlog() <= http::outbox::high_water)
    catch_up(w);
}

void edge_state::catch_up(watcher& w, http::chunk held) {
  if (w.stored)
    return replay_on(w);
  auto a = std::make_shared<session_ask>();
  a->what = session_ask::kind::watch;
  a->key = w.key;
  a->task = w.task;
  a->after = cursor{options.epoch, next_after(w)};
  w.asked = true;
  auto mine = [this, id = w.id, round = ++w.round]() -> watcher* {
    auto i = watchers.find(id);
    if (i == watchers.end() || i->second.round != round)
      return nullptr;
    i->second.asked = false;
    return &i->second;
  };
  parlor::ask(
      self, options.door(a->key), ask_timeout, session_ask_ptr{a},
      [this, mine, held](const session_answer_ptr& answer) {
        if (auto* late = mine())
          watching(late->id, *answer);
      },
      [this, mine](caf::error& e) {
        auto* late = mine();
        if (late == nullptr)
          return;
        if (late->listening == 0 || e == caf::sec::request_timeout)
          return lose(*late);
        late->live = false; // as above
        late->behind = true;
      });
}

namespace {

/// When that watcher should come back: within three seconds of each other, evenly spread.
std::uint32_t back_after_ms(std::uint64_t id) {
  return static_cast<std::uint32_t>(1'000 + id * 1'853 % 3'000); // 3000 divided by the golden ratio
}

} // namespace

/// Orderly ends; nothing is lost by them, for whoever comes back to the next server is told the
/// rest.
void edge_state::end_streams_with_word() {
  std::vector<std::uint64_t> ids;
  for (auto& [id, w] : watchers)
    ids.push_back(id);
  for (auto id : ids) {
    auto& w = watchers.at(id);
    if (w.socket)
      continue; // the HTTP server tells it, by the code it closes it with
    if (!w.open)
      refuse(*w.request, {w.listening ? errc::interrupted : errc::draining});
    else if (w.shape->takes_retry)
      w.out->push(as_chunk(sse::come_back(back_after_ms(id))));
    end(id, true);
  }
}

void edge_state::end(std::uint64_t id, bool close) {
  auto i = watchers.find(id);
  if (i == watchers.end())
    return;
  auto w = std::move(i->second);
  watchers.erase(i);
  options.counts->remove(w.key);
  stats_of_edges().watchers.fetch_sub(1, std::memory_order_relaxed);
  if (w.what == visit::kind::plan_stream) {
    stats_of_edges().plan_pages.fetch_sub(1, std::memory_order_relaxed);
    aging.erase(id);
  }
  if (auto s = by_session.find(w.key); s != by_session.end()) {
    auto& all = s->second.all;
    all.erase(std::lower_bound(all.begin(), all.end(), id,
                               [](const member& m, std::uint64_t than) { return m.id < than; }));
    if (all.empty()) {
      by_address.erase(s->second.known_as.get());
      by_session.erase(s);
    }
  }
  if (w.listening)
    unwatch(w.key, w.listening);
  leave(w);
  if (w.request && w.request->inside)
    w.request->inside->give_way(); // should its session still not have answered
  if (close && w.open)
    w.out->close();
}

void edge_state::unwatch(const session_key& key, std::uint64_t life) {
  auto a = std::make_shared<session_ask>();
  a->what = session_ask::kind::unwatch;
  a->key = key;
  a->listener = caf::actor_cast<listener_actor>(edge_actor{self});
  a->life = life;
  parlor::ask(
      self, options.door(key), ask_timeout, session_ask_ptr{std::move(a)},
      [](const session_answer_ptr&) {}, [](caf::error&) { /* a dead session has no listeners */ });
}

} // namespace parlor
