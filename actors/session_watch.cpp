#include "actors/session.hpp"

// Who listens to the session, and what they have missed.

#include "actors/ask.hpp"

#include <algorithm>

namespace parlor {

void session_state::listen(const listener_actor& l) {
  auto i = std::ranges::find(listeners, l, &listening::who);
  if (i == listeners.end())
    listeners.push_back({l, 1});
  else
    ++i->times;
}

namespace {

/// A gap is announced, never hidden: how things stand, instead of what has happened.
std::shared_ptr<session_answer> reset_answer(const conversation& talk, const std::string& task) {
  auto a = std::make_shared<session_answer>();
  a->reset = true;
  a->the_session = talk.view();
  a->last_seq = talk.last_told();
  if (task.empty()) {
    a->open = talk.open_tasks();
    a->the_task = talk.task(a->the_session->active_task);
  } else {
    a->the_task = talk.task(task);
    a->ended = !a->the_task;
  }
  return a;
}

} // namespace

void session_state::drop_listener(const listener_actor& l) {
  auto i = std::ranges::find(listeners, l, &listening::who);
  if (i != listeners.end() && --i->times == 0)
    listeners.erase(i);
  last_active = self->clock().now();
  arm();
}

bool session_state::is_there() const { return talk->durable() && !talk->removed(); }

void session_state::watch(const session_ask& ask,
                          caf::typed_response_promise<session_answer_ptr> promise) {
  if (!is_there()) { // a session whose first turn is not durable may yet not come to be
    promise.deliver(refusal_answer(errc::session_not_found));
    return;
  }
  auto after = ask.task.empty() ? talk->last_told() : 0;
  if (ask.after) {
    auto& c = *ask.after;
    auto known = c.epoch == world->epoch && c.seq <= talk->last_told() &&
                 (c.seq == 0 || c.seq + 1 >= talk->first_seq());
    if (!known) {
      auto a = reset_answer(*talk, ask.task);
      a->ahead = c.epoch == world->epoch && c.seq > talk->last_told();
      a->life = life;
      if (ask.listener && !a->ended)
        listen(ask.listener);
      promise.deliver(session_answer_ptr{std::move(a)});
      return;
    }
    after = c.seq;
  }
  // From now on everything is published to the listener; the answer, sent later by this same actor,
  // arrives after what it contains, and before what it does not.
  if (ask.listener)
    listen(ask.listener);
  recall(std::make_shared<const session_ask>(ask), after, {}, 0, std::move(promise));
}

void session_state::recall(session_ask_ptr ask, std::uint64_t done, std::vector<event_ptr> found,
                           std::size_t used,
                           caf::typed_response_promise<session_answer_ptr> promise) {
  auto from_memory = talk->first_recent();
  if (used >= world->page || done + 1 >= from_memory || talk->last_told() <= done)
    return answer_watch(*ask, done, std::move(found), used, promise);
  auto query = std::make_shared<store_query>();
  // What memory holds when the disk is asked is taken from there, or, if it has left memory by
  // then, from the disk again.
  past what{done, from_memory - 1, world->page - used};
  query->ask = [key = *key, task = ask->task, what](store::reader& r) -> std::any {
    if (task.empty())
      return r.past_of_session(key, what);
    return r.past_of_task(key.tenant, task, what).value_or(past_page{{}, what.upto, false});
  };
  auto id = keep(promise); // only in case that the session crashes
  parlor::ask(
      self, world->archive, session_world::store_timeout, store_query_ptr{std::move(query)},
      [this, ask, id, found = std::move(found), used, promise, then = life,
       what](const store_reply_ptr& reply) mutable {
        promises.erase(id);
        if (!talk || life != then) { // removed meanwhile
          promise.deliver(refusal_answer(errc::session_not_found));
          return;
        }
        auto* page = std::any_cast<past_page>(&reply->value);
        if (page == nullptr) {
          if (ask->listener)
            drop_listener(ask->listener);
          promise.deliver(refusal_answer(errc::store_failed));
          return;
        }
        if (page->gap) {
          auto a = reset_answer(*talk, {});
          a->life = life;
          promise.deliver(session_answer_ptr{std::move(a)});
          return;
        }
        for (auto& e : page->events) {
          used += size_in_page(*e);
          found.push_back(e);
        }
        if (page->upto < what.upto && !found.empty()) // it is full
          return answer_watch(*ask, page->upto, std::move(found), used, promise);
        recall(ask, page->upto, std::move(found), used, std::move(promise));
      },
      [this, ask, id, promise, then = life](caf::error&) mutable {
        promises.erase(id);
        if (ask->listener && talk && life == then)
          drop_listener(ask->listener);
        promise.deliver(refusal_answer(errc::store_failed));
      });
}

void session_state::answer_watch(const session_ask& ask, std::uint64_t done,
                                 std::vector<event_ptr> found, std::size_t used,
                                 caf::typed_response_promise<session_answer_ptr>& promise) {
  auto a = std::make_shared<session_answer>();
  a->life = life;
  a->events = std::move(found);
  a->last_seq = done;
  auto& recent = talk->recent();
  auto next = std::partition_point(recent.begin(), recent.end(),
                                   [done](const event_ptr& e) { return e->seq <= done; });
  auto full = done + 1 < talk->first_recent(); // else memory goes on from there
  for (; !full && next != recent.end(); ++next) {
    auto& e = **next;
    if (ask.task.empty() || !e.task || e.task->id == ask.task) {
      if (used != 0 && used + size_in_page(e) > world->page)
        break;
      used += size_in_page(e);
      a->events.push_back(*next);
    }
    a->last_seq = e.seq;
  }
  a->more = full || next != recent.end();
  if (!a->more)
    a->last_seq = talk->last_told();
  if (ask.task.empty()) {
    a->open = talk->open_tasks();
  } else {
    a->the_task = talk->task(ask.task);
    a->ended = !a->the_task;
  }
  if (a->ended && ask.listener)
    drop_listener(ask.listener); // nothing will follow
  promise.deliver(session_answer_ptr{std::move(a)});
}

} // namespace parlor
