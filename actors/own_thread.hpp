#pragma once
// A thread for one actor, which may block. The actor is like any other, and so is who talks to it.
//
// CAF's own way, caf::detached, wakes the thread while it holds the lock that the thread needs
// next, so that both are switched twice for a message, and every answer may wake the pool once
// more. Here the thread is woken once: without the lock, and behind what has queued up on the pool
// already, so that more comes in one batch. What the actor sends while it handles a message goes to
// the pool together (docs/decisions/0011-cost-of-a-token.md).

#include <caf/actor_config.hpp>
#include <caf/actor_system.hpp>
#include <caf/detail/init_fun_factory.hpp>
#include <caf/execution_unit.hpp>
#include <caf/infer_handle.hpp>
#include <caf/resumable.hpp>

#include <condition_variable>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>

namespace parlor {

/// Outlives the actor system of its actor: declare it before that.
class own_thread {
public:
  /// `name`: what tools call the thread, at most 15 characters.
  explicit own_thread(const char* name);
  own_thread(const own_thread&) = delete;
  own_thread& operator=(const own_thread&) = delete;
  ~own_thread(); // waits for the thread; the actor has ended by then

  /// As system.spawn(f, xs...). Once.
  template <class F, class... Ts>
  auto spawn(caf::actor_system& system, F f, Ts&&... xs) {
    using impl = caf::infer_impl_from_fun_t<F>;
    system_ = &system;
    caf::actor_config config;
    caf::detail::init_fun_factory<impl, F> init;
    config.init_fun = init(std::move(f), std::forward<Ts>(xs)...);
    config.host = &outside_;
    system.inc_detached_threads(); // until the actor has ended: the system waits until nothing is
                                   // left of it on this thread
    return system.template spawn_impl<hosted<impl>, caf::no_spawn_options>(config, *this);
  }

private:
  /// Where CAF is told that the actor has something to do: when its mailbox was empty, so there is
  /// one job at most.
  struct bell final : caf::execution_unit {
    bell(own_thread& of, bool from_pool_) : thread{of}, from_pool{from_pool_} {}
    void exec_later(caf::resumable* job) override { thread.has_work(job, from_pool); }
    own_thread& thread;
    bool from_pool;
  };
  /// A job for the pool that rings.
  struct ringer final : caf::resumable {
    explicit ringer(own_thread& of) : thread{of} {}
    resume_result resume(caf::execution_unit*, std::size_t) override {
      thread.ring();
      return awaiting_message;
    }
    void intrusive_ptr_add_ref_impl() override {} // part of the thread's object
    void intrusive_ptr_release_impl() override {}
    own_thread& thread;
  };
  template <class Actor>
  struct hosted final : Actor {
    hosted(caf::actor_config& config, own_thread& on) : Actor{config}, thread{on} {}
    using Actor::enqueue;
    void enqueue(caf::mailbox_element_ptr what, caf::execution_unit* from) override {
      Actor::enqueue(std::move(what), from != nullptr ? &thread.pool_ : &thread.outside_);
    }
    own_thread& thread;
  };

  void has_work(caf::resumable* job, bool from_pool);
  void ring();
  void run(const char* name);

  bell pool_{*this, true};
  bell outside_{*this, false};
  ringer ringer_{*this};
  caf::actor_system* system_ = nullptr;
  std::mutex mutex_; // for what follows
  std::condition_variable rung_;
  caf::resumable* job_ = nullptr;
  bool ringing_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

} // namespace parlor
