#include "actors/conversation.hpp"

#include "protocol/task_log.hpp"
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
    lease_ = durable_lease_ = std::max(s.lease, s.view.last_seq);
    next_seq_ = lease_ + 1;
    older_ = image.older;
    for (auto& m : image.history)
      history_.push_back(std::move(m.said));
    left_open_ = std::move(image.open_tasks);
  } else {
    first_seq_ = next_seq_ = image.first_free_seq;
    lease_ = durable_lease_ = first_seq_ - 1;
  }
  first_recent_ = next_seq_;
  last_told_ = next_seq_ - 1;
}

task_header_ptr conversation::make_header(const turn_request& r, std::int64_t at) const {
  task_header h;
  h.id = r.task_id;
  h.session = key_.id;
  h.model = r.settings.model;
  h.created_at = at;
  h.kind = r.kind;
  h.ref = r.ref;
  h.request_id = r.request_id;
  return std::make_shared<const task_header>(std::move(h));
}

answer_effect conversation::refuse(std::uint64_t promise, errc code) {
  return {promise, {code}, {}, {}, 0, false};
}

void conversation::remember(const message& asked, const std::string& answer,
                            std::string answer_extra) {
  auto reach = window_bytes(limits_.token_budget);
  if (asked.content.size() + answer.size() > reach) { // nor does a window reach beyond it
    older_ += static_cast<std::int64_t>(history_.size()) + 2;
    history_.clear();
    return;
  }
  auto images = asked.extra.starts_with('[');
  history_.push_back(asked);
  history_.push_back({role::assistant, answer, std::move(answer_extra)});
  if (images) // what is not sent any more needs no memory either
    fit_images(history_, limits_.image_bytes);
  // As far as it is loaded again; when a window is made, what it does not reach goes, too.
  std::size_t bytes = 0;
  auto first = history_.size();
  for (; first > 0 && bytes <= reach; first -= 2)
    bytes += history_[first - 1].content.size() + history_[first - 2].content.size();
  history_.erase(history_.begin(), history_.begin() + static_cast<std::ptrdiff_t>(first));
  older_ += static_cast<std::int64_t>(first);
}

/// What the attempt that a dead server had under way has used, as far as can be told: the model was
/// asked, or may have been.
attempt_usage conversation::interrupted(const turn_state& turn, const std::string& shown) const {
  auto& r = turn.request;
  auto prompt = r.kind == task_kind::chat
                    ? fit_window(system_prompt_, history_, r.said, limits_.token_budget).tokens
                    : estimate_tokens(r.said);
  return {turn.first_attempt - 1, {prompt, estimate_tokens(shown), false}, errc::interrupted};
}

effects conversation::resume(std::int64_t now) {
  effects out;
  for (auto& t : std::exchange(left_open_, {})) {
    turn_state turn;
    turn.request.session = key_;
    turn.request.task_id = t.view.id;
    turn.request.message_id = t.message_id;
    turn.request.settings = t.settings;
    turn.request.said = std::move(t.said);
    turn.request.kind = t.kind;
    turn.request.ref = t.ref;
    turn.request.wants_text_done = t.wants_text_done;
    turn.header = make_header(turn.request, t.view.created_at);
    turn.accepted_seq = turn.log_seq = t.accepted_seq;
    turn.log_at = t.view.created_at;
    auto shown = replay(t.accepted_seq, t.view.created_at, turn.header, t.text, t.log);
    if (!shown.empty()) {
      turn.log_seq = shown.back()->seq;
      turn.log_at = shown.back()->at;
    }
    for (auto& e : shown)
      if (e->kind == event_kind::stage_done && e->stage)
        turn.done.push_back({*e->stage, e->text, e->at});
    if (!shown.empty() && shown.back()->kind != event_kind::stage_done)
      turn.stage = shown.back()->stage;
    if (turn.awaited()) {
      turn.first_attempt = std::max<std::uint32_t>(t.view.attempt, 1);
    } else if (t.started_seq != 0) {
      // Services outside are no models, and between two agents none may have been asked.
      auto asked = turn.request.kind == task_kind::chat ||
                   (turn.request.kind == task_kind::pipeline && (turn.stage || turn.done.empty()));
      turn.first_attempt = std::max({t.view.attempt, t.accounted + (asked ? 1U : 0U), 1U}) + 1;
      std::optional<attempt_usage> last;
      if (asked) {
        last = interrupted(turn, t.view.text);
        turn.spent = last->used;
      }
      turn.resumed = true;
      if (!limits_.retry_interrupted || turn.first_attempt > limits_.most_attempts) {
        outcome end;
        end.status = task_status::failed;
        end.error = errc::interrupted;
        end.content = t.view.text;
        end.attempts = turn.first_attempt - 1;
        end.used = turn.spent;
        if (!end.content.empty()) {
          end.message_id = make_message_id();
          remember(turn.request.said, end.content, {});
          ++message_count_;
        }
        total_tokens_ += end.used.total();
        conclude(turn, {std::move(end), {}, last}, {}, {}, out, now);
        continue;
      }
      if (last)
        record_usage(turn, *last, out, now);
    }
    --message_count_; // counted again when it ends
    --question_count_;
    queue_.push_back(std::move(turn));
  }
  fit_images(history_, limits_.image_bytes); // not before: a question that is asked again is whole
  start_next(out, now);
  return out;
}

