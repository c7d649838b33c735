#pragma once
// One generation that is made outside: the call that asks for it, its attempts, and the wait for
// the service to call back (docs/clients/plan-callback.md).
//
// Owner: its session (linked). Thread: the pool. Lifetime: until it has reported task_over, or its
// session dies; then a post under way is dropped.

#include "actors/instrument.hpp"
#include "actors/interfaces.hpp"
#include "llm/http_post.hpp"
#include "protocol/backoff.hpp"

#include <chrono>
#include <functional>

namespace parlor {

/// The configured service outside, and how it calls back.
struct external_service {
  std::string url; // empty: there is none
  llm::poster_ptr poster;
  /// The body of the request: what is asked, and where the answer is to go.
  std::function<std::string(const task_order& order, std::uint32_t attempt)> request;
  std::chrono::milliseconds connect{10'000};
  std::chrono::milliseconds accept{30'000};  // until it has said that it took the request
  std::chrono::milliseconds result{180'000}; // from then until it calls back
  backoff_policy backoff;
};
using external_service_ptr = std::shared_ptr<const external_service>;

struct external_task_state {
  explicit external_task_state(external_actor::pointer me)
      : self{me}, counted{actor_kind::external} {}
  static inline const char* name = "external_task";
  external_actor::pointer self;
  alive counted;

  task_order_ptr order;
  external_service_ptr service;
  task_sink_actor session;
  std::function<double()> random;
  std::unique_ptr<llm::post> post;
  std::uint32_t attempt = 1;
  std::uint32_t tried = 0;
  std::uint64_t generation = 0; // of the alarm

  void begin_attempt();
  void answered(const posted& p);
  void await(std::chrono::milliseconds rest);
  void heard(const outside_news& news);
  void over(task_status status, errc error, std::string content, std::string detail);
  void report(decltype(task_report::what) what);
};

/// The stage that is done when the service has taken the request.
inline const stage_name& called_stage() {
  static const auto name = std::make_shared<const std::string>("called");
  return name;
}

/// `wall`: ms since the epoch, for the wait that a restart has interrupted.
external_actor::behavior_type
external_task(external_actor::stateful_pointer<external_task_state> self, task_order_ptr order,
              external_service_ptr service, task_sink_actor session, std::function<double()> random,
              std::int64_t wall);

} // namespace parlor
