#include "actors/session.hpp"

// Who listens to the session, and what they have missed.

#include "actors/ask.hpp"
#include "actors/replay.hpp"

#include <algorithm>

namespace parlor {

void session_state::listen(const listener_actor& l) {
  auto& entry = listeners[caf::actor_cast<caf::actor_addr>(l)];
  entry.first = l;
  ++entry.second;
}

namespace {

/// A gap is announced, never hidden: how things stand, instead of what has happened.
std::shared_ptr<session_answer> reset_answer(const conversation& talk, const std::string& task) {
  auto a = std::make_shared<session_answer>();
  a->reset = true;
  a->the_session = talk.view();
  a->last_seq = talk.last_told();
  if (!task.empty()) {
    a->the_task = talk.task(task);
    a->ended = !a->the_task;
  }
  return a;
}

struct missed {
  std::vector<event_ptr> events;
  bool gap = false; // some of it is not kept any more
};

} // namespace

void session_state::drop_listener(const listener_actor& l) {
  auto i = listeners.find(caf::actor_cast<caf::actor_addr>(l));
  if (i != listeners.end() && --i->second.second == 0)
    listeners.erase(i);
  last_active = self->clock().now();
  arm();
}

void session_state::watch(const session_ask& ask,
                          caf::typed_response_promise<session_answer_ptr> promise) {
  if (!talk->exists() || talk->removed()) {
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
  if (after + 1 >= talk->first_recent() || talk->last_told() <= after)
    return answer_watch(ask, after, {}, promise);
  auto query = std::make_shared<store_query>();
  query->ask = [key = *key, task = ask.task, after](store::reader& r) -> std::any {
    missed found;
    auto& events = found.events;
    auto add = [&](const store::stored_task& t) {
      for (auto& e : stored_events(t))
        if (e->seq > after)
          events.push_back(std::move(e));
    };
    if (task.empty()) {
      for (auto& t : r.tasks_after(key, after, 10'000, &found.gap))
        add(t);
    } else if (auto t = r.find_task(key.tenant, task)) {
      add(*t);
    }
    std::sort(events.begin(), events.end(), [](auto& a, auto& b) { return a->seq < b->seq; });
    return found;
  };
  auto again = std::make_shared<session_ask>(ask);
  parlor::ask(
      self, world->archive, session_world::store_timeout, store_query_ptr{std::move(query)},
      [this, again, after, promise, same = loaded_times](const store_reply_ptr& reply) mutable {
        if (!talk || loaded_times != same) { // removed meanwhile
          promise.deliver(refusal_answer(errc::session_not_found));
          return;
        }
        auto* found = std::any_cast<missed>(&reply->value);
        if (found == nullptr)
          promise.deliver(refusal_answer(errc::store_failed));
        else if (found->gap)
          promise.deliver(session_answer_ptr{reset_answer(*talk, {})});
        else
          answer_watch(*again, after, std::move(found->events), promise);
      },
      [promise](caf::error&) mutable { promise.deliver(refusal_answer(errc::store_failed)); });
}

void session_state::answer_watch(const session_ask& ask, std::uint64_t after,
                                 std::vector<event_ptr> stored,
                                 caf::typed_response_promise<session_answer_ptr>& promise) {
  auto a = std::make_shared<session_answer>();
  auto mine = [&](const event_ptr& e) {
    return ask.task.empty() || !e->task || e->task->id == ask.task;
  };
  // What is both stored and recent is taken from memory.
  auto from_memory = talk->recent().empty() ? talk->last_told() + 1 : talk->recent().front()->seq;
  for (auto& e : stored)
    if (e->seq < from_memory && e->seq <= talk->last_told() && mine(e))
      a->events.push_back(std::move(e));
  for (auto& e : talk->recent())
    if (e->seq > after && mine(e))
      a->events.push_back(e);
  a->last_seq = talk->last_told();
  if (!ask.task.empty()) {
    a->the_task = talk->task(ask.task);
    a->ended = !a->the_task;
  }
  if (a->ended && ask.listener)
    drop_listener(ask.listener); // nothing will follow
  promise.deliver(session_answer_ptr{std::move(a)});
}

} // namespace parlor
