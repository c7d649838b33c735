#pragma once
// One conversation (actors/conversation.hpp) with a disk that answers when the test says so. What
// must hold always is checked at every step: nothing is told before it is durable, numbers only
// grow, every promise is answered once.

#include "actors/conversation.hpp"
#include "model_disk.hpp"
#include "protocol/window.hpp"
#include "support/catch.hpp"

#include <deque>
#include <set>

namespace parlor::test {

struct talk {
  explicit talk(session_limits l = {}) : limits{l} { open(); }

  session_key key{"", "room"};
  session_limits limits;
  std::int64_t now = 1'000'000;
  model_disk disk;
  std::optional<conversation> c;
  std::deque<record_effect> pending; // handed to the keeper, not answered yet
  std::deque<record_effect> later;   // the disk was full: they wait before they are tried again
  std::vector<event_ptr> told;       // to watchers, over all lives of the server
  std::vector<task_order_ptr> orders;
  std::map<std::uint64_t, answer_effect> answers;
  std::set<std::uint64_t> asked;
  int stops = 0;
  std::vector<outside_news> handed_over; // to the running task
  bool retired = false;

  // -- the server's life ---
  void open() {
    retired = false;
    c.emplace(key, limits, disk.load(key, {.text_bytes = window_bytes(limits.token_budget)}), now);
    take(c->resume(now));
  }
  /// kill -9: of what was handed to the keeper the first `reached` groups are on disk.
  void crash(std::size_t reached = 0) {
    for (std::size_t i = 0; i < reached && i < pending.size(); ++i)
      disk.apply(pending[i].group);
    pending.clear();
    later.clear();
    asked.clear(); // whoever waited has lost the connection
    open();
  }

  /// It comes to rest, and is touched again.
  void rest() {
    auto rest = c->at_rest();
    c.emplace(key, limits, rest);
    REQUIRE(c->idle());
    REQUIRE(c->recent().empty());
  }

  // -- the keeper ---
  void commit_one() {
    auto r = next_record();
    auto result = disk.apply(r.group);
    if (!retired) // nobody is there any more to be told
      take(c->durable(r.ticket, result, now));
  }
  void commit() {
    while (!pending.empty() || !later.empty())
      commit_one();
  }
  void refuse_one(errc why = errc::store_full) {
    auto r = next_record();
    if (!retired)
      take(c->refused(r.ticket, why, now));
  }

  // -- clients ---
  turn_request turn(std::string task, std::string text = "hello") const {
    turn_request t;
    t.session = key;
    t.task_id = task;
    t.message_id = "q_" + task;
    t.said.content = std::move(text);
    t.settings.model = std::string{"m"};
    return t;
  }
  std::uint64_t submit(turn_request t) {
    auto p = promise();
    take(c->submit(std::move(t), p, now));
    return p;
  }
  std::uint64_t submit(std::string task, std::string text = "hello") {
    return submit(turn(std::move(task), std::move(text)));
  }
  std::uint64_t submit(std::string task, on_busy busy) {
    auto t = turn(std::move(task));
    t.when_busy = busy;
    return submit(std::move(t));
  }
  std::uint64_t cancel(const std::string& task) {
    auto p = promise();
    take(c->cancel(task, p, now));
    return p;
  }
  std::uint64_t remove(bool expired = false) {
    auto p = promise();
    take(c->remove(expired, p, now));
    return p;
  }
  std::uint64_t open_session() {
    auto p = promise();
    take(c->open(p, now));
    return p;
  }
  std::uint64_t call_back(const std::string& task, outside_news::kind what, std::string text = {},
                          std::uint32_t percent = 0) {
    auto p = promise();
    take(c->called_back(task, {what, percent, std::move(text)}, p, now));
    return p;
  }
  bool answered(std::uint64_t p) const { return answers.count(p) != 0; }
  errc answer(std::uint64_t p) const {
    REQUIRE(answered(p));
    return answers.at(p).why.code;
  }

  // -- the running task ---
  const std::string& running() const {
    REQUIRE_FALSE(orders.empty());
    return orders.back()->header->id;
  }
  void say(std::string text) { take(c->delta(running(), std::move(text), now)); }
  void retry(std::uint32_t attempt, bool discard) {
    take(c->retrying(running(), attempt, 1000, discard, now));
  }
  void finish(task_status status = task_status::completed, errc error = errc::none,
              std::uint32_t attempts = 1) {
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
  void stopped() { finish(task_status::cancelled, errc::cancelled); }
  void checkpoint() { take(c->checkpoint(now)); }
  /// A whole turn, durable.
  void chat(const std::string& task, std::string question = "hello", std::string answer = "hi") {
    submit(task, std::move(question));
    commit();
    say(std::move(answer));
    finish();
    commit();
  }

  // -- what was seen ---
  std::vector<std::string> kinds() const {
    std::vector<std::string> out;
    for (auto& e : told)
      out.push_back(describe(*e));
    return out;
  }
  static std::string describe(const event& e) {
    static constexpr const char* names[] = {
        "accepted",   "started",   "delta",  "progress",  "retry",           "text_done",
        "stage_done", "completed", "failed", "cancelled", "session_deleted", "session_expired"};
    std::string s = names[static_cast<std::size_t>(e.kind)];
    return e.task ? s + " " + e.task->id : s;
  }
  const event* last(const std::string& what) const {
    for (auto i = told.rbegin(); i != told.rend(); ++i)
      if (describe(**i) == what)
        return i->get();
    return nullptr;
  }
  std::size_t count(const std::string& what) const {
    return static_cast<std::size_t>(
        std::count_if(told.begin(), told.end(), [&](auto& e) { return describe(*e) == what; }));
  }

  void take(effects es) {
    for (auto& e : es)
      std::visit([this](auto& x) { on(x); }, e);
  }

private:
  std::uint64_t promise() {
    asked.insert(next_promise_);
    return next_promise_++;
  }
  record_effect next_record() {
    if (pending.empty())
      pending.swap(later);
    REQUIRE_FALSE(pending.empty());
    auto r = std::move(pending.front());
    pending.pop_front();
    return r;
  }
  void on(record_effect& r) {
    auto& queue = r.after_ms != 0 ? later : pending;
    queue.push_back(std::move(r));
  }
  void on(publish_effect& p) {
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
  void on(run_effect& r) { orders.push_back(r.order); }
  void on(stop_effect&) { ++stops; }
  void on(hand_over_effect& h) { handed_over.push_back(std::move(h.news)); }
  void on(answer_effect& a) {
    INFO("promise " << a.promise);
    REQUIRE(asked.erase(a.promise) == 1);
    answers.emplace(a.promise, a);
  }
  void on(retire_effect&) { retired = true; }

  std::uint64_t next_promise_ = 1;
};

} // namespace parlor::test
