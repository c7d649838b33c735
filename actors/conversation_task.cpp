#include "actors/conversation.hpp"

// What the running task tells, and how it ends.

#include <algorithm>
#include <iterator>
#include <utility>

namespace parlor {

namespace {
constexpr std::int64_t progress_every_ms =
    100; // docs/clients/generate-async.md: at most ten a second
}

/// Nearly always it is named by the header that its worker was given, and need not be read.
bool conversation::runs(const std::string& task) const {
  return running_ && (&task == &running_->turn.header->id || running_->turn.header->id == task);
}

/// Nothing of a task is told before its start is durable, and nothing that it does is recorded
/// before: what it reports until then waits.
bool conversation::held_back(const std::string& task) const {
  return runs(task) && running_->start_ticket != 0 && waiting_.contains(running_->start_ticket);
}

effects conversation::later(std::function<effects(std::int64_t)> report) {
  running_->early.push_back(std::move(report));
  return {};
}

/// The start of the running task is durable.
void conversation::started(effects& out, std::int64_t now) {
  begin(out, now);
  if (!running_)
    return;
  for (auto& report : std::exchange(running_->early, {})) {
    auto more = report(now);
    std::move(more.begin(), more.end(), std::back_inserter(out));
  }
}

effects conversation::delta(const std::string& task, std::string text, std::int64_t now,
                            stage_name stage) {
  effects out;
  if (held_back(task))
    return later([=, this](std::int64_t then) { return delta(task, text, then, stage); });
  if (!runs(task) || text.empty())
    return out;
  auto& run = *running_;
  run.text += text;
  run.tokens += estimate_tokens(text);
  run.updated_at = now;
  auto e = make(event_kind::delta, run.turn.header, now);
  e->text = std::move(text);
  e->stage = std::move(stage);
  run.log.note(*e);
  tell(std::move(e), 0, out);
  if (run.turn.request.kind == task_kind::chat) // others know better how far they are
    report_progress(out, now);
  lease_more(out);
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
                               std::uint32_t delay_ms, bool discard, std::int64_t now,
                               stage_name stage, std::string why) {
  effects out;
  if (held_back(task))
    return later([=, this](std::int64_t then) {
      return retrying(task, attempt, delay_ms, discard, then, stage, why);
    });
  if (!runs(task))
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
  e->stage = std::move(stage);
  e->text = std::move(why);
  run.log.note(*e);
  tell(std::move(e), 0, out);
  lease_more(out);
  return out;
}

effects conversation::attempt_ended(const std::string& task, std::uint32_t attempt, usage used,
                                    errc error, std::int64_t now, std::string model) {
  effects out;
  if (held_back(task))
    return later([=, this](std::int64_t then) {
      return attempt_ended(task, attempt, used, error, then, model);
    });
  if (!runs(task))
    return out;
  auto& run = *running_;
  run.attempt = std::max(run.attempt, attempt + 1);
  record_usage(run.turn, {attempt, used, error}, out, now, std::move(model));
  return out;
}

void conversation::record_usage(const turn_state& turn, const attempt_usage& of, effects& out,
                                std::int64_t now, std::string model) {
  waiting_record note{waiting_record::kind::usage};
  note.insists = true;
  record({store::usage_recorded{turn.header->id, of.attempt,
                                model.empty() ? turn.header->model : std::move(model), now, of.used,
                                of.error}},
         std::move(note), out);
}

effects conversation::finished(const std::string& task, outcome end, std::string answer_extra,
                               std::int64_t now, std::optional<attempt_usage> last) {
  effects out;
  if (held_back(task))
    return later(
        [=, this](std::int64_t then) { return finished(task, end, answer_extra, then, last); });
  if (!runs(task))
    return out;
  auto& run = *running_;
  if (run.turn.request.wants_text_done && end.status == task_status::completed) {
    auto e = make(event_kind::text_done, run.turn.header, now);
    e->text = run.text;
    run.log.note(*e);
    tell(std::move(e), 0, out);
  }
  run.over.emplace(run_state::ending{std::move(end), std::move(answer_extra), last});
  conclude_running(out, now);
  return out;
}

effects conversation::crashed(const std::string& task, std::int64_t now) {
  if (held_back(task))
    return later([=, this](std::int64_t then) { return crashed(task, then); });
  if (!runs(task))
    return {};
  auto& run = *running_;
  outcome end;
  end.status = task_status::failed;
  end.error = errc::internal;
  end.attempts = run.attempt;
  end.used = {run.prompt_tokens, run.tokens, false};
  return finished(task, end, {}, now, attempt_usage{run.attempt, end.used, end.error});
}

void conversation::conclude_running(effects& out, std::int64_t now) {
  // Its end is recorded behind the checkpoint under way, which may come back refused; and not while
  // a removal is, which makes it pointless.
  if (!running_ || !running_->over || running_->checkpoint_ticket != 0 || removing_)
    return;
  auto run = std::move(*running_);
  running_.reset();
  auto& end = run.over->end;
  if (end.content.empty()) // its result is its text
    end.content = std::move(run.text);
  end.history_dropped = run.dropped;
  auto& turn = run.turn;
  ++message_count_;
  ++question_count_;
  if (!end.content.empty() || !run.over->answer_extra.empty()) {
    end.message_id = make_message_id();
    remember(turn.request.said, end.content, run.over->answer_extra);
    ++message_count_;
  }
  turn.spent += end.used;
  end.used = turn.spent;
  total_tokens_ += end.used.total();
  last_accessed_ = now;
  end.session_tokens = total_tokens_;
  end.session_questions = question_count_;
  conclude(turn, std::move(*run.over), run.log.take(), std::move(run.cancel_promises), out, now,
           std::move(run.called));
  start_next(out, now);
}

void conversation::conclude(const turn_state& t, run_state::ending over, task_log::pieces shown,
                            std::vector<std::uint64_t> promises, effects& out, std::int64_t now,
                            callers called) {
  auto& end = over.end;
  auto kind = end.status == task_status::completed   ? event_kind::completed
              : end.status == task_status::cancelled ? event_kind::cancelled
                                                     : event_kind::failed;
  store::fact_group group;
  waiting_record note{waiting_record::kind::end};
  lease_for(group, note, 1);
  auto e = make(kind, t.header, now);
  store::task_ended fact;
  fact.key = key_;
  fact.task = t.request.task_id;
  fact.at = now;
  fact.seq = e->seq;
  note.cancelled = end.status == task_status::cancelled;
  note.called_back = end.finish_reason == by_callback;
  fact.end = e->end = std::make_shared<const outcome>(std::move(end));
  fact.answer_extra = std::move(over.answer_extra);
  fact.text = std::move(shown.text);
  fact.log = std::move(shown.entries);
  note.task = t.request.task_id;
  note.promises = std::move(promises);
  note.called = std::move(called);
  group.push_back(std::move(fact));
  if (over.last) // a turn ends with a usage record, always
    group.push_back(store::usage_recorded{t.request.task_id, over.last->attempt, t.header->model,
                                          now, over.last->used, over.last->error});
  note.insists = true;
  if (!running_ && queue_.empty()) {
    // Nothing more is being said: what was leased and not used is given back with the same commit,
    // so that numbers go on without a gap however the server ends now.
    lease_ = note.settled = e->seq;
    group.push_back(store::seq_leased{key_, lease_, true});
  }
  auto ticket = record(std::move(group), std::move(note), out);
  tell(std::move(e), ticket, out);
}

store::fact_group_ptr conversation::checkpoint_of(run_state& run, std::int64_t now) {
  auto shown = run.log.take();
  store::fact_group group;
  group.emplace_back(store::task_checkpoint{run.turn.request.task_id, now, std::move(shown.text),
                                            std::move(shown.entries)});
  return std::make_shared<const store::fact_group>(std::move(group));
}

effects conversation::checkpoint(std::int64_t now) {
  effects out;
  if (!running_ || running_->log.empty() || running_->checkpoint_ticket != 0)
    return out;
  auto& run = *running_;
  run.checkpoint_ticket =
      record(checkpoint_of(run, now), waiting_record{waiting_record::kind::checkpoint}, out);
  return out;
}

} // namespace parlor
