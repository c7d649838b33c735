#include "actors/conversation.hpp"

#include "protocol/window.hpp"

#include <algorithm>
#include <utility>

namespace parlor {

conversation::conversation(session_key key, session_limits limits, store::session_image image,
                           std::int64_t now)
    : key_{std::move(key)}, limits_{limits}, created_at_{now}, last_accessed_{now} {
  if (image.session) {
    auto& s = *image.session;
    exists_ = true;
    created_at_ = s.view.created_at;
    last_accessed_ = s.view.last_accessed;
    message_count_ = s.view.message_count;
    total_tokens_ = s.view.total_tokens;
    question_count_ = s.view.question_count;
    system_prompt_ = std::move(s.system_prompt);
    first_seq_ = s.first_seq;
    // Numbers up to the lease may have been seen by somebody: they are never used again.
    next_seq_ = s.lease + 1;
    lease_ = durable_lease_ = s.lease;
    history_ = std::move(image.history);
    left_open_ = std::move(image.open_tasks);
  } else {
    first_seq_ = next_seq_ = image.first_free_seq;
    lease_ = durable_lease_ = first_seq_ - 1;
  }
  first_recent_ = next_seq_;
  last_told_ = next_seq_ - 1;
}

answer_effect conversation::refuse(std::uint64_t promise, errc code) {
  answer_effect a{promise, {code, {}, {}, 0}, {}, {}, 0, false};
  if (code == errc::too_many_turns || code == errc::store_full || code == errc::saturated)
    a.why.retry_after_s = 1;
  return a;
}

void conversation::remember(const std::string& id, message said, const std::string& task,
                            std::int64_t at, bool partial) {
  history_message h;
  h.id = id;
  h.said = std::move(said);
  h.task = task;
  h.at = at;
  h.partial = partial;
  history_.push_back(std::move(h));
}

effects conversation::resume(std::int64_t now) {
  effects out;
  for (auto& t : std::exchange(left_open_, {})) {
    turn_state turn;
    turn.request.session = key_;
    turn.request.task_id = t.view.id;
    turn.request.message_id = t.message_id;
    turn.request.settings = t.settings;
    auto mine = std::find_if(history_.begin(), history_.end(),
                             [&](const history_message& h) { return h.id == t.message_id; });
    if (mine != history_.end()) {
      turn.request.said = mine->said;
      history_.erase(mine);
    }
    turn.header = std::make_shared<task_header>(
        task_header{t.view.id, key_.id, t.settings.model, t.view.created_at});
    turn.accepted_seq = t.accepted_seq;
    if (t.started_seq != 0) {
      turn.first_attempt = std::max<std::uint32_t>(t.view.attempt, 1) + 1;
      turn.resumed = true;
      if (!limits_.retry_interrupted) {
        outcome end;
        end.status = task_status::failed;
        end.error = errc::interrupted;
        end.content = t.view.text;
        end.attempts = turn.first_attempt - 1;
        end.used.completion_tokens = estimate_tokens(end.content);
        remember(turn.request.message_id, turn.request.said, t.view.id, t.view.created_at, false);
        conclude(turn, std::move(end), {}, {}, {}, {}, out, now);
        continue;
      }
    }
    queue_.push_back(std::move(turn));
  }
  start_next(out, now);
  return out;
}

effects conversation::submit(turn_request turn, std::uint64_t promise, std::int64_t now) {
  effects out;
  if (removing_) {
    out.push_back(refuse(promise, errc::session_deleted));
    return out;
  }
  auto busy = running_ || !queue_.empty();
  if (busy && turn.when_busy == on_busy::reject) {
    out.push_back(refuse(promise, errc::session_busy));
    return out;
  }
  if (queue_.size() + (running_ ? 1 : 0) >= limits_.max_turns) {
    out.push_back(refuse(promise, errc::too_many_turns));
    return out;
  }
  waiting_record note;
  note.what = waiting_record::kind::accept;
  note.promise = promise;
  note.task = turn.task_id;
  store::fact_group group;
  if (!exists_) {
    note.opens = true;
    exists_ = true;
    created_at_ = now;
    system_prompt_ = turn.system_prompt;
    group.push_back(store::session_opened{key_, now, turn.system_prompt, turn.metadata});
  }
  lease_for(group, note, 2); // accepted and started
  last_accessed_ = now;
  turn_state t;
  t.header =
      std::make_shared<task_header>(task_header{turn.task_id, key_.id, turn.settings.model, now});
  auto e = make(event_kind::accepted, t.header, now);
  t.accepted_seq = e->seq;
  store::task_accepted fact;
  fact.key = key_;
  fact.task = turn.task_id;
  fact.at = now;
  fact.seq = e->seq;
  fact.settings = turn.settings;
  fact.message_id = turn.message_id;
  fact.said = turn.said;
  fact.once = turn.once;
  group.push_back(std::move(fact));
  auto when = turn.when_busy;
  t.request = std::move(turn);
  if (!busy) { // accepted and started are one commit: the first token waits for one disk, not two
    running_.emplace();
    auto& run = *running_;
    run.turn = std::move(t);
    run.attempt = run.turn.first_attempt;
    run.updated_at = now;
    run.log = task_log{run.turn.accepted_seq, now};
    auto started = make(event_kind::started, run.turn.header, now);
    group.push_back(store::task_started{run.turn.request.task_id, now, started->seq});
    run.start_ticket = record(std::move(group), std::move(note), out);
    tell(std::move(e), run.start_ticket, out);
    tell(std::move(started), run.start_ticket, out);
    return out;
  }
  auto ticket = record(std::move(group), std::move(note), out);
  if (when == on_busy::interrupt && running_) {
    queue_.push_front(std::move(t));
    if (!running_->stopping) {
      running_->stopping = true;
      if (running_->begun)
        out.push_back(stop_effect{});
    }
  } else {
    queue_.push_back(std::move(t));
  }
  tell(std::move(e), ticket, out);
  return out;
}

void conversation::start_next(effects& out, std::int64_t now) {
  if (running_ || queue_.empty() || removing_)
    return;
  // A turn whose acceptance is not durable yet is not known to exist.
  for (auto& [ticket, note] : waiting_)
    if (note.what == waiting_record::kind::accept && note.task == queue_.front().request.task_id)
      return;
  running_.emplace();
  auto& run = *running_;
  run.turn = std::move(queue_.front());
  queue_.pop_front();
  run.attempt = run.turn.first_attempt;
  run.updated_at = now;
  run.log = task_log{run.turn.accepted_seq, run.turn.header->created_at};
  waiting_record note;
  note.what = waiting_record::kind::start;
  note.task = run.turn.request.task_id;
  if (run.turn.resumed) { // it was started before; what is new is the attempt
    run.start_ticket = 0;
    auto e = make(event_kind::retry, run.turn.header, now);
    e->number = run.attempt;
    e->discard = true;
    run.log.note(*e);
    tell(std::move(e), 0, out);
    lease_more(out);
    begin(out, now);
    return;
  }
  store::fact_group group;
  lease_for(group, note, 1);
  auto e = make(event_kind::started, run.turn.header, now);
  group.push_back(store::task_started{run.turn.request.task_id, now, e->seq});
  note.again = group;
  run.start_ticket = record(std::move(group), std::move(note), out);
  tell(std::move(e), run.start_ticket, out);
}

void conversation::begin(effects& out, std::int64_t now) {
  auto& run = *running_;
  if (run.begun)
    return;
  if (run.stopping) {
    outcome end;
    end.status = task_status::cancelled;
    end.error = errc::cancelled;
    end.attempts = run.attempt;
    auto more = finished(run.turn.request.task_id, std::move(end), {}, now);
    std::move(more.begin(), more.end(), std::back_inserter(out));
    return;
  }
  run.begun = true;
  auto order = std::make_shared<task_order>();
  auto window = fit_window(system_prompt_, history_, run.turn.request.said, limits_.token_budget);
  order->header = run.turn.header;
  order->messages = std::move(window.messages);
  order->settings = run.turn.request.settings;
  order->first_attempt = run.attempt;
  run.dropped = window.dropped;
  out.push_back(run_effect{std::move(order)});
}

effects conversation::cancel(const std::string& task, std::uint64_t promise, std::int64_t now) {
  effects out;
  if (running_ && running_->turn.request.task_id == task) {
    running_->cancel_promises.push_back(promise);
    if (!running_->stopping) {
      running_->stopping = true;
      if (running_->begun)
        out.push_back(stop_effect{});
    }
    return out;
  }
  auto i = std::find_if(queue_.begin(), queue_.end(),
                        [&](const turn_state& t) { return t.request.task_id == task; });
  if (i == queue_.end()) {
    out.push_back(refuse(promise, errc::task_ended));
    return out;
  }
  auto t = std::move(*i);
  queue_.erase(i);
  end_unstarted(std::move(t), errc::cancelled, {promise}, out, now);
  return out;
}

void conversation::end_unstarted(turn_state t, errc why, std::vector<std::uint64_t> promises,
                                 effects& out, std::int64_t now) {
  outcome end;
  end.status = why == errc::cancelled ? task_status::cancelled : task_status::failed;
  end.error = why;
  end.attempts = 0;
  remember(t.request.message_id, t.request.said, t.request.task_id, now, false);
  ++message_count_;
  ++question_count_;
  conclude(t, std::move(end), {}, {}, {}, std::move(promises), out, now);
}

effects conversation::remove(bool expired, std::uint64_t promise, std::int64_t now) {
  effects out;
  if (removing_ || !exists_) {
    if (promise != 0)
      out.push_back(refuse(promise, errc::session_not_found));
    return out;
  }
  removing_ = true;
  if (running_) {
    if (running_->begun)
      out.push_back(stop_effect{});
    for (auto p : running_->cancel_promises)
      out.push_back(refuse(p, errc::session_deleted));
    running_.reset();
  }
  queue_.clear();
  waiting_record note;
  note.what = waiting_record::kind::remove;
  note.promise = promise;
  store::fact_group group;
  lease_for(group, note, 1);
  auto e = make(expired ? event_kind::session_expired : event_kind::session_deleted, nullptr, now);
  group.push_back(store::session_removed{key_, now, expired});
  auto ticket = record(std::move(group), std::move(note), out);
  tell(std::move(e), ticket, out);
  return out;
}

} // namespace parlor
