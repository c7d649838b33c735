#include "app/metrics.hpp"

#include "actors/edge.hpp"
#include "actors/instrument.hpp"
#include "actors/lobby.hpp"
#include "app/access.hpp"
#include "app/api.hpp"
#include "app/metrics_page.hpp"
#include "app/version.hpp"

#include <sys/stat.h>

namespace parlor {

namespace {

using type = metrics_page::type;

double number(const auto& atomic) {
  return static_cast<double>(atomic.load(std::memory_order_relaxed));
}

/// One series for each name of the table.
template <class Counters, class Names>
void by_name(metrics_page& p, const char* metric, const char* help, const char* label,
             const Counters& counters, const Names& names) {
  auto& f = p.add(metric, help, type::Counter);
  for (std::size_t i = 0; i < names.size(); ++i)
    metrics_page::add(f, counters[i], {{label, names[i]}});
}

void add_actors(metrics_page& p) {
  auto each = [&](const char* name, const char* help, type t, auto value) {
    auto& f = p.add(name, help, t);
    for (std::size_t i = 0; i < actor_kind_names.size(); ++i)
      metrics_page::add(f, value(all_actor_stats[i]), {{"kind", actor_kind_names[i]}});
  };
  each("parlor_actors", "Actors alive, for the kinds that are counted.", type::Gauge,
       [](actor_stats& s) { return number(s.living); });
  each("parlor_actor_handled_total", "Messages handled.", type::Counter,
       [](actor_stats& s) { return number(s.handled); });
  each("parlor_actor_handle_seconds_total", "Time spent in handlers.", type::Counter,
       [](actor_stats& s) { return number(s.busy_ns) / 1e9; });
  each("parlor_actor_mailbox_messages", "Messages waiting, at the last sample.", type::Gauge,
       [](actor_stats& s) { return number(s.mailbox); });
  each("parlor_actor_failures_total", "Actors that ended by an exception.", type::Counter,
       [](actor_stats& s) { return number(s.failures); });
}

void add_turns(metrics_page& p) {
  p.gauge("parlor_sessions_active", "Sessions in memory, at rest or not.",
          number(sessions_in_memory));
  p.counts("parlor_sessions_created_total", "Sessions that came to be.",
           number(the_journal.facts[0]));
  by_name(p, "parlor_turns_total", "Turns that have ended.", "result", all_turns.by_result,
          turn_stats::result_names);
  p.histogram_of("parlor_turn_duration_seconds", "From the acceptance of a turn to its end.",
                 all_turns.duration);
  p.histogram_of("parlor_turn_first_event_seconds",
                 "From a request for a streamed turn to the first event of its stream.",
                 all_turns.first_event);
  p.histogram_of("parlor_turn_first_token_seconds",
                 "From the acceptance of a turn to the first piece of its answer.",
                 all_turns.first_token);
  p.gauge("parlor_turn_bytes", "Of what was said in turns that run or wait.",
          number(all_turns.bytes));
  auto& refused = p.add("parlor_refusals_total", "Requests answered with an error.", type::Counter);
  for (std::size_t i = 1; i < all_refusals.size(); ++i)
    metrics_page::add(refused, all_refusals[i],
                      {{"code", std::string{to_string(static_cast<errc>(i))}}});
  by_name(p, "parlor_auth_failures_total", "Requests that were turned away at the door.", "reason",
          all_access.refused, access_stats::reason_names);
}

void add_plans(metrics_page& p) {
  auto& all = all_external;
  auto& sessions =
      p.add("parlor_plan_sessions", "Sessions by how their newest plan stands.", type::Gauge);
  metrics_page::add(sessions, number(all.waiting_sessions), {{"status", "waiting"}});
  metrics_page::add(sessions, number(all.running_sessions), {{"status", "generating"}});
  metrics_page::add(sessions, number(all.completed_sessions), {{"status", "completed"}});
  metrics_page::add(sessions, number(all.failed_sessions), {{"status", "error"}});
  p.gauge("parlor_plan_connections", "Pages that wait for plans.",
          number(stats_of_edges().plan_pages));
  auto& made = p.add("parlor_plan_generations_total",
                     "Plans that a service was asked for, by what came of it.", type::Counter);
  metrics_page::add(made, number(all.completed), {{"result", "completed"}});
  metrics_page::add(made, number(all.failed) - number(all.timeouts), {{"result", "error"}});
  metrics_page::add(made, number(all.timeouts), {{"result", "timeout"}});
  p.counts("parlor_plan_generation_seconds_total",
           "What the completed ones took, from request to plan, together.",
           number(all.generation_ms) / 1000);
}

void add_streams(metrics_page& p, const http::server_stats* web) {
  auto& edges = stats_of_edges();
  p.gauge("parlor_subscribers", "Streams and answers waiting for events.", number(edges.watchers));
  p.counts("parlor_events_delivered_total", "Events handed to connections.",
           number(edges.delivered));
  auto& resumes =
      p.add("parlor_resumes_total", "Clients that came back with a cursor.", type::Counter);
  metrics_page::add(resumes, edges.resumed, {{"result", "ok"}});
  metrics_page::add(resumes, edges.resets, {{"result", "gap"}});
  metrics_page::add(resumes, edges.ahead, {{"result", "ahead"}});
  auto& dropped =
      p.add("parlor_subscribers_dropped_total", "Readers that were cut.", type::Counter);
  metrics_page::add(dropped, web != nullptr ? number(web->stalled_total) : 0,
                    {{"reason", "stalled"}});
}

void add_http(metrics_page& p, const http::server_stats& web) {
  p.gauge("parlor_http_connections", "Open connections.", number(web.connections_open));
  p.counts("parlor_http_connections_total", "Connections accepted.", number(web.connections_total));
  p.counts("parlor_http_connections_refused_total",
           "Connections closed at once: their address has far too many.",
           number(web.turned_away_total));
  p.counts("parlor_http_requests_total", "Requests that passed the framing gate.",
           number(web.requests_total));
  p.counts("parlor_http_refused_total", "Requests refused before a handler saw them.",
           number(web.refused_total));
  p.gauge("parlor_http_body_bytes", "Of bodies and messages that are not answered yet.",
          number(web.body_bytes));
  p.counts("parlor_http_sent_bytes_total", "Bytes that clients' sockets took.",
           number(web.bytes_sent));
  p.gauge("http_server_active_requests", "Requests under way, streams too.",
          number(web.requests.active));
  static constexpr const char* classes[] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
  auto& took = web.requests.by_label;
  auto routes = api_routes();
  auto each = [&](auto with) {
    with(0, "_OTHER", "unmatched");
    for (std::size_t i = 0; i < routes.size(); ++i)
      with(i + 1, routes[i].method, routes[i].pattern);
  };
  auto& duration = p.add("http_server_request_duration_seconds",
                         "From the end of a request's header section to the end of its answer.",
                         type::Histogram);
  each([&](std::size_t i, const char* method, const char* route) {
    metrics_page::add(duration, took[i].seconds,
                      {{"http_request_method", method}, {"http_route", route}});
  });
  auto& answers =
      p.add("parlor_http_responses_total",
            "Answers by route and class of status; none: the client went before.", type::Counter);
  each([&](std::size_t i, const char* method, const char* route) {
    for (std::size_t c = 0; c < std::size(classes); ++c)
      metrics_page::add(
          answers, took[i].by_class[c],
          {{"http_request_method", method}, {"http_route", route}, {"status", classes[c]}});
  });
}

void add_calls(metrics_page& p, const metrics_sources& from) {
  auto& running = p.add("parlor_tasks_inflight", "Provider calls under way.", type::Gauge);
  for (auto& [name, limit] : from.providers)
    metrics_page::add(running, static_cast<double>(limit->in_flight()), {{"provider", name}});
  auto& waiting =
      p.add("parlor_tasks_queued", "Tasks admitted that wait for a provider.", type::Gauge);
  for (auto& [name, limit] : from.providers)
    metrics_page::add(waiting, static_cast<double>(limit->waiting()), {{"provider", name}});

  using table = std::array<counter, upstream_codes> call_stats::*;
  auto by_code = [&](const char* metric, const char* help, const char* label, table which) {
    auto& f = p.add(metric, help, type::Counter);
    for (auto& [provider, limit] : from.providers)
      for (std::size_t i = 0; i < upstream_codes; ++i) {
        double sum = 0;
        for (auto& m : from.models)
          if (m.provider == provider)
            sum += number(((*m.calls).*which)[i]);
        metrics_page::add(
            f, sum, {{"provider", provider}, {label, std::string{to_string(upstream_code(i))}}});
      }
  };
  by_code("parlor_upstream_failures_total", "Calls to a provider that failed.", "code",
          &call_stats::failures);
  by_code("parlor_upstream_retries_total", "Those of them that were made again.", "reason",
          &call_stats::retries);

  auto& ignored = p.add(
      "parlor_upstream_ignored_total",
      "Choices that were not asked for, and what came after the end of an answer.", type::Counter);
  for (auto& m : from.models)
    metrics_page::add(ignored, m.calls->ignored, {{"provider", m.provider}, {"model", m.name}});

  auto each = [&](const char* metric, const char* help, histogram call_stats::*which) {
    auto& f = p.add(metric, help, type::Histogram);
    for (auto& m : from.models)
      metrics_page::add(f, (*m.calls).*which,
                        {{"gen_ai_operation_name", "chat"},
                         {"gen_ai_provider_name", m.provider},
                         {"gen_ai_request_model", m.name}});
  };
  each("gen_ai_client_operation_duration_seconds", "Calls to a model, failed ones too.",
       &call_stats::duration);
  each("gen_ai_client_operation_time_to_first_chunk_seconds",
       "From a call to the first piece of its answer.", &call_stats::first_chunk);
  each("gen_ai_client_operation_time_per_output_chunk_seconds",
       "Between two pieces, by the mean of their call.", &call_stats::per_chunk);
  auto& used = p.add("gen_ai_client_token_usage", "Tokens of a call, where the provider told.",
                     type::Histogram);
  for (auto& m : from.models)
    for (auto input : {true, false})
      metrics_page::add(used, input ? m.calls->input_tokens : m.calls->output_tokens,
                        {{"gen_ai_operation_name", "chat"},
                         {"gen_ai_provider_name", m.provider},
                         {"gen_ai_request_model", m.name},
                         {"gen_ai_token_type", input ? "input" : "output"}});
}

void add_store(metrics_page& p, const std::string& path) {
  by_name(p, "parlor_events_appended_total", "Facts that became durable.", "kind",
          the_journal.facts, journal_stats::fact_names);
  p.histogram_of("parlor_journal_commit_seconds", "Commits, with their sync.",
                 the_journal.commit_time);
  p.histogram_of("parlor_journal_batch_events", "Facts in a commit.", the_journal.batch);
  by_name(p, "parlor_journal_errors_total", "Times the store failed.", "op", the_journal.errors,
          journal_stats::op_names);
  auto& size = p.add("parlor_journal_bytes", "Size of the store on disk.", type::Gauge);
  for (auto* suffix : {"", "-wal"}) {
    struct stat s {};
    metrics_page::add(size,
                      ::stat((path + suffix).c_str(), &s) == 0 ? static_cast<double>(s.st_size) : 0,
                      {{"file", *suffix == 0 ? "db" : "wal"}});
  }
}

} // namespace

std::string metrics_text(const metrics_sources& from) {
  metrics_page p;
  metrics_page::add(p.add("parlor_build_info", "The version that runs.", type::Gauge), 1,
                    {{"version", std::string{version()}}, {"commit", std::string{commit()}}});
  add_actors(p);
  add_turns(p);
  add_streams(p, from.http);
  add_plans(p);
  if (from.http != nullptr)
    add_http(p, *from.http);
  add_calls(p, from);
  add_store(p, from.store_path);
  p.gauge("parlor_drain_state", "1 while no new work is taken.", from.draining ? 1 : 0);
  add_process(p);
  return p.text();
}

} // namespace parlor
