#include "actors/edge.hpp"

// Who watches, from when to when, and how a watcher that fell behind catches up.

#include "actors/ask.hpp"
#include "actors/edge_answers.hpp"
#include "actors/replay.hpp"

namespace parlor {

watcher& edge_state::add(const visit_ptr& v, session_key key, std::string task) {
  auto id = next_id++;
  auto& w = watchers[id];
  w.id = id;
  w.visit = v;
  w.key = key;
  w.task = std::move(task);
  by_session[std::move(key)].insert(id);
  stats_of_edges().watchers.fetch_add(1, std::memory_order_relaxed);
  auto me = caf::actor_cast<edge_actor>(self);
  v->exchange->watch([me, id](http::signal s) { caf::anon_send(me, exchange_news{id, s}); });
  return w;
}

void edge_state::watch(const visit_ptr& v, session_key key, std::string task,
                       std::optional<cursor> after, bool fresh, int looks) {
  auto& w = add(v, std::move(key), std::move(task));
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
  parlor::ask(
      self, options.door(a->key), ask_timeout, session_ask_ptr{a},
      [this, id = w.id, key = w.key](const session_answer_ptr& answer) {
        auto listening = answer->why.code == errc::none && !answer->ended;
        if (auto i = watchers.find(id); i != watchers.end())
          i->second.listening = listening;
        else if (listening)
          unwatch(key);
        watching(id, *answer);
      },
      [this, id = w.id](caf::error&) {
        auto i = watchers.find(id);
        if (i == watchers.end())
          return;
        if (i->second.open)
          i->second.visit->exchange->abort(); // it may come back with its cursor
        else
          refuse(*i->second.visit, {errc::internal});
        end(id, false);
      });
}

void edge_state::rejoin(const session_key& key) {
  auto s = by_session.find(key);
  if (s == by_session.end())
    return;
  for (auto id : std::vector<std::uint64_t>{s->second.begin(), s->second.end()}) {
    auto& w = watchers.at(id);
    if (!w.listening)
      continue; // its own request is on its way, and will be told
    w.listening = w.live = w.behind = false;
    join(w, cursor{options.epoch, w.seen});
  }
}

void edge_state::watching(std::uint64_t id, const session_answer& a) {
  auto i = watchers.find(id);
  if (i == watchers.end())
    return;
  auto& w = i->second;
  auto& v = *w.visit;
  if (a.why.code != errc::none) {
    if (w.open)
      return end(id, true);
    refuse(v, a.why);
    return end(id, false);
  }
  auto json = v.what == visit::kind::chat;
  if (a.ended && !w.task.empty() && !w.open && w.looks == 0) {
    // It has ended since the store was asked: the store knows the whole of it now.
    auto again = w.visit;
    end(id, false);
    return with_task(again, 1);
  }
  if (!json && !w.open) {
    if (a.ended && a.events.empty() && !a.reset && v.after) {
      http::response r;
      r.status = 204;
      r.headers = v.headers;
      v.exchange->respond(std::move(r));
      return end(id, false);
    }
    if (v.after)
      (a.reset ? stats_of_edges().resets : stats_of_edges().resumed)
          .fetch_add(1, std::memory_order_relaxed);
    open(w, a.the_task ? &*a.the_task : nullptr, w.fresh);
  }
  if (a.reset && a.the_session && v.shape != nullptr)
    v.exchange->push(as_chunk(
        v.shape->reset(options.epoch, a.the_task ? &*a.the_task : nullptr, *a.the_session)));
  auto was_behind = std::exchange(w.behind, false);
  auto events = was_behind ? merge_deltas(a.events) : a.events;
  w.live = true;
  for (auto& e : events) {
    if (e->seq <= w.seen)
      continue;
    give(w, e, nullptr);
    if (watchers.find(id) == watchers.end())
      return; // that was the last one
  }
  w.seen = std::max(w.seen, a.last_seq);
  if (!a.ended)
    return;
  if (json)
    refuse(v, {errc::internal}); // ended, but nobody knows how
  end(id, true);
}

void edge_state::news(const exchange_news& n) {
  auto i = watchers.find(n.watcher);
  if (i == watchers.end())
    return;
  auto& w = i->second;
  if (n.what == http::signal::drained) {
    if (w.behind)
      catch_up(n.watcher);
    return;
  }
  // Disconnecting is not stopping, unless the request said so.
  if (w.visit->turn.cancel_on_disconnect && !w.task.empty()) {
    auto a = std::make_shared<session_ask>();
    a->what = session_ask::kind::cancel;
    a->key = w.key;
    a->task = w.task;
    parlor::ask(
        self, options.door(a->key), ask_timeout, session_ask_ptr{a},
        [](const session_answer_ptr&) {}, [](caf::error&) { /* it has ended */ });
  }
  end(n.watcher, false);
}

void edge_state::catch_up(std::uint64_t id) {
  auto& w = watchers[id];
  auto a = std::make_shared<session_ask>();
  a->what = session_ask::kind::watch;
  a->key = w.key;
  a->task = w.task;
  a->after = cursor{options.epoch, w.seen};
  parlor::ask(
      self, options.door(a->key), ask_timeout, session_ask_ptr{a},
      [this, id](const session_answer_ptr& answer) {
        auto i = watchers.find(id);
        if (i == watchers.end())
          return;
        std::size_t bytes = 0;
        for (auto& e : answer->events)
          bytes += e->text.size() + 32;
        if (bytes > options.max_catch_up) { // it may come back with its cursor
          stats_of_edges().cut.fetch_add(1, std::memory_order_relaxed);
          notice(log_level::warn, "slow_reader_cut",
                 {{"bytes_behind", std::to_string(bytes)},
                  {"session", i->second.key.id},
                  {"task", i->second.task},
                  {"request_id", i->second.visit->request_id}});
          i->second.visit->exchange->abort();
          return end(id, false);
        }
        watching(id, *answer);
      },
      [this, id](caf::error&) {
        if (auto i = watchers.find(id); i != watchers.end())
          i->second.visit->exchange->abort();
        end(id, false);
      });
}

void edge_state::end(std::uint64_t id, bool close) {
  auto i = watchers.find(id);
  if (i == watchers.end())
    return;
  auto w = std::move(i->second);
  watchers.erase(i);
  stats_of_edges().watchers.fetch_sub(1, std::memory_order_relaxed);
  if (auto s = by_session.find(w.key); s != by_session.end()) {
    s->second.erase(id);
    if (s->second.empty())
      by_session.erase(s);
  }
  if (w.listening)
    unwatch(w.key);
  if (close && w.open)
    w.visit->exchange->close();
}

void edge_state::unwatch(const session_key& key) {
  auto a = std::make_shared<session_ask>();
  a->what = session_ask::kind::unwatch;
  a->key = key;
  a->listener = caf::actor_cast<listener_actor>(edge_actor{self});
  parlor::ask(
      self, options.door(key), ask_timeout, session_ask_ptr{std::move(a)},
      [](const session_answer_ptr&) {}, [](caf::error&) { /* a dead session has no listeners */ });
}

} // namespace parlor
