#include "actors/lobby.hpp"

#include "actors/ask.hpp"

namespace parlor {

namespace {

constexpr auto expire_timeout = std::chrono::seconds{60}; // it waits for the disk

void tell_expired(std::size_t n) {
  if (n > 0)
    notice(log_level::info, "sessions_expired", {{"count", std::to_string(n)}});
}

} // namespace

void lobby_state::expire_stored(const store::idle_place& after) {
  auto query = std::make_shared<store_query>();
  auto before = world->wall() - world->idle_expiry.count();
  query->ask = [before, n = options.sweep_page, after](store::reader& r) -> std::any {
    return r.idle_sessions(before, n, after);
  };
  sweeping = true;
  parlor::ask(
      self, world->archive, std::chrono::seconds{30}, store_query_ptr{std::move(query)},
      [this](const store_reply_ptr& reply) {
        auto* found = std::any_cast<store::idle_page>(&reply->value);
        sweeping = found != nullptr && found->more;
        if (found != nullptr)
          expire_page(*found);
      },
      [this](caf::error&) { sweeping = false; });
}

/// Those that are in use again, or still, are left for another time; what is behind them is not.
void lobby_state::expire_page(const store::idle_page& page) {
  struct cleaning {
    std::size_t asked = 1, gone = 0;
  };
  auto all = std::make_shared<cleaning>();
  auto answered = [this, all, last = page.last, more = page.more](bool gone) {
    all->gone += gone ? 1 : 0;
    if (--all->asked > 0)
      return;
    tell_expired(all->gone);
    if (more)
      expire_stored(last);
  };
  for (auto& k : page.sessions) {
    if (std::hash<session_key>{}(k) % options.partitions != options.partition)
      continue;
    ++all->asked;
    expire(k, answered);
  }
  answered(false);
}

void lobby_state::expire(const session_key& key, std::function<void(bool)> answered) {
  auto what = std::make_shared<session_ask>();
  what->what = session_ask::kind::expire;
  what->key = key;
  parlor::ask(
      self, lobby_actor{self}, expire_timeout, session_ask_ptr{std::move(what)},
      [answered](const session_answer_ptr& a) { answered(a->why.code == errc::none); },
      [answered](caf::error&) { answered(false); });
}

/// The session of that name, with an actor.
lobby_state::entry& lobby_state::found(const session_key& key) {
  auto [i, fresh] = sessions.try_emplace(key);
  if (fresh)
    ++sessions_in_memory;
  auto& e = i->second;
  if (e.actor)
    return e;
  if (e.rest)
    resting.erase(e.due);
  e.actor = self->spawn<caf::monitored>(session, world, key, lobby_actor{self},
                                        session_past{crashed.erase(key) != 0, std::move(e.rest)});
  e.sent = 0;
  keys.emplace(e.actor.address(), &i->first);
  return e;
}

bool lobby_state::let_leave(const leave& l) {
  auto i = sessions.find(l.key);
  if (i == sessions.end() || i->second.actor != self->current_sender())
    return true;
  auto& e = i->second;
  if (e.sent != l.received)
    return false; // a request is on its way to it
  keys.erase(e.actor.address());
  self->demonitor(e.actor.address());
  if (l.rest) {
    e.actor = nullptr;
    e.rest = l.rest;
    e.due = resting.emplace(self->clock().now() + l.keep_for, &i->first);
    arm();
  } else {
    sessions.erase(i);
    --sessions_in_memory;
  }
  return true;
}

void lobby_state::on_let_go() {
  letting_go = false;
  while (!resting.empty() && resting.begin()->first <= self->clock().now()) {
    auto i = sessions.find(*resting.begin()->second);
    resting.erase(resting.begin());
    auto used = i->second.rest->last_accessed;
    auto key = i->first;
    sessions.erase(i);
    --sessions_in_memory;
    if (world->idle_expiry.count() > 0 && world->wall() - used >= world->idle_expiry.count())
      expire(key, [](bool gone) { tell_expired(gone ? 1 : 0); });
  }
  arm();
}

void lobby_state::arm() {
  if (resting.empty() || std::exchange(letting_go, true))
    return;
  auto wait = resting.begin()->first - self->clock().now();
  self->delayed_send(self, std::max(caf::timespan{wait}, caf::timespan{0}), let_go{});
}

lobby_actor::behavior_type lobby(lobby_actor::stateful_pointer<lobby_state> self,
                                 session_world_ptr world, lobby_options options) {
  guard(actor_kind::lobby, self);
  self->state.world = std::move(world);
  self->state.options = options;
  self->set_down_handler([self](caf::down_msg& m) {
    auto& s = self->state;
    if (auto i = s.keys.find(m.source); i != s.keys.end()) {
      auto key = *i->second;
      s.keys.erase(i);
      s.sessions.erase(key);
      --sessions_in_memory;
      s.crashed.insert(key);
      if (s.options.lost)
        s.options.lost(key);
    }
  });
  self->set_exit_handler([self](caf::exit_msg& m) {
    auto& s = self->state;
    for (auto& [key, e] : s.sessions)
      if (e.actor)
        self->send_exit(e.actor, m.reason);
    sessions_in_memory -= static_cast<std::int64_t>(s.sessions.size());
    s.keys.clear();
    s.resting.clear();
    s.sessions.clear();
    self->quit(std::move(m.reason));
  });
  if (self->state.world->idle_expiry.count() > 0)
    self->delayed_send(self, caf::timespan{options.sweep_every}, sweep{});
  return {
      observed(actor_kind::lobby, self,
               [self](const session_ask_ptr& ask) -> caf::delegated<session_answer_ptr> {
                 auto& e = self->state.found(ask->key);
                 ++e.sent;
                 return self->delegate(e.actor, ask);
               }),
      observed(actor_kind::lobby, self,
               [self](const leave& l) -> bool { return self->state.let_leave(l); }),
      observed(actor_kind::lobby, self, [self](const let_go&) { self->state.on_let_go(); }),
      observed(actor_kind::lobby, self,
               [self](const sweep&) {
                 auto& s = self->state;
                 if (s.world->idle_expiry.count() > 0 && !s.sweeping)
                   s.expire_stored();
                 self->delayed_send(self, caf::timespan{self->state.options.sweep_every}, sweep{});
               }),
  };
}

} // namespace parlor
