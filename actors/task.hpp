#pragma once
// One turn's work: the attempts, their deadlines and the wait between them. The text that comes
// does not pass through here: the provider's sink tells it to the session, the task hears that it
// comes.
//
// Owner: its session (linked). Thread: the pool. Lifetime: until it has reported task_over, or its
// session dies; then the call is dropped, which closes the upstream connection.

#include "actors/instrument.hpp"
#include "actors/interfaces.hpp"
#include "actors/measures.hpp"
#include "protocol/backoff.hpp"

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>

namespace parlor {

/// A configured model: who serves it and how long it may take.
struct model_entry {
  std::string name;          // what clients ask for and are told
  std::string upstream_name; // what the provider calls it; empty: the same
  llm::provider_ptr provider;
  std::shared_ptr<llm::limiter> limit;
  std::chrono::milliseconds connect{10'000};
  std::chrono::milliseconds first_token{120'000};
  std::chrono::milliseconds between_tokens{90'000};
  std::chrono::milliseconds total{600'000};
  backoff_policy backoff;
  bool any_name = false;     // also serves models that nobody has named
  std::string provider_name; // as configured, for the log
  std::shared_ptr<call_stats> seen = std::make_shared<call_stats>();
};

/// In [0, 1), for jitter.
using random_source = std::function<double()>;

/// What has come of an attempt. Written by the provider's sink, one call at a time, on any thread;
/// read by the task. What is read with call_finished or call_failed at hand is exact.
class pieces_heard {
public:
  using time_point = caf::actor_clock::time_point;
  /// True for the first one.
  bool note(time_point now, std::int64_t tokens) noexcept;
  std::uint64_t count() const noexcept { return count_.load(std::memory_order_acquire); }
  std::int64_t tokens() const noexcept { return tokens_.load(std::memory_order_relaxed); }
  // only if count() is not 0
  time_point first() const noexcept { return first_.load(std::memory_order_relaxed); }
  time_point last() const noexcept { return last_.load(std::memory_order_relaxed); }

private:
  std::atomic<std::uint64_t> count_{0};
  std::atomic<std::int64_t> tokens_{0}; // estimated
  std::atomic<time_point> first_{};
  std::atomic<time_point> last_{};
};

struct task_state {
  explicit task_state(task_actor::pointer me) : self{me}, counted{actor_kind::task} {}
  static inline const char* name = "task";
  task_actor::pointer self;
  alive counted;
  using time_point = caf::actor_clock::time_point;

  task_order_ptr order;
  std::shared_ptr<const model_entry> model;
  std::shared_ptr<llm::limiter::ticket> ticket;
  task_sink_actor session;
  random_source random;

  std::unique_ptr<llm::call> call;
  std::uint32_t attempt = 1;
  std::uint32_t tried = 0; // attempts that this task has begun
  bool waiting_for_slot = false;
  std::shared_ptr<pieces_heard> heard; // of the present attempt
  usage total_used;
  time_point total_due;
  time_point phase_due;
  time_point call_from;
  int upstream_status = 0;
  time_point armed_for;
  std::uint64_t generation = 0;

  bool shown() const noexcept { return heard->count() != 0; }
  llm::call_sink make_sink();
  void begin_attempt();
  void granted();
  void arm();
  void on_alarm(std::uint64_t gen);
  void on_news(call_news& news);
  void attempt_failed(llm::call_failed& f);
  void measure(const std::optional<usage>& told, errc error);
  task_attempt_ended account(const std::optional<usage>& told, errc error);
  void over(task_status status, errc error, std::string detail,
            std::optional<task_attempt_ended> last, std::string finish_reason = {},
            std::string extra = {});
  void report(decltype(task_report::what) what);
};

task_actor::behavior_type task(task_actor::stateful_pointer<task_state> self, task_order_ptr order,
                               std::shared_ptr<const model_entry> model,
                               std::shared_ptr<llm::limiter::ticket> ticket,
                               task_sink_actor session, random_source random);

} // namespace parlor
