#include "store/task_row.hpp"

#include "protocol/task_log.hpp"

#include <algorithm>

namespace parlor::store {

stored_task read_task_row(const sqlite::rows& r) {
  stored_task t;
  t.view.id = r.text(1);
  t.key = {r.text(2), r.text(3)};
  t.view.session = t.key.id;
  t.view.status = static_cast<task_status>(r.integer(4));
  t.view.created_at = r.integer(5);
  t.started_at = r.integer(6);
  t.ended_at = r.integer(7);
  t.accepted_seq = r.number(8);
  t.started_seq = r.number(9);
  t.ended_seq = r.number(10);
  t.message_id = r.text(11);
  t.settings.model = t.view.model = r.text(12);
  t.settings.temperature = r.text(13);
  if (!r.null(14))
    t.settings.max_tokens = r.integer(14);
  t.settings.response_format = r.text(15);
  t.settings.passthrough = r.text(16);
  t.settings.script = r.text(17);
  t.text = r.text(28);
  t.log = r.text(29);
  if (t.ended_seq != 0) {
    auto end = std::make_shared<outcome>();
    end->status = t.view.status;
    end->error = errc_from_name(r.text(18));
    end->detail = r.text(19);
    end->message_id = r.text(20);
    end->finish_reason = r.text(21);
    end->used = {r.integer(22), r.integer(23), r.integer(24) != 0};
    end->attempts = r.small(25);
    end->history_dropped = r.small(26);
    end->content = r.null(27) ? t.text : r.text(27);
    t.view.end = std::move(end);
  }
  return t;
}

void complete_view(stored_task& t) {
  auto& v = t.view;
  v.updated_at = std::max(v.created_at, t.started_at);
  v.last_seq = std::max(t.accepted_seq, t.started_seq);
  v.attempt = t.started_seq != 0 ? 1 : 0;
  auto header =
      std::make_shared<const task_header>(task_header{v.id, v.session, v.model, v.created_at});
  for (auto& e : replay(t.accepted_seq, v.created_at, header, t.text, t.log)) {
    v.last_seq = std::max(v.last_seq, e->seq);
    v.updated_at = std::max(v.updated_at, e->at);
    if (e->kind == event_kind::delta) {
      v.text += e->text;
    } else if (e->kind == event_kind::progress) {
      v.progress = e->number;
    } else if (e->kind == event_kind::retry) {
      v.attempt = e->number;
      if (e->discard) {
        v.text.clear();
        v.progress = 0;
      }
    }
  }
  if (!v.end)
    return;
  v.last_seq = t.ended_seq;
  v.updated_at = t.ended_at;
  v.attempt = v.end->attempts;
  v.text = v.end->content;
  if (v.status == task_status::completed)
    v.progress = 100;
}

} // namespace parlor::store
