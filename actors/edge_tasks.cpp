#include "actors/edge.hpp"

// Requests that name a task: what the store knows of it, and if it has not ended, what its session
// does.

#include "actors/ask.hpp"
#include "actors/edge_answers.hpp"
#include "actors/replay.hpp"
#include "protocol/dialects/generate_async.hpp"

namespace parlor {

void edge_state::with_task(const visit_ptr& v, int looks) {
  auto query = std::make_shared<store_query>();
  query->ask = [tenant = v->key.tenant, task = v->task](store::reader& r) -> std::any {
    return r.find_task(tenant, task);
  };
  parlor::ask(
      self, options.archive, ask_timeout, store_query_ptr{std::move(query)},
      [this, v, looks](const store_reply_ptr& reply) {
        auto* found = std::any_cast<std::optional<store::stored_task>>(&reply->value);
        if (found == nullptr)
          return refuse(*v, {errc::store_failed});
        if (!*found)
          return refuse(*v, {errc::task_not_found});
        task_found(v, **found, looks);
      },
      [this, v](caf::error&) { refuse(*v, {errc::store_failed}); });
}

void edge_state::task_found(const visit_ptr& v, const store::stored_task& t, int looks) {
  using kind = visit::kind;
  auto is_ended = ended(t.view.status);
  if (t.kind == task_kind::pipeline && v->pipeline_shape && v->shape != v->pipeline_shape) {
    auto again = std::make_shared<visit>(*v);
    again->shape = v->pipeline_shape;
    return task_found(again, t, looks);
  }
  if (v->what == kind::task_stream || v->what == kind::chat || v->what == kind::chat_stream) {
    if (is_ended)
      return replay_ended(v, t);
    return watch(v, t.key, v->task, v->after, !v->after, looks);
  }
  auto a = std::make_shared<session_ask>();
  a->key = t.key;
  a->task = v->task;
  if (v->what == kind::generate_poll) {
    if (is_ended)
      return poll(v, t.view);
    return ask(a, v, [this, v, looks](const session_answer& now) {
      if (now.the_task)
        return poll(v, *now.the_task);
      if (looks > 0) // neither the store nor the session: it cannot have ended twice
        return refuse(*v, {now.why.code != errc::none ? now.why.code : errc::internal});
      with_task(v, looks + 1); // it ended between the two looks
    });
  }
  if (is_ended)
    return refuse(*v, {errc::task_ended});
  a->what = session_ask::kind::cancel;
  ask(a, v, [this, v, stored = t.view](const session_answer& done) {
    if (done.why.code != errc::none)
      return refuse(*v, done.why);
    auto view = stored;
    view.status = task_status::cancelled;
    respond_json(*v, 200, generate_async::cancelled_json(view, v->lang));
  });
}

void edge_state::poll(const visit_ptr& v, const task_view& t) {
  auto tag = generate_async::etag(t, v->lang);
  std::vector<http::header> more{{"ETag", tag}, {"Cache-Control", "no-cache"}};
  if (v->if_none_match == "*" || v->if_none_match.find(tag) != std::string::npos) {
    http::response r;
    r.status = 304;
    r.headers = v->headers;
    r.headers.insert(r.headers.end(), more.begin(), more.end());
    return v->exchange->respond(std::move(r));
  }
  respond_json(*v, 200, generate_async::task_json(t, v->lang), std::move(more));
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
  auto& w = add(v, v->exchange, t.key, v->task);
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

} // namespace parlor
