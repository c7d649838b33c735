#include "actors/session.hpp"

// Who listens to the session, and what they have missed.

#include "actors/ask.hpp"
#include "actors/replay.hpp"

#include <algorithm>
#include <limits>

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
  if (task.empty()) {
    a->open = talk.open_tasks();
    a->the_task = talk.task(a->the_session->active_task);
  } else {
    a->the_task = talk.task(task);
    a->ended = !a->the_task;
  }
  return a;
}

/// What the disk has of a session's events.
struct missed {
  std::vector<event_ptr> events;
  std::uint64_t whole_to = std::numeric_limits<std::uint64_t>::max();
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
  recall(std::make_shared<const session_ask>(ask), after, {}, std::move(promise));
}

void session_state::recall(session_ask_ptr ask, std::uint64_t done, std::vector<event_ptr> events,
                           caf::typed_response_promise<session_answer_ptr> promise) {
  auto from_memory = talk->first_recent();
  if (done + 1 >= from_memory || talk->last_told() <= done)
    return answer_watch(*ask, done, std::move(events), promise);
  auto query = std::make_shared<store_query>();
  query->ask = [key = *key, task = ask->task, done](store::reader& r) -> std::any {
    constexpr std::size_t page = 1000; // many more than can be open at once
    missed found;
    auto add = [&](const store::stored_task& t) {
      for (auto& e : stored_events(t))
        if (e->seq > done)
          found.events.push_back(std::move(e));
    };
    if (task.empty()) {
      auto tasks = r.tasks_after(key, done, page, &found.gap);
      for (auto& t : tasks)
        add(t);
      if (tasks.size() == page) // by accepted_seq: of those that follow nothing is before this
        found.whole_to = tasks.back().accepted_seq - 1;
    } else if (auto t = r.find_task(key.tenant, task)) {
      add(*t);
    }
    std::sort(found.events.begin(), found.events.end(),
              [](auto& a, auto& b) { return a->seq < b->seq; });
    return found;
  };
  auto id = keep(promise); // only in case that the session crashes
  parlor::ask(
      self, world->archive, session_world::store_timeout, store_query_ptr{std::move(query)},
      [this, ask, from_memory, id, events = std::move(events), promise,
       same = loaded_times](const store_reply_ptr& reply) mutable {
        promises.erase(id);
        if (!talk || loaded_times != same) { // removed meanwhile
          promise.deliver(refusal_answer(errc::session_not_found));
          return;
        }
        auto* found = std::any_cast<missed>(&reply->value);
        if (found == nullptr) {
          if (ask->listener)
            drop_listener(ask->listener);
          promise.deliver(refusal_answer(errc::store_failed));
          return;
        }
        if (found->gap) {
          promise.deliver(session_answer_ptr{reset_answer(*talk, {})});
          return;
        }
        // What memory held when the disk was asked is taken from there, or, if it has left memory
        // since, from the disk again.
        auto to = std::min(found->whole_to, from_memory - 1);
        for (auto& e : found->events)
          if (e->seq <= to)
            events.push_back(e);
        recall(ask, to, std::move(events), std::move(promise));
      },
      [this, ask, id, promise, same = loaded_times](caf::error&) mutable {
        promises.erase(id);
        if (ask->listener && talk && loaded_times == same)
          drop_listener(ask->listener);
        promise.deliver(refusal_answer(errc::store_failed));
      });
}

void session_state::answer_watch(const session_ask& ask, std::uint64_t done,
                                 std::vector<event_ptr> events,
                                 caf::typed_response_promise<session_answer_ptr>& promise) {
  auto a = std::make_shared<session_answer>();
  auto mine = [&](const event_ptr& e) {
    return ask.task.empty() || !e->task || e->task->id == ask.task;
  };
  a->events = std::move(events);
  for (auto& e : talk->recent())
    if (e->seq > done && mine(e))
      a->events.push_back(e);
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
