#include "actors/conversation.hpp"

// Tasks that are more than one call to a model: their stages, and what calls back from outside.

#include <algorithm>
#include <utility>

namespace parlor {

effects conversation::open(std::uint64_t promise, std::int64_t now) {
  effects out;
  if (removing_) {
    out.push_back(refuse(promise, errc::session_deleted));
  } else if (exists_ && !durable()) { // it is on its way, and may not arrive
    for (auto& [ticket, note] : waiting_)
      if (note.opens)
        note.promises.push_back(promise);
  } else if (exists_) {
    answer_effect yes;
    yes.promise = promise;
    yes.why.code = errc::none;
    yes.session = key_.id;
    out.push_back(std::move(yes));
  } else {
    exists_ = true;
    created_at_ = last_accessed_ = now;
    waiting_record note{waiting_record::kind::open};
    note.promise = promise;
    note.opens = true;
    record({store::session_opened{key_, now, {}, {}}}, std::move(note), out);
  }
  return out;
}

effects conversation::progress(const std::string& task, std::uint32_t percent, std::string text,
                               std::int64_t now, stage_name stage) {
  effects out;
  if (held_back(task))
    return later(
        [=, this](std::int64_t then) { return progress(task, percent, text, then, stage); });
  if (!runs(task))
    return out;
  auto& run = *running_;
  percent = std::clamp<std::uint32_t>(percent, run.progress, 99);
  if (percent == run.progress && text.empty())
    return out;
  run.progress = percent;
  run.updated_at = now;
  auto e = make(event_kind::progress, run.turn.header, now);
  e->number = percent;
  e->text = std::move(text);
  e->stage = std::move(stage);
  run.log.note(*e);
  tell(std::move(e), 0, out);
  lease_more(out);
  return out;
}

effects conversation::stage_done(const std::string& task, stage_name stage, std::string result,
                                 std::int64_t now) {
  effects out;
  if (held_back(task))
    return later([=, this](std::int64_t then) { return stage_done(task, stage, result, then); });
  if (!runs(task))
    return out;
  auto& run = *running_;
  run.text.clear(); // of the next stage from here on
  run.tokens = 0;
  run.updated_at = now;
  auto e = make(event_kind::stage_done, run.turn.header, now);
  e->stage = std::move(stage);
  e->text = std::move(result);
  run.log.note(*e);
  if (run.stage_ticket == 0) {
    run.stage_ticket = next_ticket_++;
    waiting_.emplace(run.stage_ticket, waiting_record{waiting_record::kind::checkpoint});
  }
  tell(std::move(e), run.stage_ticket, out);
  record_stage(out, now);
  lease_more(out);
  return out;
}

/// What a stage has come to is durable before it is told. One checkpoint at a time: they are
/// relative to each other.
void conversation::record_stage(effects& out, std::int64_t now) {
  if (!running_ || running_->stage_ticket == 0 || running_->checkpoint_ticket != 0)
    return;
  auto& run = *running_;
  run.checkpoint_ticket = std::exchange(run.stage_ticket, 0);
  auto& note = waiting_.at(run.checkpoint_ticket);
  note.insists = true;
  note.group = checkpoint_of(run, now);
  out.push_back(record_effect{run.checkpoint_ticket, note.group});
}

effects conversation::called_back(const std::string& task, outside_news news, std::uint64_t promise,
                                  std::int64_t now) {
  effects out;
  using kind = outside_news::kind;
  if (!exists_ || removing_) {
    out.push_back(refuse(promise, errc::session_not_found));
    return out;
  }
  if (!running_ || running_->turn.request.kind != task_kind::external || !running_->begun ||
      (!task.empty() && !runs(task))) {
    // What has ended it may be on its way to the disk.
    for (auto& [ticket, note] : waiting_)
      if (note.what == waiting_record::kind::end && note.called_back &&
          (task.empty() || note.task == task) && note.called.same(news)) {
        note.called.promises.push_back(promise);
        return out;
      }
    out.push_back(refuse(promise, errc::not_waiting));
    return out;
  }
  auto& run = *running_;
  if (!run.called.promises.empty()) { // it is about to end
    if (run.called.same(news))
      run.called.promises.push_back(promise);
    else
      out.push_back(refuse(promise, errc::not_waiting));
    return out;
  }
  if (news.what == kind::progress) {
    out = progress(run.turn.request.task_id, news.percent, std::move(news.text), now);
    answer_effect yes;
    yes.promise = promise;
    yes.why.code = errc::none;
    yes.task = run.turn.request.task_id;
    out.push_back(std::move(yes));
    return out;
  }
  run.called = {news, {promise}};
  out.push_back(hand_over_effect{std::move(news)});
  return out;
}

} // namespace parlor
