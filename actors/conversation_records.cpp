#include "actors/conversation.hpp"

// What is durable, what may be told, and the numbers of events.

#include <algorithm>
#include <utility>

namespace parlor {

std::shared_ptr<event> conversation::make(event_kind kind, const task_header_ptr& task,
                                          std::int64_t now) {
  auto e = std::make_shared<event>();
  e->seq = next_seq_++;
  e->kind = kind;
  e->at = now;
  e->task = task;
  return e;
}

std::uint64_t conversation::record(store::fact_group group, waiting_record note, effects& out) {
  auto ticket = next_ticket_++;
  waiting_.emplace(ticket, std::move(note));
  out.push_back(record_effect{ticket, std::move(group)});
  return ticket;
}

void conversation::lease_for(store::fact_group& group, waiting_record& note, std::uint64_t ahead) {
  if (next_seq_ + ahead <= lease_ + 1)
    return;
  lease_ = next_seq_ + ahead + limits_.lease_block;
  note.lease = lease_;
  group.push_back(store::seq_leased{key_, lease_});
}

void conversation::lease_more(effects& out) {
  store::fact_group group;
  waiting_record note;
  note.what = waiting_record::kind::lease;
  lease_for(group, note, limits_.lease_block / 2);
  if (!group.empty())
    record(std::move(group), std::move(note), out);
}

void conversation::tell(event_ptr e, std::uint64_t gate, effects& out) {
  outgoing_.push_back({std::move(e), gate});
  release(out);
}

void conversation::release(effects& out) {
  while (!outgoing_.empty()) {
    auto& head = outgoing_.front();
    if (head.gate > durable_ticket_ || head.what->seq > durable_lease_)
      return;
    last_told_ = head.what->seq;
    recent_.push_back(head.what);
    out.push_back(publish_effect{std::move(head.what)});
    outgoing_.pop_front();
  }
}

void conversation::trim() {
  while (recent_.size() > limits_.recent_events) {
    auto& t = recent_.front()->task; // a running task's events are nowhere else yet
    if (running_ && t && t->id == running_->turn.request.task_id)
      return;
    first_recent_ = recent_.front()->seq + 1;
    recent_.pop_front();
  }
}

effects conversation::durable(std::uint64_t ticket, const store::group_result& result,
                              std::int64_t now) {
  effects out;
  auto i = waiting_.find(ticket);
  if (i == waiting_.end())
    return out;
  if (result.what != store::group_result::kind::durable) {
    auto promise = i->second.promise;
    out = refused(ticket, errc::idempotency_mismatch, now);
    if (result.what == store::group_result::kind::duplicate)
      for (auto& e : out)
        if (auto* a = std::get_if<answer_effect>(&e); a != nullptr && a->promise == promise)
          *a = {promise, {errc::none, {}, {}, 0}, result.task, result.session, 0, true};
    return out;
  }
  auto note = std::move(i->second);
  waiting_.erase(i);
  durable_ticket_ = ticket;
  durable_lease_ = note.settled != 0 ? note.settled : std::max(durable_lease_, note.lease);
  switch (note.what) {
  case waiting_record::kind::accept: {
    exists_ = true; // also if the turn that was to open it has been refused
    // Answered before its events are told: the watcher is there when they come.
    answer_effect a{note.promise, {errc::none, {}, {}, 0}, note.task, key_.id, 0, false};
    for (auto& t : queue_)
      if (t.request.task_id == note.task)
        a.accepted_seq = t.accepted_seq;
    if (running_ && running_->turn.request.task_id == note.task)
      a.accepted_seq = running_->turn.accepted_seq;
    if (note.promise != 0)
      out.push_back(std::move(a));
    release(out);
    if (running_ && running_->start_ticket == ticket)
      begin(out, now);
    else
      start_next(out, now);
    break;
  }
  case waiting_record::kind::start:
    release(out);
    if (running_ && running_->start_ticket == ticket)
      begin(out, now);
    break;
  case waiting_record::kind::end:
    release(out);
    for (auto p : note.promises)
      out.push_back(answer_effect{p, {errc::none, {}, {}, 0}, note.task, key_.id, 0, false});
    trim();
    break;
  case waiting_record::kind::remove:
    release(out);
    if (note.promise != 0)
      out.push_back(answer_effect{note.promise, {errc::none, {}, {}, 0}, {}, key_.id, 0, false});
    out.push_back(retire_effect{});
    break;
  default:
    release(out);
  }
  return out;
}

effects conversation::refused(std::uint64_t ticket, errc why, std::int64_t now) {
  effects out;
  auto i = waiting_.find(ticket);
  if (i == waiting_.end())
    return out;
  auto note = std::move(i->second);
  waiting_.erase(i);
  durable_ticket_ = ticket; // later tickets do not wait for it
  if (note.what == waiting_record::kind::end || note.what == waiting_record::kind::start) {
    // A task must end on disk: tried again until there is room. Its last event waits for that.
    note.settled = 0; // by now others may have leased more
    auto group = note.again;
    auto again = record(std::move(group), std::move(note), out);
    for (auto& p : outgoing_)
      if (p.gate == ticket)
        p.gate = again;
    if (running_ && running_->start_ticket == ticket)
      running_->start_ticket = again;
    return out;
  }
  while (!outgoing_.empty() && outgoing_.back().gate == ticket &&
         outgoing_.back().what->seq + 1 == next_seq_) {
    --next_seq_; // nothing came after it: the number is free again
    outgoing_.pop_back();
  }
  std::erase_if(outgoing_, [&](const pending_event& p) { return p.gate == ticket; });
  if (note.what == waiting_record::kind::accept) {
    std::erase_if(queue_, [&](const turn_state& t) { return t.request.task_id == note.task; });
    if (running_ && running_->start_ticket == ticket) {
      for (auto p : running_->cancel_promises)
        out.push_back(refuse(p, errc::task_not_found));
      running_.reset();
    }
    if (note.opens)
      exists_ = false;
  }
  if (note.lease != 0) // taken again by whoever needs it
    lease_ = std::min(lease_, durable_lease_);
  if (note.what == waiting_record::kind::remove)
    removing_ = false;
  if (note.promise != 0)
    out.push_back(refuse(note.promise, why));
  release(out);
  start_next(out, now);
  return out;
}

} // namespace parlor
