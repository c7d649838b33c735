#include "actors/keeper.hpp"

namespace parlor {

namespace {

constexpr auto tidy_every = std::chrono::seconds{5};
constexpr std::size_t prune_at_once = 200;

recorded_ptr failure(errc code) {
  auto r = std::make_shared<recorded>();
  r->error = code;
  return r;
}

} // namespace

void keeper_state::commit() {
  if (groups.empty())
    return;
  auto now = std::exchange(groups, {});
  auto who = std::exchange(promises, {});
  auto refuse_all = [&](errc code) {
    for (auto& p : who)
      p.deliver(failure(code));
  };
  if (broken)
    return refuse_all(errc::store_failed);
  try {
    auto from = std::chrono::steady_clock::now();
    auto results = writer->apply(now);
    committed(now, results,
              std::chrono::duration<double>{std::chrono::steady_clock::now() - from}.count());
    if (std::exchange(full, false))
      notice(log_level::info, "store_has_room");
    for (std::size_t i = 0; i < who.size(); ++i) {
      auto r = std::make_shared<recorded>();
      r->result = std::move(results[i]);
      who[i].deliver(recorded_ptr{std::move(r)});
    }
  } catch (const store::store_error& e) {
    store_trouble(journal_stats::commit, e.what());
    if (e.what_kind == store::store_error::kind::full) {
      full = true;
      return refuse_all(errc::store_full);
    }
    refuse_all(errc::store_failed);
    give_up(e.what());
  } catch (const std::exception& e) { // whether it is durable is not known
    store_trouble(journal_stats::commit, e.what());
    refuse_all(errc::store_failed);
    give_up(e.what());
  }
}

void keeper_state::give_up(const std::string& why) {
  broken = true; // promise 9: after this nothing more is acknowledged
  options.on_broken(why);
}

keeper_actor::behavior_type keeper(keeper_actor::stateful_pointer<keeper_state> self,
                                   std::shared_ptr<store::writer> writer, keeper_options options) {
  guard(actor_kind::keeper, self);
  auto& st = self->state;
  st.writer = std::move(writer);
  st.options = std::move(options);
  self->set_exit_handler([self](caf::exit_msg& m) {
    if (m.reason == caf::exit_reason::user_shutdown)
      self->state.commit(); // what was there before: the message that would is behind this one
    if (m.reason)
      self->quit(std::move(m.reason));
  });
  self->delayed_send(self, tidy_every, tidy_store{});
  return {
      observed(actor_kind::keeper, self,
               [self](const fact_group_ptr& group) -> caf::typed_response_promise<recorded_ptr> {
                 auto& s = self->state;
                 auto promise = self->template make_response_promise<recorded_ptr>();
                 s.groups.push_back(group);
                 s.promises.push_back(promise);
                 if (s.groups.size() >= s.options.batch) {
                   s.commit();
                 } else if (!s.scheduled) {
                   s.scheduled = true;
                   self->send(self,
                              commit_now{}); // behind everything that is in the mailbox already
                 }
                 return promise;
               }),
      observed(actor_kind::keeper, self,
               [self](const commit_now&) {
                 self->state.scheduled = false;
                 self->state.commit();
               }),
      observed(actor_kind::keeper, self,
               [self](const tidy_store&) {
                 auto& s = self->state;
                 s.commit();
                 auto wall = s.options.wall();
                 auto more = false;
                 try {
                   if (!s.broken) {
                     more = s.writer->prune(wall - s.options.task_retention.count(),
                                            wall - s.options.key_retention.count(),
                                            prune_at_once) >= prune_at_once;
                     s.writer->checkpoint();
                   }
                 } catch (const store::store_error& e) {
                   store_trouble(journal_stats::tidy, e.what());
                   if (e.what_kind == store::store_error::kind::broken)
                     s.give_up(e.what());
                 } catch (const std::exception& e) {
                   store_trouble(journal_stats::tidy, e.what());
                   s.give_up(e.what());
                 }
                 self->delayed_send(self,
                                    more ? caf::timespan{std::chrono::milliseconds{10}}
                                         : caf::timespan{tidy_every},
                                    tidy_store{});
               }),
  };
}

archive_actor::behavior_type archive(archive_actor::stateful_pointer<archive_state> self,
                                     std::shared_ptr<store::reader> reader) {
  guard(actor_kind::archive, self);
  return {
      observed(actor_kind::archive, self,
               [reader](const store_query_ptr& query) -> store_reply_ptr {
                 auto r = std::make_shared<store_reply>();
                 try {
                   r->value = query->ask(*reader);
                 } catch (const std::exception& e) {
                   store_trouble(journal_stats::read, e.what());
                   r->value.reset(); // the asker says store_failed
                 }
                 return r;
               }),
  };
}

} // namespace parlor
