#include "actors/io_threads.hpp"

#include <chrono>
#include <csignal>
#include <ctime>
#include <unistd.h>
#include <utility>

namespace parlor {

namespace {

using namespace std::chrono_literals;
using std::chrono::nanoseconds;

/// After so much of its time the thread before is looked after. The kernel looks at such timers
/// when its clock ticks, every one to ten milliseconds.
constexpr nanoseconds stint = 4ms;

// Goes to one thread only, which waits for it.
int signal_of_stint() { return SIGRTMIN; }

sigset_t only(int signal) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  return set;
}

nanoseconds read(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return std::chrono::seconds{t.tv_sec} + nanoseconds{t.tv_nsec};
}

/// The stints of another thread, told to this one.
class stints {
public:
  /// Of a thread that outlives this.
  explicit stints(pthread_t of) {
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = signal_of_stint();
    event._sigev_un._tid = gettid(); // glibc has no name for it (timer_create(2))
    if (pthread_getcpuclockid(of, &clock_) != 0 || timer_create(clock_, &event, &timer_) != 0)
      return;
    timespec length{0, stint.count()};
    itimerspec every{length, length};
    known_ = timer_settime(timer_, 0, &every, nullptr) == 0;
    last_ = now();
  }
  stints(const stints&) = delete;
  stints& operator=(const stints&) = delete;
  ~stints() {
    if (known_)
      timer_delete(timer_);
  }

  explicit operator bool() const { return known_; }

  /// Waits for the end of one. Was the thread at work for nearly all the time since the last one?
  bool wait() {
    auto set = only(signal_of_stint());
    int signal = 0;
    sigwait(&set, &signal);
    auto before = std::exchange(last_, now());
    return (last_.used - before.used) * 10 > (last_.passed - before.passed) * 9;
  }

private:
  struct moment {
    nanoseconds used, passed;
  };
  moment now() const { return {read(clock_), read(CLOCK_MONOTONIC)}; }

  clockid_t clock_{};
  timer_t timer_{};
  bool known_ = false;
  moment last_{};
};

} // namespace

io_threads::io_threads(boost::asio::io_context& io, std::size_t threads) : io_{io} {
  // They inherit the mask: the signal must never meet a thread that does not wait for it.
  auto set = only(signal_of_stint());
  sigset_t before;
  pthread_sigmask(SIG_BLOCK, &set, &before);
  threads_.emplace_back([this] { io_.run(); });
  while (threads_.size() < threads)
    threads_.emplace_back([this, watched = threads_.back().native_handle()] { help(watched); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

io_threads::~io_threads() {
  io_.stop();
  for (auto& t : threads_)
    pthread_kill(t.native_handle(), signal_of_stint());
  // The last first: each watches the one before it.
  while (!threads_.empty()) {
    threads_.back().join();
    threads_.pop_back();
  }
}

void io_threads::help(pthread_t before) {
  stints of_it{before};
  if (!of_it) { // where there are no such timers
    io_.run();
    return;
  }
  while (!io_.stopped()) {
    if (of_it.wait())
      io_.run_for(stint); // there is enough for both
    // It may be in something long, with others waiting. And what our own last handler has deferred
    // must be done before we go: Asio wakes nobody for it, and the others may be asleep.
    io_.poll();
  }
}

} // namespace parlor
