#pragma once
// Every route there is. For api.cpp only: others ask api_routes().

#include "app/api.hpp"
#include "http/request_timer.hpp"

#include <iterator>

namespace parlor {

enum route : int {
  chat,
  chat_stream,
  generate,
  generate_one,
  generate_stream,
  generate_cancel,
  task_events,
  sessions,
  session_one,
  session_delete,
  session_messages,
  session_events,
  pipeline_run,
  pipeline_stream_run,
  learning,
  plan_stream,
  plan_generate,
  plan_update,
  plan_stats,
  health,
  livez,
  readyz,
  version_page,
  metrics,
  openapi,
  docs,
  docs_script,
  actors,
  actors_stream,
  problem_page,
};

// In the order of the names above.
inline constexpr route_name routes[] = {
    {"POST", "/api/chat"},
    {"POST", "/api/chat/stream"},
    {"POST", "/api/generate-async"},
    {"GET", "/api/generate-async/{id}"},
    {"GET", "/api/generate-async/{id}/stream"},
    {"DELETE", "/api/generate-async/{id}"},
    {"GET", "/api/tasks/{id}/events"},
    {"GET", "/api/sessions"},
    {"GET", "/api/sessions/{id}"},
    {"DELETE", "/api/sessions/{id}"},
    {"GET", "/api/sessions/{id}/messages"},
    {"GET", "/api/sessions/{id}/events"},
    {"POST", "/api/v1/{name}/generate"},
    {"POST", "/api/v1/{name}/generate-stream"},
    {"GET", "/ws/learning"},
    {"GET", "/api/plan/stream"},
    {"POST", "/api/plan/generate"},
    {"POST", "/api/plan/update"},
    {"GET", "/api/plan/stats"},
    {"GET", "/health"},
    {"GET", "/livez"},
    {"GET", "/readyz"},
    {"GET", "/version"},
    {"GET", "/metrics"},
    {"GET", "/openapi.json"},
    {"GET", "/docs"},
    {"GET", "/docs.js"},
    {"GET", "/admin/actors"},
    {"GET", "/admin/actors/stream"},
    {"GET", "/problems/{id}"},
};
static_assert(std::size(routes) == problem_page + 1);
static_assert(std::size(routes) < http::max_labels);

/// Without a key.
inline bool open_to_all(int r) {
  return r == health || r == livez || r == readyz || r == version_page || r == openapi ||
         r == docs || r == docs_script || r == problem_page;
}

} // namespace parlor
