#include "talk.hpp"

namespace parlor::test {

void talk::open() {
  retired = false;
  c.emplace(key, limits, disk.load(key, {.text_bytes = window_bytes(limits.token_budget)}), now);
  take(c->resume(now));
}

void talk::crash(std::size_t reached) {
  for (std::size_t i = 0; i < reached && i < pending.size(); ++i)
    disk.apply(*pending[i].group);
  pending.clear();
  later.clear();
  asked.clear(); // whoever waited has lost the connection
  open();
}

void talk::rest() {
  auto rest = c->at_rest();
  c.emplace(key, limits, rest);
  REQUIRE(c->idle());
  REQUIRE(c->recent().empty());
}

void talk::commit_one() {
  auto r = next_record();
  auto result = disk.apply(*r.group);
  if (!retired) // nobody is there any more to be told
    take(c->durable(r.ticket, result, now));
}

void talk::commit() {
  while (!pending.empty() || !later.empty())
    commit_one();
}

void talk::refuse_one(errc why) {
  auto r = next_record();
  if (!retired)
    take(c->refused(r.ticket, why, now));
}

turn_request talk::turn(std::string task, std::string text) const {
  turn_request t;
  t.session = key;
  t.task_id = task;
  t.message_id = "q_" + task;
  t.said.content = std::move(text);
  t.settings.model = std::string{"m"};
  return t;
}

std::uint64_t talk::submit(turn_request t) {
  auto p = promise();
  take(c->submit(std::move(t), p, now));
  return p;
}

std::uint64_t talk::submit(std::string task, std::string text) {
  return submit(turn(std::move(task), std::move(text)));
}

std::uint64_t talk::submit(std::string task, on_busy busy) {
  auto t = turn(std::move(task));
  t.when_busy = busy;
  return submit(std::move(t));
}

std::uint64_t talk::cancel(const std::string& task) {
  auto p = promise();
  take(c->cancel(task, p, now));
  return p;
}

std::uint64_t talk::remove(bool expired) {
  auto p = promise();
  take(c->remove(expired, p, now));
  return p;
}

std::uint64_t talk::open_session() {
  auto p = promise();
  take(c->open(p, now));
  return p;
}

std::uint64_t talk::call_back(const std::string& task, outside_news::kind what, std::string text,
                              std::uint32_t percent) {
  auto p = promise();
  take(c->called_back(task, {what, percent, std::move(text)}, p, now));
  return p;
}

errc talk::answer(std::uint64_t p) const {
  REQUIRE(answered(p));
  return answers.at(p).why.code;
}

const std::string& talk::running() const {
  REQUIRE_FALSE(orders.empty());
  return orders.back()->header->id;
}

void talk::retry(std::uint32_t attempt, bool discard) {
  take(c->retrying(running(), attempt, 1000, discard, now));
}

void talk::finish(task_status status, errc error, std::uint32_t attempts) {
  outcome end;
  end.status = status;
  end.error = error;
  end.attempts = attempts;
  end.finish_reason = status == task_status::completed ? "stop" : "";
  end.used = {3, 4, true};
  auto task = running();
  take(c->attempt_ended(task, attempts, end.used, error, now));
  take(c->finished(task, std::move(end), {}, now));
}

void talk::chat(const std::string& task, std::string question, std::string answer) {
  submit(task, std::move(question));
  commit();
  say(std::move(answer));
  finish();
  commit();
}

std::vector<std::string> talk::kinds() const {
  std::vector<std::string> out;
  for (auto& e : told)
    out.push_back(describe(*e));
  return out;
}

std::string talk::describe(const event& e) {
  static constexpr const char* names[] = {
      "accepted",   "started",   "delta",  "progress",  "retry",           "text_done",
      "stage_done", "completed", "failed", "cancelled", "session_deleted", "session_expired"};
  std::string s = names[static_cast<std::size_t>(e.kind)];
  return e.task ? s + " " + e.task->id : s;
}

const event* talk::last(const std::string& what) const {
  for (auto i = told.rbegin(); i != told.rend(); ++i)
    if (describe(**i) == what)
      return i->get();
  return nullptr;
}

std::size_t talk::count(const std::string& what) const {
  return static_cast<std::size_t>(
      std::count_if(told.begin(), told.end(), [&](auto& e) { return describe(*e) == what; }));
}

void talk::take(effects es) {
  for (auto& e : es)
    std::visit([this](auto& x) { on(x); }, e);
}

std::uint64_t talk::promise() {
  asked.insert(next_promise_);
  return next_promise_++;
}

record_effect talk::next_record() {
  if (pending.empty())
    pending.swap(later);
  REQUIRE_FALSE(pending.empty());
  auto r = std::move(pending.front());
  pending.pop_front();
  return r;
}

void talk::on(record_effect& r) {
  auto& queue = r.after_ms != 0 ? later : pending;
  queue.push_back(std::move(r));
}

void talk::on(publish_effect& p) {
  auto& e = *p.what;
  if (!told.empty())
    REQUIRE(e.seq > told.back()->seq);
  auto s = disk.sessions.find(key);
  REQUIRE(e.seq <= (s == disk.sessions.end() ? disk.floor : s->second.row.lease));
  if (e.task) {
    auto t = disk.tasks.find(e.task->id);
    if (t != disk.tasks.end()) { // it is gone only if the session is
      if (e.kind == event_kind::accepted)
        REQUIRE(t->second.accepted_seq == e.seq);
      if (e.kind == event_kind::started)
        REQUIRE(t->second.started_seq == e.seq);
      if (ends_task(e.kind))
        REQUIRE(t->second.ended_seq == e.seq);
    } else {
      REQUIRE(s == disk.sessions.end());
    }
  } else {
    REQUIRE(s == disk.sessions.end());
  }
  told.push_back(p.what);
}

void talk::on(answer_effect& a) {
  INFO("promise " << a.promise);
  REQUIRE(asked.erase(a.promise) == 1);
  answers.emplace(a.promise, a);
}

} // namespace parlor::test
