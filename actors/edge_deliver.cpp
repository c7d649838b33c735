#include "actors/edge.hpp"

// What happens, handed to the connections that watch.

#include "actors/edge_answers.hpp"
#include "http/cork.hpp"
#include "protocol/dialects/chat_sessions.hpp"
#include "protocol/dialects/pipeline_stream.hpp"
#include "protocol/sse.hpp"

namespace parlor {

void edge_state::open(watcher& w, const task_view* task, bool fresh) {
  auto request = std::move(w.request);
  auto& v = *request;
  http::response head;
  head.headers = v.headers;
  head.headers.push_back({"Content-Type", "text/event-stream; charset=utf-8"});
  head.headers.push_back({"Cache-Control", "no-cache, no-transform"});
  head.headers.push_back({"X-Accel-Buffering", "no"});
  if (v.what == visit::kind::chat_stream)
    head.headers.push_back({"X-Session-ID", w.key.id});
  if (v.turn.kind == task_kind::pipeline) // its events do not name it
    head.headers.push_back({"X-Task-ID", w.task});
  w.open = true;
  v.exchange->open(std::move(head), std::string{sse::keepalive});
  if (!v.hello.empty())
    v.exchange->push(as_chunk(std::string{v.hello}));
  if (v.what == visit::kind::plan_stream) {
    aging.emplace(w.id, self->clock().now() + options.stream_lifetime);
    if (!std::exchange(aging_out, true))
      self->delayed_send(self, caf::timespan{options.stream_lifetime}, age_streams{});
  }
  if (v.shape->greet != nullptr) {
    auto hello = v.shape->greet(v.lang, options.wall(), task, fresh);
    if (!hello.empty())
      v.exchange->push(as_chunk(std::move(hello)));
  }
}

edge_state::audience* edge_state::audience_of(const std::shared_ptr<const session_key>& key) {
  if (auto i = by_address.find(key.get()); i != by_address.end())
    return i->second;
  auto s = by_session.find(*key);
  if (s == by_session.end())
    return nullptr;
  auto& found = s->second;
  by_address.erase(found.known_as.get()); // of an earlier life of the session
  found.known_as = key;
  by_address.emplace(key.get(), &found);
  return &found;
}

/// Whether it is told what happens to that task. Its own is known by its header, once that has
/// come.
bool edge_state::concerns(watcher& w, const event& e) {
  if (w.task.empty() || !e.task || e.task == w.task_known)
    return true;
  if (e.task->id != w.task)
    return false;
  w.task_known = e.task;
  return true;
}

void edge_state::on_event(const published& p) {
  auto* here = audience_of(p.key);
  if (here == nullptr)
    return;
  auto over = ends_task(p.what->kind);
  if (over)
    options.attended->ended(*p.key, p.what->task->id);
  // Encoded once for each dialect and language in use; watchers share the bytes.
  struct encoded {
    stream_shape::encoder how;
    language lang;
    http::chunk bytes;
  };
  boost::container::small_vector<encoded, 2> cache;
  http::cork cork;
  socket_frames frames;
  auto told = here->all; // some may go by what they are told, and the audience with the last one
  for (auto& m : told) {
    if (&m != &told.front() && !watchers.contains(m.id))
      continue;
    auto& w = *m.who;
    if (p.what->seq <= w.seen)
      continue;
    if (over && w.attends) // a socket may stay for thousands of them
      std::erase(*w.attends, p.what->task->id);
    // That there will be no more is told to whoever is behind, too: there is nothing left to catch
    // up with.
    if (!w.live && !(w.behind && ends_session(p.what->kind)))
      continue;
    if (w.stored && p.what->kind != event_kind::session_deleted)
      continue; // what has ended stays when its session expires
    if (!concerns(w, *p.what))
      continue;
    if (w.what == visit::kind::chat) {
      give(w, p.what, nullptr);
      continue;
    }
    if (w.out->backlog() > http::outbox::high_water && !ends_session(p.what->kind)) {
      w.live = false; // from here on it is a cursor
      w.behind = w.skims = true;
      continue;
    }
    if (w.socket) {
      tell(w, *p.what, &frames);
      continue;
    }
    http::chunk block;
    for (auto& c : cache)
      if (c.how == w.shape->encode && c.lang == w.lang)
        block = c.bytes;
    if (!block) {
      block = block_of(w, *p.what);
      cache.push_back({w.shape->encode, w.lang, block});
    }
    give(w, p.what, std::move(block));
  }
}

http::chunk edge_state::block_of(const watcher& w, const event& e) {
  auto encode = [&] { return as_chunk(w.shape->encode(options.epoch, w.lang, e)); };
  if (!e.end || e.end->content.size() < http::outbox::high_water)
    return encode();
  std::erase_if(long_ends, [](auto& k) { return k.block.expired(); });
  for (auto& k : long_ends)
    if (k.how == w.shape->encode && k.lang == w.lang && k.task == e.task->id)
      if (auto block = k.block.lock())
        return block;
  auto block = encode();
  long_ends.push_back({e.task->id, w.shape->encode, w.lang, block});
  return block;
}

void edge_state::give(watcher& w, const event_ptr& e, http::chunk block) {
  auto last = (!w.task.empty() && ends_task(e->kind)) || ends_session(e->kind);
  if (w.what == visit::kind::chat) {
    if (last)
      answer_json(w, *e);
    return;
  }
  w.seen = e->seq;
  if (!block)
    block = block_of(w, *e);
  if (!block->empty()) {
    w.out->push(std::move(block));
    stats_of_edges().delivered.fetch_add(1, std::memory_order_relaxed);
  }
  if (ends_session(e->kind))
    w.listening = 0; // the session has dropped everybody
  if (last)
    end(w.id, true);
}

void edge_state::answer_json(watcher& w, const event& last) {
  auto& v = *w.request;
  if (last.kind == event_kind::completed && last.end) {
    task_view t;
    t.id = w.task;
    t.session = w.key.id;
    t.model = last.task->model;
    t.status = task_status::completed;
    t.created_at = last.task->created_at;
    t.updated_at = last.at;
    if (v.turn.kind == task_kind::pipeline)
      respond_json(v, 200, pipeline_stream::answer(*last.end),
                   {{"X-Session-ID", w.key.id}, {"X-Task-ID", w.task}});
    else
      respond_json(v, 200, chat_sessions::answer(t, *last.end), {{"X-Session-ID", w.key.id}});
  } else {
    auto code = last.end ? last.end->error
                         : (last.kind == event_kind::session_expired ? errc::session_expired
                                                                     : errc::session_deleted);
    refusal why{code};
    if (v.turn.kind == task_kind::pipeline && last.end)
      why.detail = pipeline_stream::failure_text(*last.end, v.lang);
    refuse(v, why);
  }
  if (ends_session(last.kind))
    w.listening = 0;
  end(w.id, false);
}

} // namespace parlor
