#include "actors/edge.hpp"

// Plans that a service outside makes (docs/clients/plan-callback.md): pages that wait for them,
// starts, callbacks, and the figures.

#include "actors/ask.hpp"
#include "actors/edge_answers.hpp"
#include "protocol/dialects/plan_callback.hpp"

#include <algorithm>

namespace parlor {

// -- pages
// -------------------------------------------------------------------------------------------

/// A page may come before anybody has used its session: then the session begins.
void edge_state::plan_register(const visit_ptr& v) {
  if (options.draining())
    return refuse(*v, {errc::draining});
  if (!has_room(*v, v->key)) // before it begins
    return;
  auto a = std::make_shared<session_ask>();
  a->what = session_ask::kind::open;
  a->key = v->key;
  ask(a, v, [this, v](const session_answer& opened) {
    if (opened.why.code != errc::none)
      return refuse(*v, opened.why);
    notice(log_level::info, "plan_session_registered",
           {{"session", v->key.id}, {"request_id", v->request_id}});
    plan_page(v);
  });
}

void edge_state::plan_page(const visit_ptr& v) {
  auto query = std::make_shared<store_query>();
  query->ask = [key = v->key](store::reader& r) -> std::any { return r.find_external(key); };
  parlor::ask(
      self, options.archive, ask_timeout, store_query_ptr{std::move(query)},
      [this, v](const store_reply_ptr& reply) {
        auto* found = std::any_cast<std::optional<store::external_session>>(&reply->value);
        if (found == nullptr)
          return refuse(*v, {errc::store_failed});
        if (!*found)
          return refuse(*v, {errc::session_not_found});
        // What happens from here on has a number above what the store has said.
        auto& [session, newest] = **found;
        auto* task = newest ? &newest->view : nullptr;
        auto page = std::make_shared<visit>(*v);
        page->hello = plan_callback::connected(v->key.id, task);
        page->on_reset = plan_callback::reset(options.epoch, v->lang, task, session.view);
        page->known = !newest                      ? session.view.last_seq
                      : ended(newest->view.status) ? newest->ended_seq
                                                   : newest->accepted_seq;
        auto after = v->after;
        if (!after) // the plan, or the error, is for whoever comes first
          after = cursor{options.epoch,
                         newest && ended(newest->view.status) ? page->known - 1 : page->known};
        watch(page, v->key, {}, std::move(after), !v->after);
      },
      [this, v](caf::error&) { refuse(*v, {errc::store_failed}); });
}

void edge_state::age() {
  auto now = self->clock().now();
  while (!aging.empty() && aging.begin()->second <= now) {
    auto& w = watchers.at(aging.begin()->first);
    w.out->push(as_chunk(plan_callback::connection_timeout()));
    end(w.id, true); // and so it is no longer in `aging`
  }
  aging_out = !aging.empty();
  if (aging_out)
    self->delayed_send(self, caf::timespan{aging.begin()->second - now}, age_streams{});
}

// -- starts
// ------------------------------------------------------------------------------------------

void edge_state::plan_start(const visit_ptr& v) {
  if (options.draining())
    return refuse(*v, {errc::draining});
  auto a = std::make_shared<session_ask>();
  a->what = session_ask::kind::submit;
  a->key = v->key;
  a->turn = v->turn;
  a->turn.instead = options.attended->abandoned(a->key);
  ask(a, v, [this, v](const session_answer& taken) {
    if (taken.why.code != errc::none)
      return refuse(*v, taken.why);
    if (v->inside)
      v->inside->accepted(turn_gate::clock::now());
    std::vector<http::header> more;
    if (taken.replayed)
      more.push_back({"Idempotency-Replayed", "true"});
    respond_json(
        *v, 202,
        plan_callback::started_json(v->key.id, options.callback_url(v->key, taken.task, 1)),
        std::move(more));
  });
}

// -- callbacks
// ---------------------------------------------------------------------------------------

void edge_state::plan_update(const visit_ptr& v) {
  auto a = std::make_shared<session_ask>();
  a->key = v->key;
  if (v->because != errc::none)
    return ask(a, v, [this, v](const session_answer& there) {
      refuse(*v, {there.why.code != errc::none ? there.why.code : v->because});
    });
  a->what = session_ask::kind::callback;
  a->task = v->task;
  a->news = v->news;
  ask(a, v, [this, v](const session_answer& done) {
    if (done.why.code == errc::not_waiting || done.why.code == errc::task_ended)
      return plan_too_late(v);
    if (done.why.code != errc::none)
      return refuse(*v, done.why);
    auto pages = plan_pages(v->key);
    if (v->news.what == outside_news::kind::completed)
      notice(log_level::info, "plan_delivered",
             {{"session", v->key.id},
              {"task", done.task},
              {"delivered", std::to_string(pages)},
              {"request_id", v->request_id}});
    respond_json(*v, 200, plan_callback::received_json(v->key.id, v->news.what, pages));
  });
}

/// All that concerns one session comes to one edge.
std::size_t edge_state::plan_pages(const session_key& key) const {
  auto here = by_session.find(key);
  if (here == by_session.end())
    return 0;
  return static_cast<std::size_t>(
      std::count_if(here->second.all.begin(), here->second.all.end(), [](const member& m) {
        return m.who->listening && m.who->what == visit::kind::plan_stream;
      }));
}

/// Nobody waits for it: unless it says again what has ended the task, it is refused.
void edge_state::plan_too_late(const visit_ptr& v) {
  auto query = std::make_shared<store_query>();
  query->ask = [key = v->key, task = v->task](store::reader& r) -> std::any {
    if (!task.empty())
      return r.find_task(key.tenant, task);
    auto found = r.find_external(key);
    return found ? std::move(found->newest) : std::nullopt;
  };
  parlor::ask(
      self, options.archive, ask_timeout, store_query_ptr{std::move(query)},
      [this, v](const store_reply_ptr& reply) {
        auto* task = std::any_cast<std::optional<store::stored_task>>(&reply->value);
        if (task == nullptr)
          return refuse(*v, {errc::store_failed});
        if (*task && (*task)->key == v->key && (*task)->view.end &&
            plan_callback::repeats(v->news, *(*task)->view.end))
          return respond_json(*v, 200, plan_callback::received_json(v->key.id, v->news.what, 0));
        notice(log_level::info, "plan_callback_too_late",
               {{"session", v->key.id}, {"task", v->task}, {"request_id", v->request_id}});
        refuse(*v, {errc::not_waiting});
      },
      [this, v](caf::error&) { refuse(*v, {errc::store_failed}); });
}

// -- figures
// -----------------------------------------------------------------------------------------

void edge_state::count_plans(std::function<void()> then) {
  auto query = std::make_shared<store_query>();
  query->ask = [](store::reader& r) -> std::any { return r.count_external(); };
  parlor::ask(
      self, options.archive, ask_timeout, store_query_ptr{std::move(query)},
      [then](const store_reply_ptr& reply) {
        if (auto* n = std::any_cast<store::external_counts>(&reply->value)) {
          all_external.waiting_sessions = n->waiting;
          all_external.running_sessions = n->running;
          all_external.completed_sessions = n->completed;
          all_external.failed_sessions = n->failed;
        }
        then();
      },
      [then](caf::error&) {
        then(); /* the last figures are as good as any */
      });
}

void edge_state::plan_stats(const visit_ptr& v) {
  count_plans([v] {
    auto& all = all_external;
    plan_callback::figures f;
    f.waiting = all.waiting_sessions;
    f.generating = all.running_sessions;
    f.completed = all.completed_sessions;
    f.error = all.failed_sessions;
    f.connections =
        static_cast<std::uint64_t>(std::max<std::int64_t>(0, stats_of_edges().plan_pages));
    f.plans = all.completed;
    f.generation_ms = all.generation_ms;
    f.failures = all.failed;
    f.timeouts = all.timeouts;
    respond_json(*v, 200, plan_callback::stats_json(f), {{"Cache-Control", "no-cache"}});
  });
}

} // namespace parlor
