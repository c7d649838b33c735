#include "actors/edge.hpp"

#include "actors/ask.hpp"

#include "actors/edge_answers.hpp"
#include "actors/instrument.hpp"
#include "actors/replay.hpp"
#include "protocol/dialects/chat_sessions.hpp"
#include "protocol/dialects/generate_async.hpp"
#include "protocol/sse.hpp"

namespace parlor {

namespace {

// A session answers once its facts are durable; a full queue or a dead disk must not leave a client
// waiting for ever.
constexpr auto ask_timeout = std::chrono::seconds{60};

http::chunk as_chunk(std::string text) {
  return std::make_shared<const std::string>(std::move(text));
}

refusal plain(errc code) { return {code, {}, {}, 0}; }

} // namespace

edge_stats& stats_of_edges() {
  static edge_stats stats;
  return stats;
}

std::vector<event_ptr> merge_deltas(const std::vector<event_ptr>& events) {
  std::vector<event_ptr> out;
  std::shared_ptr<event> open; // the merged delta under construction
  for (auto& e : events) {
    if (e->kind == event_kind::progress && open)
      continue; // a later one, or the end, says more
    if (e->kind != event_kind::delta) {
      open.reset();
      out.push_back(e);
    } else if (open && open->task == e->task) {
      open->text += e->text;
      open->seq = e->seq;
    } else {
      open = std::make_shared<event>(*e);
      out.push_back(open);
    }
  }
  return out;
}

template <class F>
void edge_state::ask(session_ask_ptr what, const visit_ptr& v, F then) {
  parlor::ask(
      self, options.door(what->key), ask_timeout, what,
      [v, then](const session_answer_ptr& a) { then(*a); },
      [this, v](caf::error&) { refuse(*v, plain(errc::internal)); });
}

void edge_state::refuse(const visit& v, const refusal& why) { respond_refusal(v, why); }

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

// -- requests
// -----------------------------------------------------------------------------------------

void edge_state::serve(const visit_ptr& v) {
  using kind = visit::kind;
  switch (v->what) {
  case kind::chat:
  case kind::chat_stream:
  case kind::generate:
    return submit(v);
  case kind::generate_poll:
  case kind::task_stream:
  case kind::generate_cancel:
    return with_task(v);
  case kind::session_stream:
    return watch(v, v->key, {}, v->after, !v->after);
  case kind::session: {
    auto a = std::make_shared<session_ask>();
    a->key = v->key;
    return ask(a, v, [this, v](const session_answer& found) {
      if (found.why.code != errc::none)
        return refuse(*v, found.why);
      respond_json(*v, 200, chat_sessions::session_json(*found.the_session));
    });
  }
  case kind::remove: {
    auto a = std::make_shared<session_ask>();
    a->what = session_ask::kind::remove;
    a->key = v->key;
    return ask(a, v, [this, v](const session_answer& done) {
      if (done.why.code != errc::none)
        return refuse(*v, done.why);
      respond_json(*v, 200, chat_sessions::deleted_json(v->key.id));
    });
  }
  default:
    return page(v);
  }
}

void edge_state::submit(const visit_ptr& v) {
  if (options.draining())
    return refuse(*v, {errc::draining, {}, {}, 5});
  auto watched = v->what != visit::kind::generate;
  auto a = std::make_shared<session_ask>();
  a->what = session_ask::kind::submit;
  a->key = v->turn.session;
  a->turn = v->turn;
  std::uint64_t id = 0;
  if (watched) {
    a->listener = caf::actor_cast<listener_actor>(edge_actor{self});
    id = add(v, v->turn.session, v->turn.task_id).id;
  }
  parlor::ask(
      self, options.door(a->key), ask_timeout, session_ask_ptr{a},
      [this, v, id](const session_answer_ptr& answer) { accepted(v, *answer, id); },
      [this, v, id](caf::error&) {
        refuse(*v, plain(errc::internal));
        end(id, false);
      });
}

void edge_state::accepted(const visit_ptr& v, const session_answer& a, std::uint64_t id) {
  auto w = watchers.find(id);
  if (a.why.code != errc::none) {
    refuse(*v, a.why);
    return end(id, false);
  }
  std::vector<http::header> more;
  if (a.replayed)
    more.push_back({"Idempotency-Replayed", "true"});
  if (v->what == visit::kind::generate)
    return respond_json(*v, 200, generate_async::created_json(a.task), std::move(more));
  if (w == watchers.end()) { // the peer has gone meanwhile: the turn goes on
    if (!a.replayed)
      unwatch(v->turn.session);
    return;
  }
  if (a.replayed) { // the first request's task is watched from its start
    auto again = std::make_shared<visit>(*v);
    again->headers.insert(again->headers.end(), more.begin(), more.end());
    again->turn.task_id = a.task;
    again->turn.session.id = a.session;
    again->task = a.task;
    end(id, false);
    return with_task(again);
  }
  w->second.listening = true;
  w->second.live = true;
  w->second.seen = a.last_seq;
  if (v->what == visit::kind::chat_stream)
    open(w->second, nullptr, true);
}

// -- tasks by id
// --------------------------------------------------------------------------------------

void edge_state::with_task(const visit_ptr& v) {
  auto query = std::make_shared<store_query>();
  query->ask = [tenant = v->key.tenant, task = v->task](store::reader& r) -> std::any {
    return r.find_task(tenant, task);
  };
  parlor::ask(
      self, options.archive, ask_timeout, store_query_ptr{std::move(query)},
      [this, v](const store_reply_ptr& reply) {
        auto* found = std::any_cast<std::optional<store::stored_task>>(&reply->value);
        if (found == nullptr)
          return refuse(*v, plain(errc::store_failed));
        if (!*found)
          return refuse(*v, plain(errc::task_not_found));
        task_found(v, **found);
      },
      [this, v](caf::error&) { refuse(*v, plain(errc::store_failed)); });
}

void edge_state::task_found(const visit_ptr& v, const store::stored_task& t) {
  using kind = visit::kind;
  auto is_ended = ended(t.view.status);
  if (v->what == kind::task_stream || v->what == kind::chat || v->what == kind::chat_stream) {
    if (is_ended)
      return replay_ended(v, t);
    return watch(v, t.key, v->task, v->after, !v->after);
  }
  auto poll = [this, v](const task_view& view) {
    auto tag = generate_async::etag(view, v->lang);
    std::vector<http::header> more{{"ETag", tag}, {"Cache-Control", "no-cache"}};
    if (v->if_none_match == "*" || v->if_none_match.find(tag) != std::string::npos) {
      http::response r;
      r.status = 304;
      r.headers = v->headers;
      r.headers.insert(r.headers.end(), more.begin(), more.end());
      return v->exchange->respond(std::move(r));
    }
    respond_json(*v, 200, generate_async::task_json(view, v->lang), std::move(more));
  };
  auto a = std::make_shared<session_ask>();
  a->key = t.key;
  a->task = v->task;
  if (v->what == kind::generate_poll) {
    if (is_ended)
      return poll(t.view);
    return ask(a, v, [this, v, poll, stored = t.view](const session_answer& now) {
      if (now.the_task)
        return poll(*now.the_task);
      with_task(v); // it ended between the two looks
    });
  }
  if (is_ended)
    return refuse(*v, plain(errc::task_ended));
  a->what = session_ask::kind::cancel;
  ask(a, v, [this, v, stored = t.view](const session_answer& done) {
    if (done.why.code != errc::none)
      return refuse(*v, done.why);
    auto view = stored;
    view.status = task_status::cancelled;
    respond_json(*v, 200, generate_async::cancelled_json(view, v->lang));
  });
}

void edge_state::replay_ended(const visit_ptr& v, const store::stored_task& t) {
  auto events = stored_events(t);
  std::uint64_t after = 0;
  if (v->after) {
    if (v->after->epoch != options.epoch || v->after->seq > t.ended_seq + 1'000'000) {
      stats_of_edges().resets.fetch_add(1, std::memory_order_relaxed);
    } else {
      after = v->after->seq;
      if (after >= t.ended_seq) { // nothing left to say: 204 stops a browser from coming back
        http::response r;
        r.status = 204;
        r.headers = v->headers;
        return v->exchange->respond(std::move(r));
      }
      stats_of_edges().resumed.fetch_add(1, std::memory_order_relaxed);
    }
  }
  auto& w = add(v, t.key, v->task);
  auto id = w.id;
  if (v->what == visit::kind::chat)
    return give(w, events.back(), nullptr);
  open(w, &t.view, !v->after);
  auto gap = v->after && after == 0 && v->after->seq != 0;
  if (gap) {
    session_view none;
    none.id = t.key.id;
    v->exchange->push(as_chunk(v->shape->reset(options.epoch, &t.view, none)));
  }
  // Without a cursor the generate dialect wants the end only; its deltas were asked for explicitly
  // otherwise. A snapshot holds all but the end already.
  auto end_only = gap || (!v->after && v->shape->greet != nullptr &&
                          v->shape->encode == generate_async::encode);
  for (auto& e : events)
    if (e->seq > after && (!end_only || ends_task(e->kind)))
      give(w, e, nullptr);
  end(id, true);
}

// -- watching
// -----------------------------------------------------------------------------------------

void edge_state::watch(const visit_ptr& v, session_key key, std::string task,
                       std::optional<cursor> after, bool fresh) {
  auto& w = add(v, key, task);
  w.fresh = fresh;
  auto a = std::make_shared<session_ask>();
  a->what = session_ask::kind::watch;
  a->key = std::move(key);
  a->task = std::move(task);
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
      [this, v, id = w.id](caf::error&) {
        refuse(*v, plain(errc::internal));
        end(id, false);
      });
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
  if (a.ended)
    end(id, true);
}

