#include "actors/session.hpp"

#include "actors/ask.hpp"
#include "protocol/window.hpp"

#include <atomic>

namespace parlor {

session_answer_ptr refusal_answer(errc code) {
  auto a = std::make_shared<session_answer>();
  a->why.code = code;
  return a;
}

// -- loading
// ------------------------------------------------------------------------------------------

void session_state::receive(const session_ask_ptr& ask,
                            caf::typed_response_promise<session_answer_ptr> promise) {
  ++received;
  // To be asked whether it has expired is no activity.
  if (ask->what != session_ask::kind::expire || !talk)
    last_active = self->clock().now();
  if (talk)
    return handle(*ask, std::move(promise));
  stash.emplace_back(ask, std::move(promise));
  if (loading)
    return;
  if (received == 1 && ask->turn.fresh)
    loaded({}); // the store cannot know it: not worth a question
  else
    load();
}

void session_state::load() {
  loading = true;
  if (!std::exchange(after_crash, false))
    return read();
  // What the actor that crashed had on its way to the store is there before this is answered.
  parlor::ask(
      self, world->keeper, session_world::store_timeout,
      fact_group_ptr{std::make_shared<const store::fact_group>()},
      [this](const recorded_ptr&) { read(); }, [this](caf::error&) { not_loaded(); });
}

void session_state::not_loaded() {
  loading = false;
  for (auto& [ask, promise] : std::exchange(stash, {}))
    promise.deliver(refusal_answer(errc::store_failed));
  arm();
}

void session_state::read() {
  auto query = std::make_shared<store_query>();
  auto& limits = world->limits;
  query->ask = [key = *key, held = store::history_limits{world->history_limit,
                                                         window_bytes(limits.token_budget),
                                                         limits.image_bytes}](
                   store::reader& r) -> std::any { return r.load_session(key, held); };
  parlor::ask(
      self, world->archive, session_world::store_timeout, store_query_ptr{std::move(query)},
      [this](const store_reply_ptr& reply) {
        if (auto* image = std::any_cast<store::session_image>(&reply->value))
          loaded(*image);
        else
          not_loaded();
      },
      [this](caf::error&) { not_loaded(); });
}

namespace {

std::uint64_t next_life() {
  static std::atomic<std::uint64_t> lives{0};
  return ++lives;
}

} // namespace

void session_state::loaded(store::session_image image) {
  loading = false;
  life = next_life();
  auto now = world->wall();
  talk.emplace(*key, world->limits, std::move(image), now);
  perform(talk->resume(now));
  while (!stash.empty()) { // one by one: should it crash, the others are still there to be answered
    auto ask = std::move(stash.front().first);
    asked = std::move(stash.front().second);
    stash.pop_front();
    handle(*ask, asked);
  }
  asked = {};
  arm();
}

// -- asks
// ---------------------------------------------------------------------------------------------

std::uint64_t session_state::keep(caf::typed_response_promise<session_answer_ptr> promise,
                                  listener_actor listener, std::string task) {
  auto id = next_promise++;
  promises.emplace(id, kept{std::move(promise), std::move(listener), std::move(task)});
  return id;
}

void session_state::handle(const session_ask& ask,
                           caf::typed_response_promise<session_answer_ptr> promise) {
  using kind = session_ask::kind;
  switch (ask.what) {
  case kind::submit:
    return submit(ask, std::move(promise));
  case kind::watch:
    return watch(ask, std::move(promise));
  case kind::cancel:
    return perform(talk->cancel(ask.task, keep(std::move(promise)), world->wall()));
  case kind::open:
    return perform(talk->open(keep(std::move(promise)), world->wall()));
  case kind::callback:
    return perform(talk->called_back(ask.task, ask.news, keep(std::move(promise)), world->wall()));
  case kind::expire:
    if (!talk->idle() || !listeners.empty() ||
        world->wall() - talk->last_accessed() < world->idle_expiry.count()) {
      promise.deliver(refusal_answer(errc::session_busy));
      return;
    }
    return perform(talk->remove(true, keep(std::move(promise)), world->wall()));
  case kind::remove:
    return perform(talk->remove(false, keep(std::move(promise)), world->wall()));
  case kind::unwatch:
    if (ask.life == life) // else whom it means has gone with the session that it listened to
      drop_listener(ask.listener);
    promise.deliver(refusal_answer(errc::none));
    return;
  case kind::wake:
    promise.deliver(refusal_answer(errc::none));
    return;
  case kind::look:
    return look(ask, std::move(promise));
  }
}

void session_state::look(const session_ask& ask,
                         caf::typed_response_promise<session_answer_ptr> promise) {
  auto a = std::make_shared<session_answer>();
  if (!is_there()) {
    a->why.code = errc::session_not_found;
  } else {
    a->the_session = talk->view();
    if (!ask.task.empty())
      a->the_task = talk->task(ask.task);
  }
  promise.deliver(session_answer_ptr{std::move(a)});
}

// -- effects
// ------------------------------------------------------------------------------------------

void session_state::perform(effects es) {
  for (auto& e : es) {
    if (auto* p = std::get_if<publish_effect>(&e)) {
      if (ends_task(p->what->kind) && p->what->task) {
        admitted.erase(p->what->task->id); // it may have ended before it began
        auto model = world->find_model(p->what->task->model);
        turn_ended(*p->what, model ? model->provider_name : std::string{});
      }
      for (auto& l : listeners)
        self->send(l.who, published{key, p->what});
    } else if (auto* r = std::get_if<record_effect>(&e)) {
      record(std::move(*r));
    } else if (auto* o = std::get_if<run_effect>(&e)) {
      run(std::move(o->order));
    } else if (std::holds_alternative<stop_effect>(e)) {
      if (running)
        self->send(running, stop_task{});
    } else if (auto* h = std::get_if<hand_over_effect>(&e)) {
      if (running)
        self->send(running, std::move(h->news));
    } else if (auto* a = std::get_if<answer_effect>(&e)) {
      answer(std::move(*a));
    } else { // retired: whoever asks next finds the store, where nothing is left
      auto& gone = std::get<retire_effect>(e);
      for (auto& task : gone.dropped)
        turn_dropped(*task, gone.at);
      talk.reset();
      for (auto& [id, k] : std::exchange(promises, {})) // what waits for a past that is gone
        k.promise.deliver(refusal_answer(errc::session_not_found));
      admitted.clear();
      listeners.clear();
      last_active = {};
      alarm_out = false; // it leaves at once; an alarm that is out is an old one
    }
  }
  arm();
}

void session_state::record(record_effect&& r) {
  if (auto after = std::chrono::milliseconds{std::exchange(r.after_ms, 0)}; after.count() != 0) {
    self->delayed_send(self, caf::timespan{after},
                       record_again{std::make_shared<const record_effect>(std::move(r)), life});
    return;
  }
  self->request(world->keeper, caf::infinite, std::move(r.group))
      .then(
          [this, ticket = r.ticket, then = life](const recorded_ptr& done) {
            if (!talk || life != then)
              return; // removed meanwhile; the tickets of its successor are others
            if (done->error == errc::none)
              perform(talk->durable(ticket, done->result, world->wall()));
            else if (done->error == errc::store_failed)
              return; // the process is ending; nothing is acknowledged
            else
              perform(talk->refused(ticket, done->error, world->wall()));
          },
          [](caf::error&) { /* the keeper has gone: the process is ending */ });
}

void session_state::run(task_order_ptr order) {
  running_id = order->header->id;
  silent_since = order->first_attempt == 1 ? order->header->created_at : 0;
  auto why = errc::internal;
  auto worker = spawn_worker(std::move(order), why);
  if (!worker) {
    outcome end;
    end.status = task_status::failed;
    end.error = why;
    return perform(talk->finished(std::string{running_id}, std::move(end), {}, world->wall()));
  }
  running = std::move(worker);
  arm_checkpoint();
}

void session_state::arm_checkpoint() {
  if (std::exchange(checkpoint_out, true))
    return;
  auto now = self->clock().now();
  auto due = std::chrono::ceil<session_world::checkpoint_beat>(now + world->checkpoint_every);
  self->delayed_send(self, caf::timespan{due - now}, checkpoint_alarm{});
}

void session_state::answer(answer_effect&& a) {
  auto i = promises.find(a.promise);
  if (i == promises.end())
    return;
  auto k = std::move(i->second);
  promises.erase(i);
  auto made_none = a.why.code != errc::none || a.replayed;
  if (made_none && !k.task.empty())
    admitted.erase(k.task);
  auto out = std::make_shared<session_answer>();
  out->why = std::move(a.why);
  out->task = std::move(a.task);
  out->session = std::move(a.session);
  out->replayed = a.replayed;
  out->last_seq = a.accepted_seq == 0 ? 0 : a.accepted_seq - 1;
  out->life = life;
  if (talk)
    out->the_session = talk->view();
  if (k.listener && made_none)
    drop_listener(k.listener); // a request that made no task listens to nothing
  k.promise.deliver(session_answer_ptr{std::move(out)});
}

void session_state::report(task_report& r) {
  if (std::holds_alternative<task_over>(r.what) && r.task->id == running_id) {
    running = nullptr;
    running_id.clear();
    last_active = self->clock().now(); // it is idle from now on
  }
  if (!talk)
    return;
  auto now = world->wall();
  auto& task = r.task->id;
  if (auto* d = std::get_if<task_delta>(&r.what)) {
    if (silent_since != 0 && task == running_id) // the wall clock may go back
      all_turns.first_token.observe(
          static_cast<double>(std::max<std::int64_t>(0, now - std::exchange(silent_since, 0))) /
          1000);
    perform(talk->delta(task, std::move(d->text), now, std::move(d->stage)));
  } else if (auto* w = std::get_if<task_retrying>(&r.what)) {
    perform(talk->retrying(task, w->attempt, w->delay_ms, w->discard, now, std::move(w->stage),
                           std::move(w->why)));
  } else if (auto* p = std::get_if<task_progress>(&r.what)) {
    perform(talk->progress(task, p->percent, std::move(p->text), now, std::move(p->stage)));
  } else if (auto* s = std::get_if<task_stage_done>(&r.what)) {
    perform(talk->stage_done(task, std::move(s->stage), std::move(s->result), now));
  } else if (auto* u = std::get_if<task_attempt_ended>(&r.what)) {
    perform(talk->attempt_ended(task, u->attempt, u->used, u->error, now, std::move(u->model)));
  } else if (auto* o = std::get_if<task_over>(&r.what)) {
    std::optional<attempt_usage> last;
    if (o->last)
      last = attempt_usage{o->last->attempt, o->last->used, o->last->error};
    perform(talk->finished(task, std::move(o->end), std::move(o->answer_extra), now, last));
  }
}

void session_state::task_down() {
  // It died without a word: the turn fails, the session lives.
  running = nullptr;
  last_active = self->clock().now();
  auto id = std::exchange(running_id, {});
  if (talk)
    perform(talk->crashed(id, world->wall()));
}

void session_state::crashed() {
  // CAF answers what is still in the mailbox; a promise that is dropped would be waited for.
  asked.deliver(refusal_answer(errc::internal));
  for (auto& [ask, promise] : stash)
    promise.deliver(refusal_answer(errc::internal));
  for (auto& [id, k] : promises)
    k.promise.deliver(refusal_answer(errc::internal));
}

session_actor::behavior_type session(session_actor::stateful_pointer<session_state> self,
                                     session_world_ptr world, session_key key, lobby_actor lobby,
                                     session_past past) {
  guard(actor_kind::session, self, [self] { self->state.crashed(); });
  auto& st = self->state;
  st.world = std::move(world);
  st.key = std::make_shared<const session_key>(std::move(key));
  st.lobby = std::move(lobby);
  st.after_crash = past.crashed;
  if (past.rest) {
    st.talk.emplace(*st.key, st.world->limits, *past.rest);
    st.life = next_life();
    st.last_active = self->clock().now();
    st.arm();
  }
  self->set_exit_handler([self](caf::exit_msg& m) {
    auto& s = self->state;
    if (s.running && m.source == s.running.address()) {
      if (m.reason)
        s.task_down();
      return;
    }
    if (m.reason == caf::exit_reason::unhandled_exception)
      return; // an earlier worker's, which has reported its end
    if (m.reason == caf::exit_reason::user_shutdown && s.talk) {
      // The server stops in order: the keeper commits what it is given until all sessions have
      // gone.
      s.perform(s.talk->checkpoint(s.world->wall()));
    }
    if (m.reason)
      self->quit(std::move(m.reason));
  });
  return {
      observed(
          actor_kind::session, self,
          [self](const session_ask_ptr& ask) -> caf::typed_response_promise<session_answer_ptr> {
            auto promise = self->make_response_promise<session_answer_ptr>();
            self->state.asked = promise;
            self->state.receive(ask, promise);
            self->state.asked = {}; // answered, or kept until it is
            return promise;
          }),
      observed(actor_kind::session, self, [self](task_report& r) { self->state.report(r); }),
      observed(actor_kind::session, self,
               [self](const session_alarm& a) { self->state.on_alarm(a.generation); }),
      observed(actor_kind::session, self,
               [self](const record_again& r) {
                 if (self->state.talk && r.life == self->state.life)
                   self->state.record(record_effect{*r.what});
               }),
      observed(actor_kind::session, self,
               [self](const checkpoint_alarm&) {
                 auto& s = self->state;
                 s.checkpoint_out = false;
                 if (!s.talk || !s.running)
                   return;
                 s.perform(s.talk->checkpoint(s.world->wall()));
                 s.arm_checkpoint();
               }),
  };
}

} // namespace parlor
