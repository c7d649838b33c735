#include "actors/lobby.hpp"

#include "actors/ask.hpp"

namespace parlor {

namespace {

constexpr auto expire_timeout = std::chrono::seconds{60}; // it waits for the disk

} // namespace

void lobby_state::expire_stored() {
  if (world->idle_expiry.count() == 0)
    return;
  auto query = std::make_shared<store_query>();
  auto before = world->wall() - world->idle_expiry.count();
  query->ask = [before](store::reader& r) -> std::any { return r.idle_sessions(before, 500); };
  parlor::ask(
      self, world->archive, std::chrono::seconds{30}, store_query_ptr{std::move(query)},
      [this](const store_reply_ptr& reply) {
        auto* found = std::any_cast<std::vector<session_key>>(&reply->value);
        if (found == nullptr)
          return;
        std::vector<session_key> mine;
        for (auto& k : *found)
          if (std::hash<session_key>{}(k) % options.partitions == options.partition)
            mine.push_back(k);
        struct cleaning {
          std::size_t asked, gone = 0;
        };
        auto all = std::make_shared<cleaning>(cleaning{mine.size()});
        auto answered = [all](bool gone) {
          all->gone += gone ? 1 : 0;
          if (--all->asked == 0 && all->gone > 0)
            notice(log_level::info, "sessions_expired", {{"count", std::to_string(all->gone)}});
        };
        for (auto& k : mine) {
          auto what = std::make_shared<session_ask>();
          what->what = session_ask::kind::expire;
          what->key = k;
          parlor::ask(
              self, lobby_actor{self}, expire_timeout, session_ask_ptr{std::move(what)},
              [answered](const session_answer_ptr& a) { answered(a->why.code == errc::none); },
              [answered](caf::error&) { answered(false); });
        }
      },
      [](caf::error&) { /* tried again at the next sweep */ });
}

lobby_actor::behavior_type lobby(lobby_actor::stateful_pointer<lobby_state> self,
                                 session_world_ptr world, lobby_options options) {
  guard(actor_kind::lobby, self);
  self->state.world = std::move(world);
  self->state.options = options;
  self->set_down_handler([self](caf::down_msg& m) {
    auto& s = self->state;
    if (auto i = s.keys.find(m.source); i != s.keys.end()) {
      auto key = std::move(i->second);
      s.keys.erase(i);
      s.sessions.erase(key);
      s.crashed.insert(key);
      if (s.options.lost)
        s.options.lost(key);
    }
  });
  self->set_exit_handler([self](caf::exit_msg& m) {
    for (auto& [key, e] : self->state.sessions)
      self->send_exit(e.actor, caf::exit_reason::kill);
    self->state.sessions.clear();
    self->quit(std::move(m.reason));
  });
  if (self->state.world->idle_expiry.count() > 0)
    self->delayed_send(self, caf::timespan{options.sweep_every}, sweep{});
  return {
      observed(actor_kind::lobby, self,
               [self](const session_ask_ptr& ask) -> caf::delegated<session_answer_ptr> {
                 auto& s = self->state;
                 auto i = s.sessions.find(ask->key);
                 if (i == s.sessions.end()) {
                   auto made =
                       self->spawn<caf::monitored>(session, s.world, ask->key, lobby_actor{self},
                                                   s.crashed.erase(ask->key) != 0);
                   s.keys.emplace(made.address(), ask->key);
                   i = s.sessions.emplace(ask->key, lobby_state::entry{made, 0}).first;
                 }
                 ++i->second.sent;
                 return self->delegate(i->second.actor, ask);
               }),
      observed(actor_kind::lobby, self,
               [self](const leave& l) -> bool {
                 auto& s = self->state;
                 auto i = s.sessions.find(l.key);
                 if (i == s.sessions.end() || i->second.actor != self->current_sender())
                   return true;
                 if (i->second.sent != l.received)
                   return false; // a request is on its way to it
                 s.keys.erase(i->second.actor.address());
                 self->demonitor(i->second.actor.address());
                 s.sessions.erase(i);
                 return true;
               }),
      observed(actor_kind::lobby, self,
               [self](const sweep&) {
                 self->state.expire_stored();
                 self->delayed_send(self, caf::timespan{self->state.options.sweep_every}, sweep{});
               }),
  };
}

} // namespace parlor