void edge_state::open(watcher& w, const task_view* task, bool fresh) {
  auto& v = *w.visit;
  http::response head;
  head.headers = v.headers;
  head.headers.push_back({"Content-Type", "text/event-stream; charset=utf-8"});
  head.headers.push_back({"Cache-Control", "no-cache, no-transform"});
  head.headers.push_back({"X-Accel-Buffering", "no"});
  if (v.what == visit::kind::chat_stream)
    head.headers.push_back({"X-Session-ID", w.key.id});
  w.open = true;
  v.exchange->open(std::move(head), std::string{sse::keepalive});
  if (v.shape->greet != nullptr) {
    auto hello = v.shape->greet(v.lang, options.wall(), task, fresh);
    if (!hello.empty())
      v.exchange->push(as_chunk(std::move(hello)));
  }
}

void edge_state::on_event(const published& p) {
  auto s = by_session.find(*p.key);
  if (s == by_session.end())
    return;
  // Encoded once for each dialect and language in use; watchers share the bytes.
  struct encoded {
    stream_shape::encoder how;
    language lang;
    http::chunk bytes;
  };
  std::vector<encoded> cache;
  std::vector<std::uint64_t> ids{s->second.begin(), s->second.end()};
  for (auto id : ids) {
    auto i = watchers.find(id);
    if (i == watchers.end() || !i->second.live || p.what->seq <= i->second.seen)
      continue;
    auto& w = i->second;
    auto& v = *w.visit;
    if (!w.task.empty() && p.what->task && p.what->task->id != w.task)
      continue;
    if (v.what == visit::kind::chat) {
      give(w, p.what, nullptr);
      continue;
    }
    if (v.exchange->backlog() > http::exchange::high_water && !ends_session(p.what->kind)) {
      w.live = false; // from here on it is a cursor
      w.behind = true;
      continue;
    }
    http::chunk block;
    for (auto& c : cache)
      if (c.how == v.shape->encode && c.lang == v.lang)
        block = c.bytes;
    if (!block) {
      block = as_chunk(v.shape->encode(options.epoch, v.lang, *p.what));
      cache.push_back({v.shape->encode, v.lang, block});
    }
    give(w, p.what, std::move(block));
  }
}

