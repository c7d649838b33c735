#include "actors/edge_answers.hpp"

#include "actors/measures.hpp"
#include "protocol/dialects/generate_async.hpp"
#include "protocol/dialects/plan_callback.hpp"
#include "protocol/problem.hpp"

namespace parlor {

void respond_json(const visit& v, unsigned status, std::string body,
                  std::vector<http::header> more) {
  http::response r;
  r.status = status;
  r.headers = v.headers;
  r.headers.push_back({"Content-Type", "application/json; charset=utf-8"});
  for (auto& h : more)
    r.headers.push_back(std::move(h));
  r.body = std::move(body);
  v.exchange->respond(std::move(r));
}

http::response begin_refusal(errc code, std::vector<http::header> headers) {
  count_refusal(code);
  http::response r;
  r.status = static_cast<unsigned>(describe(code).http_status);
  r.headers = std::move(headers);
  if (auto s = retry_after_s(code); s != 0)
    r.headers.push_back({"Retry-After", std::to_string(s)});
  return r;
}

void respond_refusal(const visit& v, const refusal& why) {
  using kind = visit::kind;
  auto r = begin_refusal(why.code, v.headers);
  if (v.what == kind::generate || v.what == kind::generate_poll ||
      v.what == kind::generate_cancel ||
      (v.shape != nullptr && v.shape->greet == generate_async::greet)) {
    r.headers.push_back({"Content-Type", "application/json; charset=utf-8"});
    r.body = generate_async::error_json(why, v.lang);
  } else if (v.what == kind::plan_stream || v.what == kind::plan_generate ||
             v.what == kind::plan_update || v.what == kind::plan_stats) {
    r.headers.push_back({"Content-Type", "application/json; charset=utf-8"});
    r.body = plan_callback::error_json(why, v.lang, v.key.id);
  } else {
    r.headers.push_back({"Content-Type", std::string{problem_content_type}});
    r.body = problem_json(why, v.lang, v.request_id);
  }
  v.exchange->respond(std::move(r));
}

} // namespace parlor
