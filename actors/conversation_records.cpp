#include "actors/conversation.hpp"

// What is durable, what may be told, and the numbers of events.

#include <algorithm>
#include <utility>

namespace parlor {

namespace {
constexpr std::uint32_t full_disk_pause_ms = 250;
}

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
  return record(std::make_shared<const store::fact_group>(std::move(group)), std::move(note), out);
}

std::uint64_t conversation::record(store::fact_group_ptr group, waiting_record note, effects& out) {
  auto ticket = next_ticket_++;
  note.group = group;
  waiting_.emplace(ticket, std::move(note));
  out.push_back(record_effect{ticket, std::move(group)});
  return ticket;
}

bool conversation::has_lease(std::uint64_t ahead) const { return next_seq_ + ahead <= lease_ + 1; }

void conversation::lease_for(store::fact_group& group, waiting_record& note, std::uint64_t ahead) {
  if (has_lease(ahead))
    return;
  lease_ = next_seq_ + ahead + limits_.lease_block;
  note.lease = lease_;
  group.push_back(store::seq_leased{key_, lease_});
}

void conversation::lease_more(effects& out) {
  auto ahead = limits_.lease_block / 2;
  if (has_lease(ahead))
    return;
  store::fact_group group;
  waiting_record note{waiting_record::kind::lease};
  lease_for(group, note, ahead);
  note.insists = true; // events wait for it, the last perhaps, after which nobody asks again
  record(std::move(group), std::move(note), out);
}

void conversation::tell(event_ptr e, std::uint64_t gate, effects& out) {
  if (outgoing_.empty() && may_be_told(*e, gate))
    return publish(std::move(e), out);
  outgoing_.push_back({std::move(e), gate});
  release(out);
}

bool conversation::may_be_told(const event& e, std::uint64_t gate) const {
  return e.seq <= durable_lease_ && !waiting_.contains(gate);
}

void conversation::publish(event_ptr e, effects& out) {
  last_told_ = e->seq;
  recent_.push_back(e);
  out.push_back(publish_effect{std::move(e)});
}

void conversation::release(effects& out) {
  while (!outgoing_.empty()) {
    auto& head = outgoing_.front();
    if (!may_be_told(*head.what, head.gate))
      return;
    auto last = ends_session(head.what->kind);
    publish(std::move(head.what), out);
    outgoing_.pop_front();
    if (last)
      outgoing_.clear(); // what the task said before it stopped
  }
}

conversation::waiting_record* conversation::waiting_for(waiting_record::kind what,
                                                        const std::string& task) {
  for (auto& [ticket, note] : waiting_)
    if (note.what == what && note.task == task)
      return &note;
  return nullptr;
}

void conversation::trim() {
  for (auto& [ticket, note] : waiting_)
    if (note.what == waiting_record::kind::end)
      return; // the events of that task are nowhere else yet
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
  disk_full_ = false;
  if (result.what != store::group_result::kind::durable) {
    auto askers = i->second.promises;
    askers.push_back(i->second.promise);
    out = refused(ticket, errc::idempotency_mismatch, now);
    if (result.what == store::group_result::kind::duplicate)
      for (auto& e : out)
        if (auto* a = std::get_if<answer_effect>(&e);
            a != nullptr && std::find(askers.begin(), askers.end(), a->promise) != askers.end())
          *a = {a->promise, {errc::none}, result.task, result.session, 0, true};
    return out;
  }
  auto note = std::move(i->second);
  waiting_.erase(i);
  durable_lease_ = note.settled != 0 ? note.settled : std::max(durable_lease_, note.lease);
  auto yes = [&](std::uint64_t promise, bool replayed = false) {
    return answer_effect{promise, {errc::none}, note.task, key_.id, 0, replayed};
  };
  switch (note.what) {
  case waiting_record::kind::accept:
    accepted(note, ticket, out, now);
    return out;
  case waiting_record::kind::probe:
    out.push_back(refuse(note.promise, note.why));
    break;
  case waiting_record::kind::open:
    exists_ = true;
    out.push_back(yes(note.promise));
    for (auto p : note.promises)
      out.push_back(yes(p));
    break;
  case waiting_record::kind::start:
    release(out);
    if (running_ && running_->start_ticket == ticket)
      started(out, now);
    return out;
  case waiting_record::kind::checkpoint:
    if (running_ && running_->checkpoint_ticket == ticket) {
      running_->checkpoint_ticket = 0;
      record_stage(out, now);
      conclude_running(out, now);
    }
    break;
  case waiting_record::kind::end:
    release(out);
    for (auto p : note.promises)
      out.push_back(note.cancelled ? yes(p) : refuse(p, errc::task_ended));
    for (auto p : note.called.promises)
      out.push_back(note.called_back ? yes(p) : refuse(p, errc::task_ended));
    trim();
    return out;
  case waiting_record::kind::remove: {
    retire_effect gone{now, {}};
    // What waits for another record is not told any more, and does not hold this up.
    outgoing_.erase(std::remove_if(outgoing_.begin(), outgoing_.end(),
                                   [&](auto& p) { return waiting_.contains(p.gate); }),
                    outgoing_.end());
    release(out);
    if (running_)
      for (auto* promises : {&running_->cancel_promises, &running_->called.promises})
        for (auto p : *promises)
          out.push_back(refuse(p, errc::session_deleted));
    if (running_)
      gone.dropped.push_back(running_->turn.header);
    for (auto& turn : queue_)
      gone.dropped.push_back(turn.header);
    running_.reset();
    queue_.clear();
    if (note.promise != 0)
      out.push_back(yes(note.promise));
    for (auto& [other, left] : std::exchange(waiting_, {})) { // for room on the disk
      if (left.promise != 0)
        out.push_back(refuse(left.promise, errc::session_deleted));
      for (auto* promises : {&left.promises, &left.called.promises})
        for (auto p : *promises)
          out.push_back(refuse(p, errc::session_deleted));
    }
    out.push_back(std::move(gone));
    return out;
  }
  case waiting_record::kind::lease:
  case waiting_record::kind::usage:
    break;
  }
  release(out);
  return out;
}

