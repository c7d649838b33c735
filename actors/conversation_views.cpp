#include "actors/conversation.hpp"

#include <algorithm>

// How a session and its tasks look from outside, and what is left of a session at rest.

namespace parlor {

bool conversation::durable() const noexcept {
  return exists_ &&
         std::none_of(waiting_.begin(), waiting_.end(), [](auto& w) { return w.second.opens; });
}

session_view conversation::view() const {
  session_view v;
  v.id = key_.id;
  v.created_at = created_at_;
  v.last_accessed = last_accessed_;
  // The running turn's question counts from its acceptance on.
  auto open = static_cast<std::int64_t>(queue_.size() + (running_ ? 1 : 0));
  v.message_count = message_count_ + open;
  v.question_count = question_count_ + open;
  v.total_tokens = total_tokens_;
  v.state = running_ ? "running" : "idle";
  if (running_)
    v.active_task = running_->turn.request.task_id;
  v.last_seq = last_told_;
  return v;
}

std::vector<task_header_ptr> conversation::open_tasks() const {
  std::vector<task_header_ptr> out;
  auto add = [&](const turn_state& t) {
    if (t.accepted_seq <= last_told_)
      out.push_back(t.header);
  };
  if (running_)
    add(running_->turn);
  for (auto& t : queue_)
    add(t);
  return out;
}

std::optional<task_view> conversation::task(const std::string& id) const {
  task_view v;
  auto fill = [&](const turn_state& t) {
    v.id = t.request.task_id;
    v.session = key_.id;
    v.model = t.header->model;
    v.created_at = v.updated_at = t.header->created_at;
    v.last_seq = t.accepted_seq;
  };
  if (runs(id)) {
    fill(running_->turn);
    v.status = task_status::running;
    v.progress = running_->progress;
    v.attempt = running_->attempt;
    v.updated_at = running_->updated_at;
    v.text = running_->text;
    v.last_seq = last_told_;
    return v;
  }
  for (auto& t : queue_)
    if (t.request.task_id == id) {
      fill(t);
      return v;
    }
  // Concluded, but the end is not durable yet: still running for everybody outside.
  for (auto& p : outgoing_)
    if (p.what->task && p.what->task->id == id && p.what->end) {
      v = {id,
           key_.id,
           p.what->task->model,
           task_status::running,
           95,
           p.what->end->attempts,
           p.what->task->created_at,
           p.what->at,
           last_told_,
           p.what->end->content,
           nullptr};
      return v;
    }
  return std::nullopt; // ended: the store knows
}

conversation::conversation(session_key key, session_limits limits, const conversation_at_rest& rest)
    : key_{std::move(key)}, limits_{limits}, exists_{true}, disk_full_{rest.disk_full},
      created_at_{rest.created_at}, last_accessed_{rest.last_accessed},
      message_count_{rest.message_count}, total_tokens_{rest.total_tokens},
      question_count_{rest.question_count},
      system_prompt_{rest.system_prompt}, history_{rest.history}, older_{rest.older},
      first_seq_{rest.first_seq}, next_seq_{rest.next_seq}, lease_{rest.lease},
      durable_lease_{rest.lease}, first_recent_{rest.last_told + 1}, last_told_{rest.last_told} {}

conversation_at_rest conversation::at_rest() const {
  return {created_at_, last_accessed_, message_count_, total_tokens_,  question_count_,
          older_,      first_seq_,     next_seq_,      durable_lease_, last_told_,
          disk_full_,  system_prompt_, history_};
}

void conversation::forget_events() {
  if (!idle())
    return;
  first_recent_ = last_told_ + 1;
  event_queue{}.swap(recent_);
}

} // namespace parlor