effects conversation::submit(turn_request turn, std::uint64_t promise, std::int64_t now) {
  effects out;
  if (removing_) {
    out.push_back(refuse(promise, errc::session_deleted));
    return out;
  }
  if (repeated(turn, promise, out))
    return out;
  for (auto& task : std::exchange(turn.instead, {}))
    for (auto& e : cancel(task, 0, now))
      out.push_back(std::move(e));
  auto busy = running_ || !queue_.empty();
  auto why = turn.when_busy == on_busy::reject && !ending()            ? errc::session_busy
             : queue_.size() + (running_ ? 1 : 0) >= limits_.max_turns ? errc::too_many_turns
                                                                       : errc::none;
  if (why != errc::none) {
    if (turn.once.scope_and_key.empty()) {
      out.push_back(refuse(promise, why));
    } else { // it may repeat a request whose turn has ended
      waiting_record probe{waiting_record::kind::probe};
      probe.promise = promise;
      probe.why = why;
      record({store::key_probed{std::move(turn.once), now}}, std::move(probe), out);
    }
    return out;
  }
  waiting_record note{waiting_record::kind::accept};
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
  t.header = make_header(turn, now);
  auto e = make(event_kind::accepted, t.header, now);
  t.accepted_seq = t.log_seq = e->seq;
  t.log_at = now;
  store::task_accepted fact;
  fact.key = key_;
  fact.task = turn.task_id;
  fact.at = now;
  fact.seq = e->seq;
  fact.settings = turn.settings;
  fact.message_id = turn.message_id;
  fact.said = turn.said;
  fact.once = turn.once;
  fact.kind = turn.kind;
  fact.ref = turn.ref;
  fact.wants_text_done = turn.wants_text_done;
  group.push_back(std::move(fact));
  auto when = turn.when_busy;
  t.request = std::move(turn);
  if (!busy) { // accepted and started are one commit: the first token waits for one disk, not two
    running_ = std::make_unique<run_state>();
    auto& run = *running_;
    run.turn = std::move(t);
    run.attempt = run.turn.first_attempt;
    run.updated_at = now;
    run.log = task_log{run.turn.log_seq, run.turn.log_at};
    auto started = make(event_kind::started, run.turn.header, now);
    group.push_back(store::task_started{run.turn.request.task_id, now, started->seq});
    run.start_ticket = record(std::move(group), std::move(note), out);
    tell(std::move(e), run.start_ticket, out);
    tell(std::move(started), run.start_ticket, out);
    if (run.turn.request.once.scope_and_key.empty()) // else it may repeat an earlier request
      begin_early(out, now);
    return out;
  }
  note.interrupts = when == on_busy::interrupt && running_;
  if (note.interrupts)
    queue_.insert(queue_.begin(), std::move(t));
  else
    queue_.push_back(std::move(t));
  tell(std::move(e), record(std::move(group), std::move(note), out), out);
  return out;
}

/// Is nothing left but what is being stopped?
bool conversation::ending() const {
  return (!running_ || running_->stopping) &&
         std::all_of(queue_.begin(), queue_.end(),
                     [](const turn_state& t) { return !t.cancel_promises.empty(); });
}

/// Is this a request that came before, whose turn is not over?
bool conversation::repeated(const turn_request& turn, std::uint64_t promise, effects& out) {
  if (turn.once.scope_and_key.empty())
    return false;
  const turn_request* first = nullptr;
  if (running_ && running_->turn.request.once.scope_and_key == turn.once.scope_and_key)
    first = &running_->turn.request;
  for (auto& t : queue_)
    if (t.request.once.scope_and_key == turn.once.scope_and_key)
      first = &t.request;
  if (first == nullptr)
    return false;
  if (first->once.fingerprint != turn.once.fingerprint)
    out.push_back(refuse(promise, errc::idempotency_mismatch));
  else if (auto* note = waiting_for(waiting_record::kind::accept, first->task_id))
    note->promises.push_back(promise);
  else
    out.push_back(answer_effect{promise, {errc::none}, first->task_id, key_.id, 0, true});
  return true;
}

