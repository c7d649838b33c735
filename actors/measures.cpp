#include "actors/measures.hpp"

#include "protocol/notice.hpp"

#include <algorithm>
#include <string>

namespace parlor {

namespace {

/// What is wrong with a document is said with its words, which are the model's.
std::string_view for_the_log(const outcome& end) {
  auto detail = std::string_view{end.detail};
  return end.error == errc::schema_violation ? detail.substr(0, detail.find(':')) : detail;
}

/// How long it took, ms.
std::int64_t count(turn_stats::result result, const task_header& task, std::int64_t at) noexcept {
  all_turns.by_result[result].fetch_add(1, std::memory_order_relaxed);
  auto ms = std::max<std::int64_t>(0, at - task.created_at); // the wall clock may go back
  all_turns.duration.observe(static_cast<double>(ms) / 1000);
  return ms;
}

} // namespace

void turn_dropped(const task_header& task, std::int64_t at) noexcept {
  count(turn_stats::cancelled, task, at);
}

void turn_ended(const event& e, std::string_view provider) {
  if (!e.end || !e.task)
    return;
  auto& end = *e.end;
  auto late = end.error == errc::upstream_timeout || end.error == errc::upstream_stalled ||
              end.error == errc::generation_timeout;
  auto result = end.status == task_status::completed   ? turn_stats::completed
                : end.status == task_status::cancelled ? turn_stats::cancelled
                : late                                 ? turn_stats::timeout
                                                       : turn_stats::failed;
  auto ms = count(result, *e.task, e.at);
  if (e.task->kind == task_kind::external && end.status != task_status::cancelled) {
    auto add = [](counter& c, std::uint64_t n) { c.fetch_add(n, std::memory_order_relaxed); };
    auto good = end.status == task_status::completed;
    add(good ? all_external.completed : all_external.failed, 1);
    add(all_external.generation_ms, good ? static_cast<std::uint64_t>(ms) : 0);
    add(all_external.timeouts, end.error == errc::generation_timeout ? 1 : 0);
  }
  if (end.status != task_status::failed)
    return;
  notice(log_level::warn, "task_failed",
         {{"code", to_string(end.error)},
          {"detail", for_the_log(end)},
          {"upstream_status",
           end.upstream_status == 0 ? std::string{} : std::to_string(end.upstream_status)},
          {"model", e.task->model},
          {"provider", provider},
          {"attempts", std::to_string(end.attempts)},
          {"session", e.task->session},
          {"task", e.task->id},
          {"request_id", e.task->request_id}});
}

void committed(std::span<const store::fact_group_ptr> groups,
               std::span<const store::group_result> results, double seconds) {
  std::size_t facts = 0;
  for (std::size_t i = 0; i < groups.size() && i < results.size(); ++i) {
    facts += groups[i]->size();
    if (results[i].what == store::group_result::kind::durable)
      for (auto& f : *groups[i])
        the_journal.facts[f.index()].fetch_add(1, std::memory_order_relaxed);
  }
  the_journal.commit_time.observe(seconds);
  the_journal.batch.observe(static_cast<double>(facts));
}

void store_trouble(journal_stats::op during, std::string_view error) {
  the_journal.errors[during].fetch_add(1, std::memory_order_relaxed);
  if (auto held = the_journal.said[during].pass(steady_ms()); held >= 0)
    notice(log_level::warn, "store_trouble",
           {{"during", journal_stats::op_names[during]},
            {"error", error},
            {"not_shown", held == 0 ? std::string{} : std::to_string(held)}});
}

} // namespace parlor
