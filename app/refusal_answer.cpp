#include "app/refusal_answer.hpp"

#include "actors/edge_answers.hpp"
#include "app/api.hpp"
#include "protocol/dialects/generate_async.hpp"
#include "protocol/dialects/plan_callback.hpp"
#include "protocol/problem.hpp"

#include <algorithm>

namespace parlor {

namespace {

bool is_generate(std::string_view path) { return path.rfind("/api/generate-async", 0) == 0; }

} // namespace

http::response refusal_answer(const refusal& why, const http::request& request, language lang,
                              std::vector<http::header> headers) {
  auto r = begin_refusal(why.code, std::move(headers));
  if (is_generate(request.path)) {
    r.headers.push_back({"Content-Type", "application/json; charset=utf-8"});
    r.body = generate_async::error_json(why, lang);
  } else if (request.path.rfind("/api/plan/", 0) == 0) {
    r.headers.push_back({"Content-Type", "application/json; charset=utf-8"});
    r.body = plan_callback::error_json(why, lang, query_value(request.query, "sessionId"));
  } else {
    r.headers.push_back({"Content-Type", std::string{problem_content_type}});
    r.body = problem_json(why, lang, request.id);
  }
  return r;
}

bool api::add_cors(const http::request& request, std::vector<http::header>& headers) const {
  auto origin = std::string{request.get("Origin")};
  if (origin.empty() || options_.cors_origins.empty())
    return false;
  headers.push_back({"Vary", "Origin"});
  auto& known = options_.cors_origins;
  if (std::find(known.begin(), known.end(), origin) == known.end())
    return false;
  headers.push_back({"Access-Control-Allow-Origin", origin});
  headers.push_back(
      {"Access-Control-Expose-Headers",
       "ETag, Idempotency-Replayed, Retry-After, X-Request-Id, X-Session-ID, X-Task-ID"});
  return true;
}

http::response api::refused(errc code, const http::request& seen) const {
  std::vector<http::header> headers;
  add_cors(seen, headers);
  return refusal_answer({code}, seen, pick_language(seen.get("Accept-Language")),
                        std::move(headers));
}

} // namespace parlor
