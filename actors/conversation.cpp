#include "actors/conversation.hpp"

#include "protocol/window.hpp"

#include <algorithm>
#include <utility>

namespace parlor {

namespace {

constexpr std::int64_t progress_every_ms = 100; // contracts/generate-async.md: at most ten a second

answer_effect refuse(std::uint64_t promise, errc code) {
  answer_effect a{promise, {code, {}, {}, 0}, {}, {}, 0, false};
  if (code == errc::too_many_turns || code == errc::store_full || code == errc::saturated)
    a.why.retry_after_s = 1;
  return a;
}

history_message remembered(const std::string& id, message said, const std::string& task,
                           std::int64_t at, bool partial) {
  history_message h;
  h.id = id;
  h.said = std::move(said);
  h.task = task;
  h.at = at;
  h.partial = partial;
  return h;
}

} // namespace

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

// -- numbers and order ----------------------------------------------------------------------------

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

void conversation::lease(effects& out) {
  if (next_seq_ + limits_.lease_block / 2 <= lease_)
    return;
  lease_ = std::max(lease_, next_seq_) + limits_.lease_block;
  waiting_record note;
  note.what = waiting_record::kind::lease;
  note.lease = lease_;
  record({store::seq_leased{key_, lease_}}, std::move(note), out);
}

void conversation::tell(event_ptr e, std::uint64_t gate, effects& out) {
  outgoing_.push_back({std::move(e), gate});
  lease(out);
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

// -- turns
// ------------------------------------------------------------------------------------------

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
        history_.push_back(remembered(turn.request.message_id, turn.request.said, t.view.id,
                                      t.view.created_at, false));
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
  if (next_seq_ + 2 > lease_) { // the first lease rides with the first turn
    lease_ = next_seq_ + limits_.lease_block;
    note.lease = lease_;
    group.push_back(store::seq_leased{key_, lease_});
  }
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
    begin(out, now);
    return;
  }
  auto e = make(event_kind::started, run.turn.header, now);
  note.again = {store::task_started{run.turn.request.task_id, now, e->seq}};
  auto group = note.again;
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
  history_.push_back(
      remembered(t.request.message_id, t.request.said, t.request.task_id, now, false));
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
  auto e = make(expired ? event_kind::session_expired : event_kind::session_deleted, nullptr, now);
  auto ticket = record({store::session_removed{key_, now, expired}}, std::move(note), out);
  tell(std::move(e), ticket, out);
  return out;
}

// -- from the keeper
// --------------------------------------------------------------------------------

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
  durable_lease_ = std::max(durable_lease_, note.lease);
  switch (note.what) {
  case waiting_record::kind::accept: {
    // Answered before its events are told: the watcher is there when they come.
    answer_effect a{note.promise, {errc::none, {}, {}, 0}, note.task, key_.id, 0, false};
    for (auto& t : queue_)
      if (t.request.task_id == note.task)
        a.accepted_seq = t.accepted_seq;
    if (note.promise != 0)
      out.push_back(std::move(a));
    release(out);
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
    auto group = note.again;
    auto again = record(group, std::move(note), out);
    for (auto& p : outgoing_)
      if (p.gate == ticket)
        p.gate = again;
    if (running_ && running_->start_ticket == ticket)
      running_->start_ticket = again;
    return out;
  }
  std::erase_if(outgoing_, [&](const pending_event& p) {
    if (p.gate != ticket)
      return false;
    if (p.what->seq + 1 == next_seq_)
      --next_seq_; // nothing came after it: the number is free again
    return true;
  });
  if (note.what == waiting_record::kind::accept) {
    std::erase_if(queue_, [&](const turn_state& t) { return t.request.task_id == note.task; });
    if (note.opens)
      exists_ = false;
    if (note.lease != 0)
      lease_ = durable_lease_;
  }
  if (note.what == waiting_record::kind::lease)
    lease_ = durable_lease_;
  if (note.what == waiting_record::kind::remove)
    removing_ = false;
  if (note.promise != 0)
    out.push_back(refuse(note.promise, why));
  release(out);
  start_next(out, now);
  return out;
}

// -- from the task
// ----------------------------------------------------------------------------------

effects conversation::delta(const std::string& task, std::string text, std::int64_t now) {
  effects out;
  if (!running_ || running_->turn.request.task_id != task || text.empty())
    return out;
  auto& run = *running_;
  run.text += text;
  run.tokens += estimate_tokens(text);
  run.updated_at = now;
  auto e = make(event_kind::delta, run.turn.header, now);
  e->text = std::move(text);
  run.log.note(*e);
  tell(std::move(e), 0, out);
  report_progress(out, now);
  return out;
}

