#include "actors/asio_scheduler.hpp"

#include "actors/io_threads.hpp"
#include "actors/wheel_clock.hpp"
#include "http/cork.hpp"

#include <boost/asio/defer.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/container/static_vector.hpp>

#include <caf/actor_system.hpp>
#include <caf/execution_unit.hpp>
#include <caf/resumable.hpp>
#include <caf/scheduler/abstract_coordinator.hpp>

#include <atomic>
#include <chrono>
#include <optional>
#include <thread>

namespace parlor {

namespace {

constexpr std::size_t messages_per_turn = 64; // then sockets have their turn

class asio_scheduler;

/// Actors that this thread is to run before it goes on.
class woken {
public:
  woken() noexcept { here = this; }
  ~woken();
  static bool within() noexcept { return here != nullptr; }
  /// False if there is none on this thread, or no room.
  static bool keep(asio_scheduler& of, caf::resumable* job);

private:
  struct entry {
    asio_scheduler* of;
    caf::resumable* job;
  };
  static thread_local woken* here;
  boost::container::static_vector<entry, 64> all_;
};

thread_local woken* woken::here = nullptr;

class asio_scheduler final : public caf::scheduler::abstract_coordinator {
public:
  asio_scheduler(caf::actor_system& sys, boost::asio::io_context& io, std::size_t threads)
      : abstract_coordinator{sys}, io_{io}, threads_wanted_{threads}, clock_{io} {}

  void start() override {
    num_workers_ = threads_wanted_;
    guard_.emplace(io_.get_executor());
    threads_.emplace(io_, threads_wanted_);
    abstract_coordinator::start();
  }

  void stop() override {
    stop_actors();
    clock_.stop(); // what it held referenced actors: their last messages are among the jobs that
                   // are waited for
    while (jobs_.load() > 0)
      std::this_thread::sleep_for(std::chrono::milliseconds{1});
    guard_.reset();
    threads_.reset();
  }

  void enqueue(caf::resumable* job) override {
    jobs_.fetch_add(1);
    if (!woken::keep(*this, job))
      defer(job);
  }

  void run(caf::resumable* job) {
    unit u{*this};
    switch (job->resume(&u, messages_per_turn)) {
    case caf::resumable::resume_later:
      return defer(job);
    case caf::resumable::done:
    case caf::resumable::awaiting_message:
      caf::intrusive_ptr_release(job);
      break;
    case caf::resumable::shutdown_execution_unit:
      break;
    }
    jobs_.fetch_sub(1);
  }

  caf::actor_clock& clock() noexcept override { return clock_; }

private:
  /// Two pointers, made for each run: never shared between threads.
  struct unit final : caf::execution_unit {
    explicit unit(asio_scheduler& s) : caf::execution_unit{&s.system()}, scheduler{s} {}
    void exec_later(caf::resumable* job) override { scheduler.enqueue(job); }
    asio_scheduler& scheduler;
  };

  // defer: what an actor sends stays on its own thread, which is about to be free, unless another
  // is looking for work. Measured by benchmarks/bench_schedulers: 1.4 times the messages of post.
  void defer(caf::resumable* job) {
    boost::asio::defer(io_, [this, job] { run(job); });
  }

  boost::asio::io_context& io_;
  std::size_t threads_wanted_;
  wheel_clock clock_;
  std::atomic<std::size_t> jobs_{0};
  std::optional<boost::asio::executor_work_guard<boost::asio::io_context::executor_type>> guard_;
  std::optional<io_threads> threads_;
};

woken::~woken() {
  for (std::size_t i = 0; i < all_.size(); ++i) // one may add more
    all_[i].of->run(all_[i].job);
  here = nullptr;
}

bool woken::keep(asio_scheduler& of, caf::resumable* job) {
  if (here == nullptr || here->all_.size() == here->all_.capacity())
    return false;
  here->all_.push_back({&of, job});
  return true;
}

} // namespace

void host_on(caf::actor_system_config& config, boost::asio::io_context& io, std::size_t threads) {
  config.module_factories.emplace_back(
      [&io, threads](caf::actor_system& sys) -> caf::actor_system::module* {
        return new asio_scheduler{sys, io, threads};
      });
}

void run_to_completion(const std::function<void()>& step) {
  if (woken::within())
    return step();
  http::cork cork{http::cork::last::written};
  woken actors;
  step();
}

} // namespace parlor