void conversation::accepted(const waiting_record& note, std::uint64_t ticket, effects& out,
                            std::int64_t now) {
  exists_ = true; // also if the turn that was to open it has been refused
  answer_effect a{note.promise, {errc::none}, note.task, key_.id, 0, false};
  auto queued = std::find_if(queue_.begin(), queue_.end(),
                             [&](const turn_state& t) { return t.request.task_id == note.task; });
  if (queued != queue_.end())
    a.accepted_seq = queued->accepted_seq;
  else if (runs(note.task))
    a.accepted_seq = running_->turn.accepted_seq;
  // Answered before its events are told: the watcher is there when they come.
  if (note.promise != 0)
    out.push_back(a);
  for (auto p : note.promises) {
    a.promise = p;
    a.accepted_seq = 0;
    a.replayed = true;
    out.push_back(a);
  }
  release(out);
  if (queued != queue_.end() && !queued->cancel_promises.empty()) {
    auto t = std::move(*queued);
    queue_.erase(queued);
    auto promises = std::move(t.cancel_promises);
    end_unstarted(std::move(t), errc::cancelled, std::move(promises), out, now);
  } else if (note.interrupts && running_ && !runs(note.task)) {
    stop_running(out);
  }
  if (running_ && running_->start_ticket == ticket)
    started(out, now);
  else
    start_next(out, now);
}

effects conversation::refused(std::uint64_t ticket, errc why, std::int64_t now) {
  effects out;
  auto i = waiting_.find(ticket);
  if (i == waiting_.end())
    return out;
  disk_full_ = why == errc::store_full;
  auto note = std::move(i->second);
  waiting_.erase(i);
  if (note.insists) {
    // What a task does must be on disk in the end: tried again until there is room. What depends on
    // it waits.
    auto group = std::move(note.group);
    if (std::exchange(note.settled, 0) != 0) {
      // What was given back, the last of them, is not: by now others may have leased more.
      store::fact_group others{group->begin(), group->end() - 1};
      group = std::make_shared<const store::fact_group>(std::move(others));
    }
    auto again = record(std::move(group), std::move(note), out);
    std::get<record_effect>(out.back()).after_ms = full_disk_pause_ms;
    for (auto& p : outgoing_)
      if (p.gate == ticket)
        p.gate = again;
    if (running_ && running_->start_ticket == ticket)
      running_->start_ticket = again;
    if (running_ && running_->checkpoint_ticket == ticket)
      running_->checkpoint_ticket = again;
    return out;
  }
  while (!outgoing_.empty() && outgoing_.back().gate == ticket &&
         outgoing_.back().what->seq + 1 == next_seq_) {
    --next_seq_; // nothing came after it: the number is free again
    outgoing_.pop_back();
  }
  outgoing_.erase(std::remove_if(outgoing_.begin(), outgoing_.end(),
                                 [&](const pending_event& p) { return p.gate == ticket; }),
                  outgoing_.end());
  if (note.lease != 0) // taken again by whoever needs it
    lease_ = std::min(lease_, durable_lease_);
  if (note.what == waiting_record::kind::accept) {
    for (auto& t : queue_)
      if (t.request.task_id == note.task)
        for (auto p : t.cancel_promises)
          out.push_back(refuse(p, errc::task_not_found));
    std::erase_if(queue_, [&](const turn_state& t) { return t.request.task_id == note.task; });
    if (running_ && running_->start_ticket == ticket) {
      for (auto p : running_->cancel_promises)
        out.push_back(refuse(p, errc::task_not_found));
      if (running_->begun && !running_->stopping)
        out.push_back(stop_effect{});
      running_.reset();
    }
  }
  if (note.opens)
    exists_ = false;
  if (note.what == waiting_record::kind::checkpoint && running_ &&
      running_->checkpoint_ticket == ticket) {
    running_->checkpoint_ticket = 0;
    auto& shown = std::get<store::task_checkpoint>(note.group->front());
    running_->log.put_back({shown.text, shown.log});
    record_stage(out, now);
    conclude_running(out, now);
  }
  if (note.what == waiting_record::kind::remove) {
    removing_ = false;
    conclude_running(out, now);
  }
  if (note.promise != 0)
    out.push_back(refuse(note.promise, why));
  for (auto p : note.promises)
    out.push_back(refuse(p, why));
  release(out);
  start_next(out, now);
  return out;
}

} // namespace parlor
