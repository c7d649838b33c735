#include "actors/own_thread.hpp"

#include <caf/scheduler/abstract_coordinator.hpp>

#include <pthread.h>
#include <vector>

namespace parlor {

namespace {

/// Actors that have work, put to the pool by one job of the pool.
class together final : public caf::resumable {
public:
  explicit together(std::vector<caf::resumable*> jobs) : jobs_{std::move(jobs)} {}
  resume_result resume(caf::execution_unit* pool, std::size_t) override {
    for (auto* j : jobs_)
      pool->exec_later(j);
    return done;
  }
  void intrusive_ptr_add_ref_impl() override {}
  void intrusive_ptr_release_impl() override { delete this; } // has one owner: who runs it

private:
  std::vector<caf::resumable*> jobs_;
};

/// What the actor sends to others while it handles a message.
class outgoing final : public caf::execution_unit {
public:
  explicit outgoing(caf::actor_system* system) : caf::execution_unit{system} {}
  void exec_later(caf::resumable* job) override { jobs_.push_back(job); }
  void send() {
    if (jobs_.empty())
      return;
    auto& pool = system().scheduler();
    if (jobs_.size() == 1)
      pool.enqueue(jobs_.front());
    else
      pool.enqueue(new together{std::move(jobs_)});
    jobs_.clear();
  }

private:
  std::vector<caf::resumable*> jobs_;
};

} // namespace

own_thread::own_thread(const char* name) : thread_{[this, name] { run(name); }} {}

own_thread::~own_thread() {
  {
    std::lock_guard lock{mutex_};
    stopping_ = true;
  }
  rung_.notify_one();
  thread_.join();
}

void own_thread::has_work(caf::resumable* job, bool from_pool) {
  {
    std::lock_guard lock{mutex_};
    job_ = job;
  }
  if (from_pool)
    system_->scheduler().enqueue(&ringer_);
  else
    ring();
}

void own_thread::ring() {
  {
    std::lock_guard lock{mutex_};
    ringing_ = true;
  }
  rung_.notify_one(); // without the lock, which the thread takes next
}

void own_thread::run(const char* name) {
  ::pthread_setname_np(::pthread_self(), name);
  for (;;) {
    caf::resumable* job = nullptr;
    {
      std::unique_lock lock{mutex_};
      rung_.wait(lock, [this] { return ringing_ || stopping_; });
      if (!ringing_)
        return;
      ringing_ = false;
      job = std::exchange(job_, nullptr);
    }
    outgoing out{system_};
    auto was = caf::resumable::resume_later;
    while (was == caf::resumable::resume_later) { // one message at a time: nobody's answer waits
      was = job->resume(&out, 1);                 // for the next commit
      out.send();
    }
    caf::intrusive_ptr_release(job);
    if (was == caf::resumable::done)
      system_->dec_detached_threads();
  }
}

} // namespace parlor