void conversation::report_progress(effects& out, std::int64_t now) {
  auto& run = *running_;
  if (run.progress_at != 0 && now - run.progress_at < progress_every_ms)
    return;
  // Against the length that was asked for; without one, against a length nobody knows: it slows
  // down as it grows and never claims to be done.
  auto limit = run.turn.request.settings.max_tokens;
  auto share =
      limit && *limit > 0 ? run.tokens * 100 / *limit : run.tokens * 100 / (run.tokens + 256);
  auto percent = static_cast<std::uint32_t>(std::clamp<std::int64_t>(share, 1, 95));
  if (percent <= run.progress)
    return;
  run.progress = percent;
  run.progress_at = now;
  auto e = make(event_kind::progress, run.turn.header, now);
  e->number = percent;
  run.log.note(*e);
  tell(std::move(e), 0, out);
}

effects conversation::retrying(const std::string& task, std::uint32_t attempt,
                               std::uint32_t delay_ms, bool discard, std::int64_t now) {
  effects out;
  if (!running_ || running_->turn.request.task_id != task)
    return out;
  auto& run = *running_;
  run.attempt = attempt;
  run.updated_at = now;
  if (discard) {
    run.text.clear();
    run.progress = 0;
    run.tokens = 0;
  }
  auto e = make(event_kind::retry, run.turn.header, now);
  e->number = attempt;
  e->delay_ms = delay_ms;
  e->discard = discard;
  run.log.note(*e);
  tell(std::move(e), 0, out);
  return out;
}

effects conversation::attempt_ended(const std::string& task, std::uint32_t attempt, usage used,
                                    errc error, std::int64_t now) {
  effects out;
  if (!running_ || running_->turn.request.task_id != task)
    return out;
  record({store::usage_recorded{task, attempt, running_->turn.header->model, now, used, error}}, {},
         out);
  return out;
}

effects conversation::finished(const std::string& task, outcome end, std::string answer_extra,
                               std::int64_t now) {
  effects out;
  if (!running_ || running_->turn.request.task_id != task)
    return out;
  auto run = std::move(*running_);
  running_.reset();
  end.content = std::move(run.text);
  end.history_dropped = run.dropped;
  auto& turn = run.turn;
  history_.push_back(
      remembered(turn.request.message_id, turn.request.said, task, turn.header->created_at, false));
  ++message_count_;
  ++question_count_;
  if (!end.content.empty() || !answer_extra.empty()) {
    end.message_id = make_message_id();
    history_.push_back(remembered(end.message_id, {role::assistant, end.content, answer_extra},
                                  task, now, end.status != task_status::completed));
    ++message_count_;
  }
  total_tokens_ += end.used.total();
  last_accessed_ = now;
  conclude(turn, std::move(end), std::move(answer_extra), run.log.take_text(),
           run.log.take_entries(), std::move(run.cancel_promises), out, now);
  start_next(out, now);
  return out;
}

void conversation::conclude(const turn_state& t, outcome end, std::string extra, std::string text,
                            std::string log, std::vector<std::uint64_t> promises, effects& out,
                            std::int64_t now) {
  auto kind = end.status == task_status::completed   ? event_kind::completed
              : end.status == task_status::cancelled ? event_kind::cancelled
                                                     : event_kind::failed;
  auto e = make(kind, t.header, now);
  store::task_ended fact;
  fact.key = key_;
  fact.task = t.request.task_id;
  fact.at = now;
  fact.seq = e->seq;
  fact.end = end;
  fact.answer_extra = std::move(extra);
  fact.text = std::move(text);
  fact.log = std::move(log);
  e->end = std::make_shared<const outcome>(std::move(end));
  waiting_record note;
  note.what = waiting_record::kind::end;
  note.task = t.request.task_id;
  note.promises = std::move(promises);
  note.again = {fact};
  auto ticket = record({std::move(fact)}, std::move(note), out);
  tell(std::move(e), ticket, out);
}

effects conversation::checkpoint(std::int64_t now) {
  effects out;
  if (!running_ || running_->log.empty())
    return out;
  record({store::task_checkpoint{running_->turn.request.task_id, now, running_->log.take_text(),
                                 running_->log.take_entries()}},
         {}, out);
  return out;
}

// -- observers
// --------------------------------------------------------------------------------------

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

std::optional<task_view> conversation::task(const std::string& id) const {
  task_view v;
  auto fill = [&](const turn_state& t) {
    v.id = t.request.task_id;
    v.session = key_.id;
    v.model = t.header->model;
    v.created_at = v.updated_at = t.header->created_at;
    v.last_seq = t.accepted_seq;
  };
  if (running_ && running_->turn.request.task_id == id) {
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

} // namespace parlor
