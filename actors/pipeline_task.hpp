#pragma once
// The work of a pipeline (protocol/pipeline.hpp): its agents one after another, each until it has
// given a document that is valid for its schema. Each answer is asked for by an ordinary task
// (actors/task.hpp), so deadlines, retries, admission and usage are those of a conversation's turn.
//
// Owner: its session (linked). Thread: the pool. Lifetime: until it has reported task_over, or its
// session dies; then the agent's task dies, too, which closes the upstream connection.

#include "actors/instrument.hpp"
#include "actors/interfaces.hpp"
#include "actors/task.hpp"
#include "protocol/json_watch.hpp"
#include "protocol/pipeline.hpp"

#include <memory>
#include <string>
#include <vector>

namespace parlor {

/// Whom a turn asks, and its places there.
struct admission {
  pipeline_ptr pipeline;                                      // null: one call to a model
  std::vector<std::shared_ptr<const model_entry>> models;     // one for each agent
  std::vector<std::shared_ptr<llm::limiter::ticket>> tickets; // likewise; the same place may be
                                                              // there several times
};

struct pipeline_task_state {
  explicit pipeline_task_state(pipeline_actor::pointer me) : self{me}, counted{actor_kind::task} {}
  static inline const char* name = "pipeline_task";
  pipeline_actor::pointer self;
  alive counted;
  using time_point = caf::actor_clock::time_point;

  task_order_ptr order;
  admission with;
  task_sink_actor session;
  random_source random;

  std::vector<stage_result> done; // of the agents before the running one
  std::uint32_t attempt = 1;      // calls in all, those of a life before a restart included
  bool stopping = false;

  // Of the running agent, which is number done.size():
  stage_name stage;
  task_actor running;
  std::uint32_t answers = 0; // asked for
  usage used;
  time_point began;
  // Of its present answer:
  task_header_ptr asked; // names it in the reports
  std::string answer;
  std::unique_ptr<json::watcher> watch;
  std::optional<json::violation> wrong; // it will not be valid: the call is being stopped
  std::int64_t tokens = 0;              // estimated

  std::uint32_t percent = 0; // told; never falls
  time_point percent_at;     // when

  std::vector<message> first_messages() const;
  const pipeline_agent& agent() const { return with.pipeline->agents[done.size()]; }
  void recall();
  void begin_agent();
  void ask(std::vector<message> messages);
  void on_report(task_report& r);
  void delta(task_delta& d);
  void retrying(task_retrying& r);
  void answered(task_over& o);
  void violated(const std::vector<json::violation>& list, std::optional<task_attempt_ended> last);
  void accept(std::string_view document, std::optional<task_attempt_ended> last);
  void report_progress();
  void count(task_attempt_ended& a);
  void over(task_status status, errc error, std::string detail,
            std::optional<task_attempt_ended> last);
  void report(decltype(task_report::what) what);
};

pipeline_actor::behavior_type
pipeline_task(pipeline_actor::stateful_pointer<pipeline_task_state> self, task_order_ptr order,
              admission with, task_sink_actor session, random_source random);

} // namespace parlor