void conversation::start_next(effects& out, std::int64_t now) {
  if (running_ || queue_.empty() || removing_)
    return;
  // A turn whose acceptance is not durable yet is not known to exist.
  if (waiting_for(waiting_record::kind::accept, queue_.front().request.task_id) != nullptr)
    return;
  running_ = std::make_unique<run_state>();
  auto& run = *running_;
  run.turn = std::move(queue_.front());
  queue_.erase(queue_.begin());
  run.attempt = run.turn.first_attempt;
  run.updated_at = now;
  run.log = task_log{run.turn.log_seq, run.turn.log_at};
  waiting_record note{waiting_record::kind::start};
  note.task = run.turn.request.task_id;
  if (run.turn.awaited()) {
    run.start_ticket = 0;
    begin(out, now);
    return;
  }
  if (run.turn.resumed) { // it was started before; what is new is the attempt
    run.start_ticket = 0;
    auto e = make(event_kind::retry, run.turn.header, now);
    e->number = run.attempt;
    e->discard = true;
    e->stage = run.turn.stage;
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
  note.insists = true;
  run.start_ticket = record(std::move(group), std::move(note), out);
  tell(std::move(e), run.start_ticket, out);
  begin_early(out, now);
}

/// The model thinks while the disk writes; what it says is held back until that is durable. Not if
/// that is likely to be refused; and a service outside could call back before anybody knows of the
/// task.
void conversation::begin_early(effects& out, std::int64_t now) {
  if (!disk_full_ && running_->turn.request.kind != task_kind::external)
    begin(out, now);
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
  order->header = run.turn.header;
  if (run.turn.request.kind == task_kind::chat) {
    auto window = fit_window(system_prompt_, history_, run.turn.request.said, limits_.token_budget);
    order->messages = std::move(window.messages);
    run.prompt_tokens = window.tokens;
    run.dropped = static_cast<std::uint32_t>(older_ + window.dropped);
    history_.erase(history_.begin(), history_.begin() + window.beyond);
    older_ += window.beyond;
  } else {
    order->messages.push_back(run.turn.request.said); // what it is about; it has no history
    run.prompt_tokens = estimate_tokens(run.turn.request.said);
    order->done = run.turn.done;
  }
  order->settings = run.turn.request.settings;
  order->first_attempt = run.attempt;
  out.push_back(run_effect{std::move(order)});
}

void conversation::stop_running(effects& out) {
  if (running_->stopping)
    return;
  running_->stopping = true; // begin() looks at it
  if (running_->begun)
    out.push_back(stop_effect{});
}

effects conversation::cancel(const std::string& task, std::uint64_t promise, std::int64_t now) {
  effects out;
  if (removing_) {
    out.push_back(refuse(promise, errc::session_deleted));
    return out;
  }
  if (runs(task)) {
    running_->cancel_promises.push_back(promise);
    stop_running(out);
    return out;
  }
  auto i = std::find_if(queue_.begin(), queue_.end(),
                        [&](const turn_state& t) { return t.request.task_id == task; });
  if (i == queue_.end()) {
    out.push_back(refuse(promise, errc::task_ended));
    return out;
  }
  if (waiting_for(waiting_record::kind::accept, task) != nullptr) { // not known to exist yet
    i->cancel_promises.push_back(promise);
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
  ++message_count_;
  ++question_count_;
  conclude(t, {std::move(end), {}, {}}, {}, std::move(promises), out, now);
}

effects conversation::remove(bool expired, std::uint64_t promise, std::int64_t now) {
  effects out;
  if (removing_ || !exists_) {
    if (promise != 0)
      out.push_back(refuse(promise, errc::session_not_found));
    return out;
  }
  removing_ = true; // what runs and waits is kept until that is durable: it may be refused
  if (running_)
    stop_running(out);
  waiting_record note{waiting_record::kind::remove};
  note.promise = promise;
  store::fact_group group;
  lease_ = std::min(lease_, durable_lease_); // one that is under way may be refused
  lease_for(group, note, 1);
  auto e = make(expired ? event_kind::session_expired : event_kind::session_deleted, nullptr, now);
  group.push_back(store::session_removed{key_, now, expired});
  auto ticket = record(std::move(group), std::move(note), out);
  tell(std::move(e), ticket, out);
  return out;
}

} // namespace parlor
