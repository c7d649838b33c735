#include "actors/edge.hpp"

#include "actors/ask.hpp"

#include "actors/edge_answers.hpp"
#include "actors/instrument.hpp"
#include "protocol/dialects/chat_sessions.hpp"
#include "protocol/dialects/generate_async.hpp"

#include <algorithm>

namespace parlor {

edge_stats& stats_of_edges() {
  static edge_stats stats;
  return stats;
}

void edge_state::ask(session_ask_ptr what, const visit_ptr& v,
                     std::function<void(const session_answer&)> then) {
  parlor::ask(
      self, options.door(what->key), ask_timeout, what,
      [v, then](const session_answer_ptr& a) { then(*a); },
      [this, v](caf::error&) { refuse(*v, {errc::internal}); });
}

void edge_state::refuse(const visit& v, const refusal& why) { respond_refusal(v, why); }

bool edge_state::has_room(const visit& v, const session_key& key) {
  auto all = static_cast<std::size_t>(std::max<std::int64_t>(0, stats_of_edges().watchers));
  auto why = all >= options.max_streams                               ? errc::out_of_streams
             : options.counts->of(key) >= options.max_session_streams ? errc::too_many_streams
                                                                      : errc::none;
  if (why != errc::none)
    refuse(v, {why});
  return why == errc::none;
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
  case kind::socket:
    return open_socket(v);
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
  case kind::plan_stream:
    return plan_register(v);
  case kind::plan_generate:
    return plan_start(v);
  case kind::plan_update:
    return plan_update(v);
  case kind::plan_stats:
    return plan_stats(v);
  default:
    return page(v);
  }
}

namespace {

std::vector<http::header> replayed(const session_answer& a) {
  return a.replayed ? std::vector<http::header>{{"Idempotency-Replayed", "true"}}
                    : std::vector<http::header>{};
}

} // namespace

void edge_state::submit(const visit_ptr& v) {
  if (options.draining())
    return refuse(*v, {errc::draining});
  auto watched = v->what != visit::kind::generate;
  auto a = std::make_shared<session_ask>();
  a->what = session_ask::kind::submit;
  a->key = v->turn.session;
  a->turn = v->turn;
  if (watched && !has_room(*v, a->key))
    return;
  a->turn.instead = options.attended->abandoned(a->key);
  turn_asked t{a->key, a->turn.task_id, a->turn.cancel_on_disconnect, v->inside};
  if (!watched)
    return ask(a, v, [this, v, t](const session_answer& answer) {
      decided(t, answer);
      if (answer.why.code != errc::none)
        return refuse(*v, answer.why);
      respond_json(*v, 200, generate_async::created_json(answer.task), replayed(answer));
    });
  a->listener = caf::actor_cast<listener_actor>(edge_actor{self});
  auto& w = add_stream(v, v->turn.session, v->turn.task_id);
  if (v->turn.cancel_on_disconnect)
    attend(w, w.task);
  await(w);
  // `t` and not the visit, which holds its connection: that may have gone long before a disk that
  // hangs lets the session answer.
  self->request(options.door(a->key), caf::infinite, session_ask_ptr{a})
      .then(
          [this, t, id = w.id](const session_answer_ptr& answer) {
            decided(t, *answer);
            if (auto i = watchers.find(id); i != watchers.end())
              accepted(i->second, *answer);
            else if (answer->why.code == errc::none && !answer->replayed)
              unwatch(t.key, answer->life); // the peer has gone meanwhile: the turn goes on
          },
          [this, id = w.id](caf::error&) {
            if (auto i = watchers.find(id); i != watchers.end())
              unanswered(i->second);
          });
}

/// What the answer to a turn means to others than to whoever has asked.
void edge_state::decided(const turn_asked& t, const session_answer& a) {
  auto begins = a.why.code == errc::none && !a.replayed;
  if (t.inside && a.why.code == errc::none)
    t.inside->accepted(turn_gate::clock::now());
  if (t.cancel_on_disconnect && !begins)
    options.attended->ended(t.key, t.task); // it has never begun
  if (begins)
    born(t.key, a.last_seq);
}

void edge_state::accepted(watcher& w, const session_answer& a) {
  w.asked = false;
  if (a.why.code != errc::none) {
    refuse(*w.request, a.why);
    return end(w.id, false);
  }
  if (a.replayed) { // the first request's task is watched from its start
    auto again = std::make_shared<visit>(*w.request);
    auto more = replayed(a);
    again->headers.insert(again->headers.end(), more.begin(), more.end());
    again->turn.task_id = a.task;
    again->turn.session.id = a.session;
    again->task = a.task;
    end(w.id, false);
    return with_task(again);
  }
  w.listening = a.life;
  w.live = true;
  w.seen = a.last_seq;
  if (w.what == visit::kind::chat_stream) {
    auto waited = turn_gate::clock::now() - w.request->came;
    all_turns.first_event.observe(std::chrono::duration<double>{waited}.count());
    open(w, nullptr, true);
  }
}

edge_actor::behavior_type edge(edge_actor::stateful_pointer<edge_state> self,
                               edge_options options) {
  guard(actor_kind::edge, self);
  self->state.options = std::move(options);
  if (self->state.options.counts_plans)
    self->send(self, count_plans{});
  return {
      observed(actor_kind::edge, self, [self](const published& p) { self->state.on_event(p); }),
      observed(actor_kind::edge, self, [self](const visit_ptr& v) { self->state.serve(v); }),
      observed(actor_kind::edge, self, [self](const exchange_news& n) { self->state.news(n); }),
      observed(actor_kind::edge, self,
               [self](const unattended& what) { self->state.stop_unattended(what); }),
      observed(actor_kind::edge, self,
               [self](const session_lost& l) { self->state.rejoin(*l.key); }),
      observed(actor_kind::edge, self, [self](socket_message& m) { self->state.hear(m); }),
      observed(actor_kind::edge, self,
               [self](const socket_alarm& a) { self->state.on_alarm(a.watcher); }),
      observed(actor_kind::edge, self, [self](const age_streams&) { self->state.age(); }),
      observed(actor_kind::edge, self, [self](const give_up&) { self->state.stop_waiting(); }),
      observed(actor_kind::edge, self,
               [self](const end_streams&) { self->state.end_streams_with_word(); }),
      observed(actor_kind::edge, self,
               [self](const count_plans&) {
                 self->state.count_plans([] {});
                 self->delayed_send(self, caf::timespan{plan_counts_every}, count_plans{});
               }),
  };
}

} // namespace parlor
