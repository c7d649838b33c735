// The questions that are open on a socket, and in which words it is told of them.

#include "actors/edge_socket.hpp"

#include <algorithm>

namespace parlor {

socket_task* socket_tasks::find(std::string_view id) noexcept {
  auto i = std::find_if(all_.begin(), all_.end(), [&](auto& t) { return t.id == id; });
  return i == all_.end() ? nullptr : &*i;
}

const socket_task* socket_tasks::mine(std::string_view request_id) const noexcept {
  auto i = std::find_if(all_.begin(), all_.end(),
                        [&](auto& t) { return t.mine && t.request_id == request_id; });
  return i == all_.end() ? nullptr : &*i;
}

const socket_task* socket_tasks::named(std::string_view request_id) const noexcept {
  if (auto* t = mine(request_id))
    return t;
  auto i =
      std::find_if(all_.rbegin(), all_.rend(), [&](auto& t) { return t.request_id == request_id; });
  return i == all_.rend() ? nullptr : &*i;
}

socket_task& socket_tasks::add(std::string id, std::string request_id) {
  auto& t = all_.emplace_back();
  t.id = std::move(id);
  t.request_id = std::move(request_id);
  return t;
}

void socket_tasks::remove(std::string_view id) {
  std::erase_if(all_, [&](auto& t) { return t.id == id; });
  if (all_.empty())
    all_.shrink_to_fit();
}

void socket_tasks::are(const std::vector<task_header_ptr>& open, bool only) {
  if (only)
    std::erase_if(all_, [&](auto& t) {
      return !t.asked &&
             std::none_of(open.begin(), open.end(), [&](auto& h) { return h->id == t.id; });
    });
  for (auto& h : open)
    if (h->kind == task_kind::chat && find(h->id) == nullptr)
      add(h->id, h->ref);
}

void socket_tasks::rewind() {
  for (auto& t : all_) {
    t.begun = t.finished = t.full = false; // from where the text so far would go on nobody knows
    t.text = {};
  }
}

std::string_view socket_tasks::name_of(const task_header& task) const noexcept {
  auto* other = task.ref.empty() ? nullptr : mine(task.ref);
  return other == nullptr || other->id == task.id ? task.ref : std::string_view{};
}

void socket_tasks::tell(const event& e, language lang, std::vector<std::string>& out) {
  auto* t = find(e.task->id);
  if (t == nullptr && !ends_task(e.kind))
    t = &add(e.task->id, e.task->ref);
  learning_ws::asked by;
  by.request_id = name_of(*e.task);
  session_view counters;
  switch (e.kind) {
  case event_kind::accepted:
  case event_kind::delta:
  case event_kind::retry:
  case event_kind::text_done:
    t->begun = true;
    if (e.kind != event_kind::delta)
      t->text.clear();
    else if (t->full)
      t->text += e.text;
    t->finished = e.kind == event_kind::text_done;
    by.full_content = t->full;
    by.text = t->text;
    break;
  case event_kind::completed:
    if (t != nullptr && t->begun && !t->finished) // another dialect's, which does not say so
      out.push_back(learning_ws::content_finished(e.end->content, by.request_id));
    counters.total_tokens = e.end->session_tokens;
    counters.question_count = e.end->session_questions;
    counters.last_accessed = e.at;
    by.session = &counters;
    break;
  default:
    break;
  }
  auto frame = learning_ws::encode(e, by, lang);
  if (!frame.empty())
    out.push_back(std::move(frame));
  if (ends_task(e.kind))
    remove(e.task->id);
}

} // namespace parlor