void edge_state::give(watcher& w, const event_ptr& e, http::chunk block) {
  auto& v = *w.visit;
  auto last = (!w.task.empty() && ends_task(e->kind)) || ends_session(e->kind);
  if (v.what == visit::kind::chat) {
    if (last)
      answer_json(w, *e);
    return;
  }
  w.seen = e->seq;
  if (!block)
    block = as_chunk(v.shape->encode(options.epoch, v.lang, *e));
  if (!block->empty()) {
    v.exchange->push(std::move(block));
    stats_of_edges().delivered.fetch_add(1, std::memory_order_relaxed);
  }
  if (ends_session(e->kind))
    w.listening = false; // the session has dropped everybody
  if (last)
    end(w.id, true);
}

void edge_state::answer_json(watcher& w, const event& last) {
  auto& v = *w.visit;
  if (last.kind == event_kind::completed && last.end) {
    task_view t;
    t.id = w.task;
    t.session = w.key.id;
    t.model = last.task->model;
    t.status = task_status::completed;
    t.created_at = last.task->created_at;
    t.updated_at = last.at;
    respond_json(v, 200, chat_sessions::answer(t, *last.end), {{"X-Session-ID", w.key.id}});
  } else {
    auto code = last.end ? last.end->error
                         : (last.kind == event_kind::session_expired ? errc::session_expired
                                                                     : errc::session_deleted);
    refuse(v, {code, {}, {}, describe(code).retryable ? 1 : 0});
  }
  if (ends_session(last.kind))
    w.listening = false;
  end(w.id, false);
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

edge_actor::behavior_type edge(edge_actor::stateful_pointer<edge_state> self,
                               edge_options options) {
  guard(actor_kind::edge, self);
  self->state.options = std::move(options);
  return {
      observed(actor_kind::edge, self, [self](const published& p) { self->state.on_event(p); }),
      observed(actor_kind::edge, self, [self](const visit_ptr& v) { self->state.serve(v); }),
      observed(actor_kind::edge, self, [self](const exchange_news& n) { self->state.news(n); }),
  };
}

} // namespace parlor
