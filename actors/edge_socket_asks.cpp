// What the peers of WebSockets ask for.

#include "actors/ask.hpp"
#include "actors/edge.hpp"
#include "actors/edge_answers.hpp"

namespace parlor {

void edge_state::hear(socket_message& m) {
  auto i = watchers.find(m.watcher);
  if (i == watchers.end())
    return;
  auto& w = i->second;
  // It is being joined to its session, for the first time or again: where it stands is not known
  // yet, and to ask for another page would be to forget about the answer.
  if (w.asked && w.listening == 0)
    w.socket->early.push_back(std::move(m));
  else
    handle(w, m);
}

void edge_state::handle(watcher& w, socket_message& m) {
  auto& s = *w.socket;
  if (auto* bad = std::get_if<learning_ws::bad_frame>(m.what.get()))
    return complain(w, bad->why, bad->request_id);
  if (auto* r = std::get_if<learning_ws::resume>(m.what.get())) {
    if (s.unborn)
      return complain(w, {errc::session_not_found}, {});
    s.at = socket_state::phase::going;
    s.rewind_to = r->last_seq;
    w.live = false;
    w.behind = true;
    return catch_up(w, std::move(m.text));
  }
  go_live(w);
  if (auto* q = std::get_if<learning_ws::question>(m.what.get()))
    question(w, *q, std::move(m.text));
  else
    cancel(w, std::get<learning_ws::cancel>(*m.what), std::move(m.text));
}

void edge_state::complain(watcher& w, const refusal& why, std::string_view request_id) {
  count_refusal(why.code);
  push(w, as_chunk(learning_ws::error(why, w.lang, request_id)));
}

void edge_state::question(watcher& w, learning_ws::question& q, http::chunk held) {
  auto& s = *w.socket;
  auto refused = [&](errc code, std::string field = {}, std::string detail = {}) {
    complain(w, {code, std::move(field), std::move(detail)}, q.request_id);
  };
  if (options.draining())
    return refused(errc::draining);
  if (!q.turn.session.id.empty() && q.turn.session.id != w.key.id)
    return refused(errc::invalid_field, "session_id", "must be that of the connection");
  if (!q.request_id.empty() && s.tasks.mine(q.request_id) != nullptr)
    return refused(errc::invalid_field, "request_id", "is that of a question that is still open");
  auto inside = options.gate->enter_in_any_case(turn_gate::clock::now());
  auto a = std::make_shared<session_ask>();
  a->what = session_ask::kind::submit;
  a->key = w.key;
  a->turn = std::move(q.turn);
  auto& turn = a->turn;
  turn.instead = options.attended->abandoned(w.key);
  turn.session = w.key;
  turn.task_id = make_task_id(options.wall());
  turn.message_id = make_message_id();
  turn.request_id = w.request_id;
  turn.ref = q.request_id;
  turn.wants_text_done = true;
  if (!options.sockets.allow_script)
    turn.settings.script.clear();
  if (s.tasks.empty())
    s.since = self->clock().now();
  auto& t = s.tasks.add(turn.task_id, q.request_id);
  t.mine = t.asked = true;
  t.full = q.full_content;
  if (turn.cancel_on_disconnect)
    attend(w, turn.task_id);
  arm(w);
  // Whoever watches the session is told the events; those who could not, for there was none, join.
  auto answered = [this, id = w.id, key = w.key, task = turn.task_id, name = q.request_id,
                   inside](const refusal& why, std::uint64_t last_seq) {
    auto i = watchers.find(id);
    if (why.code != errc::none)
      options.attended->ended(key, task); // it has never begun
    auto* open = i == watchers.end() ? nullptr : i->second.socket->tasks.find(task);
    if (open != nullptr)
      open->asked = false;
    if (why.code == errc::none) {
      inside->accepted(turn_gate::clock::now());
      return born(key, last_seq);
    }
    if (open == nullptr)
      return;
    i->second.socket->tasks.remove(task);
    complain(i->second, why, name);
  };
  // `held`: the next message is read when this one has been answered, so that a peer has only one
  // on its way to the disk, and `cancel` finds what it means.
  parlor::ask(
      self, options.door(a->key), ask_timeout, session_ask_ptr{a},
      [answered, held](const session_answer_ptr& x) { answered(x->why, x->last_seq); },
      [answered, held](caf::error&) { answered({errc::internal}, 0); });
}

void edge_state::cancel(watcher& w, const learning_ws::cancel& c, http::chunk held) {
  auto* t = w.socket->tasks.named(c.request_id);
  if (t == nullptr)
    return complain(w, {errc::task_not_found}, c.request_id);
  auto a = std::make_shared<session_ask>();
  a->what = session_ask::kind::cancel;
  a->key = w.key;
  a->task = t->id;
  auto failed = [this, id = w.id, name = c.request_id](const refusal& why) {
    if (auto i = watchers.find(id); i != watchers.end())
      complain(i->second, why, name);
  };
  // `held`: as of a question, one at a time.
  parlor::ask(
      self, options.door(a->key), ask_timeout, session_ask_ptr{a},
      [failed, held](const session_answer_ptr& x) {
        if (x->why.code != errc::none) // else its end is told as an event
          failed(x->why);
      },
      [failed, held](caf::error&) { failed({errc::internal}); });
}

} // namespace parlor
