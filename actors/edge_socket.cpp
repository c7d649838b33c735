// WebSockets that watch a session: how they come and go, what they are told, and when there is
// nothing to tell. What they ask is in actors/edge_socket_asks.cpp.

#include "actors/edge_socket.hpp"

#include "actors/edge.hpp"
#include "actors/edge_answers.hpp"
#include "actors/replay.hpp"

#include <algorithm>

namespace parlor {

// -- its life ------------------------------------------------------------------------------------

void edge_state::open_socket(const visit_ptr& v) {
  if (options.draining())
    return refuse(*v, {errc::draining});
  if (!has_room(*v, v->key))
    return;
  auto wire = options.sockets.wire;
  wire.max_message = learning_ws::max_frame(options.sockets.limits);
  wire.protocol = v->protocol;
  // Read on the connection's strand: 28 MB of a question with photos hold up nobody else's edge.
  auto sink = [me = caf::actor_cast<edge_actor>(self), id = next_id,
               limits = options.sockets.limits](http::chunk text) {
    auto frame = std::make_shared<learning_ws::frame>(learning_ws::parse(*text, limits));
    caf::anon_send(me, socket_message{id, std::move(frame), std::move(text)});
  };
  auto socket = v->exchange->upgrade(wire, std::move(sink));
  auto& w = add(*v, socket, v->key, {});
  w.open = true;
  w.socket = std::make_unique<socket_state>();
  w.socket->wire = std::move(socket);
  join(w, std::nullopt);
}

void edge_state::close_socket(watcher& w, http::close_code code, std::string reason) {
  w.socket->wire->close(code, std::move(reason));
  end(w.id, false);
}

// -- what it is told -----------------------------------------------------------------------------

void edge_state::go_live(watcher& w) {
  if (w.socket->at != socket_state::phase::held)
    return;
  w.socket->at = socket_state::phase::going;
  catch_up(w);
}

void edge_state::caught_up(watcher& w, const session_answer& a) {
  auto& s = *w.socket;
  auto id = w.id;
  auto rewound = std::exchange(s.rewind_to, std::nullopt);
  w.live = w.behind = false;
  if (a.why.code == errc::session_not_found) { // it comes to be with the first turn
    s.unborn = true;
    w.behind = s.at != socket_state::phase::joining; // or it has gone, and how is still to be told
    s.at = socket_state::phase::going;
    if (rewound)
      complain(w, a.why, {});
  } else if (a.why.code != errc::none) {
    complain(w, a.why, {});
    return close_socket(w, http::close_code::internal, "the session cannot be read");
  } else if (s.at != socket_state::phase::going) {
    w.behind = true; // a cursor, until it goes live
    if (s.at == socket_state::phase::joining) {
      w.seen = std::max(w.seen, a.last_seq);
      s.at = socket_state::phase::held;
      s.since = self->clock().now();
    }
    s.tasks.are(a.open, true);
  } else {
    if (rewound) {
      w.seen = *rewound;
      s.tasks.rewind();
      stats_of_edges().came_back(a.reset, a.ahead);
    }
    if (s.tasks.empty())
      s.since = self->clock().now();
    s.tasks.are(a.open, a.reset);
    if (a.reset && a.the_session) {
      auto* running = a.the_task ? &*a.the_task : nullptr;
      auto* t = running == nullptr ? nullptr : s.tasks.find(running->id);
      auto asked_as = t == nullptr ? std::string{} : t->request_id;
      if (t != nullptr && t->full)
        t->text = running->text;
      push(w, as_chunk(learning_ws::reset(running, *a.the_session, asked_as)));
      w.seen = a.last_seq;
    }
    if (w.out->backlog() > http::outbox::high_water) { // another page would only lie there
      w.behind = true;
    } else {
      w.live = true;
      for (auto& e : merge_deltas(a.events)) {
        if (e->seq <= w.seen)
          continue;
        tell(w, *e);
        if (watchers.find(id) == watchers.end())
          return;
      }
      w.seen = std::max(w.seen, a.last_seq);
      if (a.more)
        go_on(w);
    }
  }
  arm(w);
  for (auto& m : std::exchange(s.early, {})) {
    handle(w, m);
    if (watchers.find(id) == watchers.end())
      return;
  }
}

void edge_state::tell(watcher& w, const event& e, socket_frames* shared) {
  auto& s = *w.socket;
  w.seen = e.seq;
  if (ends_session(e.kind)) {
    push(w, as_chunk(learning_ws::encode(e, {}, w.lang)));
    w.listening = 0; // the session has dropped everybody
    return close_socket(w, http::close_code::going_away, "the session has ended");
  }
  if (!e.task || e.task->kind != task_kind::chat) // for others this dialect has no words
    return;
  auto idle = s.tasks.empty();
  std::vector<std::string> frames;
  auto* piece =
      e.kind == event_kind::delta && shared != nullptr ? s.tasks.find(e.task->id) : nullptr;
  if (piece != nullptr && !piece->full && piece->begun) {
    // The same bytes for all sockets that are told it in the same words.
    auto known_as = s.tasks.name_of(*e.task);
    for (auto& f : shared->pieces)
      if (f.request_id == known_as) {
        piece->finished = false;
        return push(w, f.frame);
      }
    s.tasks.tell(e, w.lang, frames);
    auto frame = as_chunk(std::move(frames.front()));
    shared->pieces.push_back({std::string{known_as}, frame});
    return push(w, std::move(frame));
  }
  s.tasks.tell(e, w.lang, frames);
  for (auto& f : frames)
    push(w, as_chunk(std::move(f)));
  if (idle && !s.tasks.empty()) {
    if (frames.empty())
      s.since = self->clock().now();
    arm(w);
  }
}

void edge_state::push(watcher& w, http::chunk frame) {
  w.out->push(std::move(frame));
  w.socket->since = self->clock().now();
  stats_of_edges().delivered.fetch_add(1, std::memory_order_relaxed);
}

// -- when there is nothing to tell ---------------------------------------------------------------

void edge_state::arm(watcher& w) {
  auto& s = *w.socket;
  auto held = s.at == socket_state::phase::held;
  if (s.alarm_out || (!held && s.tasks.empty()))
    return;
  // What is due is never before the alarm that is out: `since` only grows.
  s.alarm_out = true;
  auto due = s.since + (held ? options.sockets.hold : options.sockets.keepalive);
  self->delayed_send(self, std::max(caf::timespan{0}, caf::timespan{due - self->clock().now()}),
                     socket_alarm{w.id});
}

void edge_state::on_alarm(std::uint64_t id) {
  auto i = watchers.find(id);
  if (i == watchers.end())
    return;
  auto& w = i->second;
  auto& s = *w.socket;
  s.alarm_out = false;
  auto silent = self->clock().now() - s.since;
  if (s.at == socket_state::phase::held && silent >= options.sockets.hold)
    go_live(w);
  if (s.at == socket_state::phase::going && !s.tasks.empty() &&
      silent >= options.sockets.keepalive) {
    static const auto sign = as_chunk(std::string{learning_ws::keepalive});
    if (w.out->backlog() == 0)
      push(w, sign);
    else
      s.since = self->clock().now(); // what it is sent it has not read yet
  }
  arm(w);
}

} // namespace parlor
