#pragma once
// Past what the machine can do, a turn more only makes all of them wait: it is refused while that
// is cheap, so that those who came before get their answers.
//
// How long it would wait is known at the door: so many are inside, and so many are accepted a
// second (Little's law). Nobody has to be late first. A crowd is stopped before it is inside, the
// queue never runs empty, and a crowd that can be accepted in time is let in.
//
// Of those inside so many are under way at once as fill a commit; the others wait here, where they
// cost nothing. A thousand under way would each find its memory gone from the caches at every step
// (docs/decisions/0011-cost-of-a-token.md).
//
// Owner: shared by the API and the edges. Thread: any. Pure: the time is given.

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

namespace parlor {

class turn_gate : public std::enable_shared_from_this<turn_gate> {
public:
  using clock = std::chrono::steady_clock;

  /// One turn inside: until it is accepted or, as it has been refused or lost on its way, nobody
  /// holds this any longer. Thread: one at a time.
  class ticket {
  public:
    explicit ticket(std::shared_ptr<turn_gate> gate) : gate_{std::move(gate)} {}
    ticket(const ticket&) = delete;
    ticket& operator=(const ticket&) = delete;
    ~ticket() {
      if (auto gate = std::exchange(gate_, nullptr))
        gate->left(*this);
    }
    void accepted(clock::time_point now) {
      if (auto gate = std::exchange(gate_, nullptr))
        gate->accepted(*this, now);
    }
    /// Nobody waits for it any longer, though it has not been accepted: it is inside, but another
    /// may be under way in its place.
    void give_way() {
      if (gate_)
        gate_->give_way(*this);
    }

  private:
    friend turn_gate;
    std::shared_ptr<turn_gate> gate_; // null: accepted
    bool under_way_ = false;          // with the gate's mutex held
  };
  using ticket_ptr = std::shared_ptr<ticket>;

  /// `longest` is how long a turn may wait to be accepted. 0: the gate is never shut.
  explicit turn_gate(std::chrono::milliseconds longest) : longest_{longest} {}

  /// For one more turn; null: it would wait too long.
  ticket_ptr enter(clock::time_point now) { return come(now, false); }
  /// For one whose client is told again and again that it waits: it comes in, and counts.
  ticket_ptr enter_in_any_case(clock::time_point now) { return come(now, true); }

  /// Calls `go`, which must only send messages: now, or on the thread on which one of those that
  /// are under way makes room.
  template <class F>
  void begin(const ticket_ptr& who, F go) {
    {
      std::lock_guard lock{mutex_};
      if (under_way_ >= abreast || !waiting_.empty()) {
        waiting_.push_back({who, std::move(go)});
        return;
      }
      take_room(*who);
    }
    go();
  }

  /// So many are under way at once: enough for a commit of theirs to be worth its sync, also where
  /// one takes long.
  static constexpr std::int64_t abreast = 128;
  /// Fewer come in whatever they wait: a slow sync of the disk is no crowd, and one serves many.
  static constexpr std::int64_t few = 64;
  /// From so many on it is measured how fast they are accepted; fewer may be all that come.
  static constexpr std::int64_t crowd = 32;
  /// It is measured for so long; a crowd is not known to be too large before.
  static constexpr std::chrono::milliseconds window{100};

private:
  struct waiting {
    ticket_ptr who;
    std::function<void()> go;
  };

  ticket_ptr come(clock::time_point now, bool in_any_case) {
    {
      std::lock_guard lock{mutex_};
      if (inside_ >= crowd)
        measure(now);
      if (!in_any_case && inside_ >= few && shut())
        return nullptr;
      if (++inside_ == crowd)
        start(now);
    }
    return std::make_shared<ticket>(shared_from_this());
  }

  // With mutex_ held.
  bool shut() const {
    return longest_.count() != 0 && inside_ * over_.count() > done_ * longest_.count();
  }
  void start(clock::time_point now) {
    since_ = now;
    counted_ = done_ = 0;
    over_ = {};
  }
  void measure(clock::time_point now) {
    if (now - since_ < window)
      return;
    done_ = std::exchange(counted_, 0);
    over_ = now - std::exchange(since_, now);
  }

  /// Only these are counted: who is refused by a full session is so at once, and would make the
  /// others seem quick.
  void accepted(ticket& who, clock::time_point now) {
    std::unique_lock lock{mutex_};
    ++counted_;
    if (inside_-- >= crowd)
      measure(now);
    make_room(who, lock);
  }
  void left(ticket& who) {
    std::unique_lock lock{mutex_};
    --inside_;
    make_room(who, lock);
  }
  void give_way(ticket& who) {
    std::unique_lock lock{mutex_};
    make_room(who, lock);
  }

  void take_room(ticket& who) { // with mutex_ held
    ++under_way_;
    who.under_way_ = true;
  }
  /// What cannot even be sent for want of memory would leave the others waiting for good: it ends
  /// the program instead.
  void make_room(ticket& who, std::unique_lock<std::mutex>& lock) noexcept {
    if (!std::exchange(who.under_way_, false))
      return;
    --under_way_;
    // Where nobody takes what is sent any longer a turn ends while it begins, and comes back here:
    // one at a time, not one within the other.
    if (std::exchange(letting_on_, true))
      return;
    while (under_way_ < abreast && !waiting_.empty()) {
      auto next = std::move(waiting_.front());
      waiting_.pop_front();
      take_room(*next.who);
      lock.unlock();
      next.go();
      next = {};
      lock.lock();
    }
    letting_on_ = false;
  }

  const clock::duration longest_;
  std::mutex mutex_;
  std::int64_t inside_ = 0;
  std::int64_t under_way_ = 0;
  std::deque<waiting> waiting_; // in the order in which they came
  bool letting_on_ = false;
  // Since there is a crowd:
  clock::time_point since_;  // when the counting began
  std::int64_t counted_ = 0; // accepted since then
  std::int64_t done_ = 0;    // accepted in the time before that,
  clock::duration over_{0};  // which was so long; 0: there is none yet
};

} // namespace parlor
