#pragma once
// What operators see of the actors: per kind, handled messages, time, mailbox depth and living
// count. Debian's CAF has its profiler compiled out, so the handlers are wrapped. Counters are
// atomics; any thread reads them.

#include "protocol/notice.hpp"

#include <caf/all.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>

namespace parlor {

struct actor_stats {
  std::atomic<std::uint64_t> handled{0};
  std::atomic<std::uint64_t> busy_ns{0}; // extrapolated from every `timed_every`th message
  std::atomic<std::uint64_t> mailbox{0}; // depth at the last sample
  std::atomic<std::int64_t> living{0};
  std::atomic<std::uint64_t> failures{0};
};

enum class actor_kind : std::uint8_t {
  edge,
  lobby,
  session,
  task,
  external,
  keeper,
  archive,
  count
};
inline constexpr std::array<const char*, 7> actor_kind_names{
    "edge", "lobby", "session", "task", "external_task", "keeper", "archive"};
inline std::array<actor_stats, 7> all_actor_stats;
inline actor_stats& stats_of(actor_kind k) { return all_actor_stats[static_cast<std::size_t>(k)]; }

/// Reading the clock twice a message would cost more than many a message. A prime, so that what
/// comes in a rhythm is met evenly.
inline constexpr std::uint64_t timed_every = 7;

/// Counts an actor among the living as long as its state lives.
class alive {
public:
  explicit alive(actor_kind k) : kind_{k} {
    stats_of(kind_).living.fetch_add(1, std::memory_order_relaxed);
  }
  ~alive() { stats_of(kind_).living.fetch_sub(1, std::memory_order_relaxed); }
  alive(const alive&) = delete;
  alive& operator=(const alive&) = delete;

private:
  actor_kind kind_;
};

namespace detail {
template <class Self, class F, class R, class... As>
auto observed(actor_kind kind, Self self, F f, R (F::*)(As...) const) {
  return [kind, self, f = std::move(f)](As... as) -> R {
    auto& s = stats_of(kind);
    auto n = s.handled.fetch_add(1, std::memory_order_relaxed);
    if (n % 64 == 0)
      s.mailbox.store(self->mailbox().size(), std::memory_order_relaxed);
    if (n % timed_every != 0)
      return f(std::forward<As>(as)...);
    struct timer {
      actor_stats& s;
      std::chrono::steady_clock::time_point from = std::chrono::steady_clock::now();
      ~timer() {
        auto took = std::chrono::steady_clock::now() - from;
        s.busy_ns.fetch_add(timed_every * static_cast<std::uint64_t>(took.count()),
                            std::memory_order_relaxed);
      }
    } t{s};
    return f(std::forward<As>(as)...);
  };
}
} // namespace detail

/// The handler, counted and timed. `f` is a non-mutable lambda.
template <class Self, class F>
auto observed(actor_kind kind, Self self, F f) {
  return detail::observed(kind, self, std::move(f), &F::operator());
}

/// Keeps CAF from printing; an exception ends the actor, is counted and is said. Before it ends it
/// may do `last`.
template <class Self>
void guard(actor_kind kind, Self self, std::function<void()> last = {}) {
  self->set_exception_handler([kind, last](std::exception_ptr& thrown) -> caf::error {
    stats_of(kind).failures.fetch_add(1, std::memory_order_relaxed);
    auto said = [kind](std::string_view error) {
      notice(log_level::error, "actor_failed",
             {{"kind", actor_kind_names[static_cast<std::size_t>(kind)]}, {"error", error}});
    };
    try {
      std::rethrow_exception(thrown);
    } catch (const std::exception& e) {
      said(e.what());
    } catch (...) {
      said("not a std::exception");
    }
    if (last)
      last();
    return caf::exit_reason::unhandled_exception;
  });
}

} // namespace parlor
