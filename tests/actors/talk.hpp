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
  std::size_t dropped = 0; // with it

  // -- the server's life ---
  void open();
  /// kill -9: of what was handed to the keeper the first `reached` groups are on disk.
  void crash(std::size_t reached = 0);

  /// It comes to rest, and is touched again.
  void rest();

  // -- the keeper ---
  void commit_one();
  void commit();
  void refuse_one(errc why = errc::store_full);

  // -- clients ---
  turn_request turn(std::string task, std::string text = "hello") const;
  std::uint64_t submit(turn_request t);
  std::uint64_t submit(std::string task, std::string text = "hello");
  std::uint64_t submit(std::string task, on_busy busy);
  std::uint64_t cancel(const std::string& task);
  std::uint64_t remove(bool expired = false);
  std::uint64_t open_session();
  std::uint64_t call_back(const std::string& task, outside_news::kind what, std::string text = {},
                          std::uint32_t percent = 0);
  bool answered(std::uint64_t p) const { return answers.count(p) != 0; }
  errc answer(std::uint64_t p) const;

  // -- the running task ---
  const std::string& running() const;
  void say(std::string text) { take(c->delta(running(), std::move(text), now)); }
  void retry(std::uint32_t attempt, bool discard);
  void finish(task_status status = task_status::completed, errc error = errc::none,
              std::uint32_t attempts = 1);
  void stopped() { finish(task_status::cancelled, errc::cancelled); }
  void checkpoint() { take(c->checkpoint(now)); }
  /// A whole turn, durable.
  void chat(const std::string& task, std::string question = "hello", std::string answer = "hi");

  // -- what was seen ---
  std::vector<std::string> kinds() const;
  static std::string describe(const event& e);
  const event* last(const std::string& what) const;
  std::size_t count(const std::string& what) const;

  void take(effects es);

private:
  std::uint64_t promise();
  record_effect next_record();
  void on(record_effect& r);
  void on(publish_effect& p);
  void on(run_effect& r) { orders.push_back(r.order); }
  void on(stop_effect&) { ++stops; }
  void on(hand_over_effect& h) { handed_over.push_back(std::move(h.news)); }
  void on(answer_effect& a);
  void on(retire_effect& gone) {
    retired = true;
    dropped = gone.dropped.size();
  }

  std::uint64_t next_promise_ = 1;
};

} // namespace parlor::test
