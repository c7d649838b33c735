#include "llm/limiter.hpp"

#include <list>
#include <mutex>
#include <utility>

namespace parlor::llm {

namespace {

using callback = std::function<void()>;

// The counts, shared by the limiter and its tickets, so that a ticket may outlive the limiter.
struct shared_state {
  struct waiter {
    void* owner;
    callback granted;
  };

  shared_state(std::size_t c, std::size_t w) : concurrent{c}, most{c + w} {}

  // Takes the next in line into the slot that is free. The callback is called by the caller,
  // without the lock.
  callback next_locked() {
    if (queue.empty() || running >= concurrent)
      return {};
    auto granted = std::move(queue.front().granted);
    holder_of(queue.front().owner);
    queue.pop_front();
    ++running;
    return granted;
  }

  void holder_of(void* owner);

  std::mutex mutex;
  std::size_t concurrent;
  std::size_t most;
  std::size_t admitted = 0;
  std::size_t running = 0;
  std::list<waiter> queue; // first come, first served
};

class ticket_impl final : public limiter::ticket {
public:
  explicit ticket_impl(std::shared_ptr<shared_state> state) : state_{std::move(state)} {}

  ~ticket_impl() override {
    callback next;
    callback dropped; // destroyed after the lock is gone: it may own things that call back
    {
      std::lock_guard lock{state_->mutex};
      --state_->admitted;
      next = give_up_locked(dropped);
    }
    if (next)
      next();
  }

  void acquire(callback granted) override {
    {
      std::lock_guard lock{state_->mutex};
      if (held_)
        return;
      if (state_->running >= state_->concurrent || !state_->queue.empty()) {
        state_->queue.push_back({this, std::move(granted)});
        return;
      }
      ++state_->running;
      held_ = true;
    }
    granted();
  }

  void release() override {
    callback next;
    callback dropped;
    {
      std::lock_guard lock{state_->mutex};
      next = give_up_locked(dropped);
    }
    if (next)
      next();
  }

private:
  friend struct shared_state;

  callback give_up_locked(callback& dropped) {
    if (held_) {
      held_ = false;
      --state_->running;
      return state_->next_locked();
    }
    for (auto i = state_->queue.begin(); i != state_->queue.end(); ++i)
      if (i->owner == this) {
        dropped = std::move(i->granted);
        state_->queue.erase(i);
        break;
      }
    return {};
  }

  std::shared_ptr<shared_state> state_;
  bool held_ = false; // guarded by the state's mutex
};

void shared_state::holder_of(void* owner) { static_cast<ticket_impl*>(owner)->held_ = true; }

class limiter_impl final : public limiter {
public:
  limiter_impl(std::size_t concurrent, std::size_t waiting)
      : state_{std::make_shared<shared_state>(concurrent, waiting)} {}

  std::shared_ptr<ticket> admit(bool in_any_case) override {
    {
      std::lock_guard lock{state_->mutex};
      if (!in_any_case && state_->admitted >= state_->most)
        return nullptr;
      ++state_->admitted;
    }
    return std::make_shared<ticket_impl>(state_);
  }

  std::size_t in_flight() const override {
    std::lock_guard lock{state_->mutex};
    return state_->running;
  }

  std::size_t waiting() const override {
    std::lock_guard lock{state_->mutex};
    return state_->admitted - state_->running;
  }

private:
  std::shared_ptr<shared_state> state_;
};

} // namespace

std::shared_ptr<limiter> make_limiter(std::size_t concurrent, std::size_t waiting) {
  return std::make_shared<limiter_impl>(concurrent, waiting);
}

} // namespace parlor::llm
