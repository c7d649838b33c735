#include "actors/edge.hpp"

// Requests that name a task: what the store knows of it, and if it has not ended, what its session
// does.

#include "actors/ask.hpp"
#include "actors/edge_answers.hpp"
#include "protocol/dialects/generate_async.hpp"

#include <algorithm>

namespace parlor {

namespace {

const stream_shape* shape_for(const visit& v, const store::stored_task& t) {
  return t.kind == task_kind::pipeline && v.pipeline_shape != nullptr ? v.pipeline_shape : v.shape;
}

bool watches(const visit& v) {
  using kind = visit::kind;
  return v.what == kind::task_stream || v.what == kind::chat || v.what == kind::chat_stream;
}

bool same_epoch(const visit& v, const std::string& epoch) {
  return v.after && v.after->epoch == epoch;
}

/// Of what its watchers have been told. More than that was told by another store, or is made up.
std::uint64_t last_number(const store::stored_session& s) {
  return s.view.state == "idle" ? s.view.last_seq : std::max(s.view.last_seq, s.lease);
}

/// Where what it is told of a task that has ended begins. `last`: as far as its session has come.
void begin(stored_past& found, const visit& v, const std::string& epoch, std::uint64_t last) {
  auto before_end = found.task.ended_seq - 1;
  if (v.what == visit::kind::chat) {
    found.after = before_end;
  } else if (!v.after) {
    // The generate dialect wants the end only; its deltas were asked for explicitly otherwise.
    auto* shape = shape_for(v, found.task);
    auto end_only = shape->greet != nullptr && shape->encode == generate_async::encode;
    found.after = end_only ? before_end : 0;
  } else if (same_epoch(v, epoch) && v.after->seq <= last) {
    found.after = v.after->seq;
  } else {
    found.reset = v.after->seq != 0;
    found.after = found.reset ? before_end : 0; // the snapshot holds all but the end already
  }
}

} // namespace

void edge_state::with_task(const visit_ptr& v, int looks) {
  auto query = std::make_shared<store_query>();
  query->ask = [v, epoch = options.epoch, room = options.page](store::reader& r) -> std::any {
    auto& tenant = v->key.tenant;
    std::optional<stored_past> found;
    auto head = r.find_task_head(tenant, v->task);
    if (!head)
      return found;
    found.emplace().task = std::move(*head);
    if (!ended(found->task.view.status))
      return found;
    if (v->what == visit::kind::generate_poll) {
      if (auto whole = r.find_task(tenant, v->task))
        found->task = std::move(*whole);
    } else if (watches(*v)) {
      // Ids are a session's: one behind the end is of a later turn, if there has been one.
      auto later = same_epoch(*v, epoch) && v->after->seq > found->task.ended_seq;
      auto session = later ? r.find_session(found->task.key) : std::nullopt;
      begin(*found, *v, epoch, session ? last_number(*session) : found->task.ended_seq);
      if (found->reset) {
        if (!later)
          session = r.find_session(found->task.key);
        if (session)
          found->session = std::move(session->view);
        else // the task is what is left of it
          found->session = {.id = found->task.key.id,
                            .created_at = found->task.view.created_at,
                            .last_accessed = found->task.ended_at};
      }
      if (found->after < found->task.ended_seq)
        found->page = r.past_of_task(tenant, v->task, past{.after = found->after, .room = room})
                          .value_or(past_page{});
    }
    return found;
  };
  parlor::ask(
      self, options.archive, ask_timeout, store_query_ptr{std::move(query)},
      [this, v, looks](const store_reply_ptr& reply) {
        auto* found = std::any_cast<std::optional<stored_past>>(&reply->value);
        if (found == nullptr)
          return refuse(*v, {errc::store_failed});
        if (!*found)
          return refuse(*v, {errc::task_not_found});
        task_found(v, **found, looks);
      },
      [this, v](caf::error&) { refuse(*v, {errc::store_failed}); });
}

void edge_state::task_found(const visit_ptr& v, const stored_past& found, int looks) {
  using kind = visit::kind;
  auto& t = found.task;
  auto is_ended = ended(t.view.status);
  if (auto* shape = shape_for(*v, t); shape != v->shape) {
    auto again = std::make_shared<visit>(*v);
    again->shape = shape;
    return task_found(again, found, looks);
  }
  if (watches(*v)) {
    if (is_ended)
      return replay_ended(v, found);
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

void edge_state::replay_ended(const visit_ptr& v, const stored_past& found) {
  auto& t = found.task;
  if (v->after) {
    auto ours = same_epoch(*v, options.epoch);
    auto reset = found.reset || !ours;
    if (!reset && found.after >= t.ended_seq) { // nothing left to say: browsers stop at a 204
      http::response r;
      r.status = 204;
      r.headers = v->headers;
      return v->exchange->respond(std::move(r));
    }
    stats_of_edges().came_back(reset, reset && ours);
  }
  auto& told = found.page.events;
  if (told.empty()) // between two looks into the store it has been removed
    return refuse(*v, {errc::task_not_found});
  if (!ends_task(told.back()->kind) && !has_room(*v, t.key)) // else it takes none
    return;
  auto& w = add_stream(v, t.key, v->task);
  if (v->what == visit::kind::chat)
    return give(w, told.back(), nullptr);
  w.stored = w.behind = true;
  w.seen = found.after;
  open(w, &t.view, !v->after);
  if (found.reset) {
    auto view = t.view;
    view.end = told.back()->end;
    view.text = view.end->content;
    v->exchange->push(as_chunk(v->shape->reset(options.epoch, &view, found.session)));
  }
  tell_stored(w, found.page);
}

/// The next page of a task that has ended.
void edge_state::replay_on(watcher& w) {
  auto query = std::make_shared<store_query>();
  query->ask = [tenant = w.key.tenant, task = w.task,
                what = past{.after = w.seen, .room = options.page}](store::reader& r) -> std::any {
    return r.past_of_task(tenant, task, what);
  };
  w.asked = true;
  parlor::ask(
      self, options.archive, ask_timeout, store_query_ptr{std::move(query)},
      [this, id = w.id](const store_reply_ptr& reply) {
        auto i = watchers.find(id);
        if (i == watchers.end())
          return;
        i->second.asked = false;
        auto* page = std::any_cast<std::optional<past_page>>(&reply->value);
        // Removed, or not to be read: the stream is not whole.
        if (page == nullptr || !*page || (*page)->events.empty())
          return lose(i->second);
        tell_stored(i->second, **page);
      },
      [this, id = w.id](caf::error&) {
        if (auto i = watchers.find(id); i != watchers.end())
          lose(i->second);
      });
}

void edge_state::tell_stored(watcher& w, const past_page& page) {
  auto id = w.id;
  if (w.out->backlog() <= http::outbox::high_water) // else it would only lie there
    for (auto& e : page.events) {
      give(w, e, nullptr);
      if (watchers.find(id) == watchers.end())
        return; // that was the end
    }
  go_on(w);
}

} // namespace parlor
