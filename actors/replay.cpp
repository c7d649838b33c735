#include "actors/replay.hpp"

#include "protocol/task_log.hpp"

#include <algorithm>

namespace parlor {

std::vector<event_ptr> stored_events(const store::stored_task& t) {
  task_header h;
  h.id = t.view.id;
  h.session = t.view.session;
  h.model = t.view.model;
  h.created_at = t.view.created_at;
  h.kind = t.kind;
  h.ref = t.ref;
  auto header = std::make_shared<const task_header>(std::move(h));
  auto fact = [&](event_kind kind, std::uint64_t seq, std::int64_t at) {
    auto e = std::make_shared<event>();
    e->kind = kind;
    e->seq = seq;
    e->at = at;
    e->task = header;
    return e;
  };
  std::vector<event_ptr> out;
  out.push_back(fact(event_kind::accepted, t.accepted_seq, t.view.created_at));
  auto pieces = replay(t.accepted_seq, t.view.created_at, header, t.text, t.log);
  out.insert(out.end(), pieces.begin(), pieces.end());
  if (t.started_seq != 0)
    out.push_back(fact(event_kind::started, t.started_seq, t.started_at));
  if (t.ended_seq != 0 && t.view.end) {
    auto kind = t.view.status == task_status::completed   ? event_kind::completed
                : t.view.status == task_status::cancelled ? event_kind::cancelled
                                                          : event_kind::failed;
    auto e = fact(kind, t.ended_seq, t.ended_at);
    e->end = t.view.end;
    out.push_back(std::move(e));
  }
  std::sort(out.begin(), out.end(),
            [](const event_ptr& a, const event_ptr& b) { return a->seq < b->seq; });
  return out;
}

std::vector<event_ptr> merge_deltas(const std::vector<event_ptr>& events) {
  std::vector<event_ptr> out;
  std::shared_ptr<event> open; // the merged delta under construction
  for (auto& e : events) {
    if (e->kind == event_kind::progress && open)
      continue; // a later one, or the end, says more
    if (e->kind != event_kind::delta) {
      open.reset();
      out.push_back(e);
    } else if (open && open->task == e->task) {
      open->text += e->text;
      open->seq = e->seq;
    } else {
      open = std::make_shared<event>(*e);
      out.push_back(open);
    }
  }
  return out;
}

} // namespace parlor
