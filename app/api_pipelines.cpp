// POST /api/v1/{name}/generate and /generate-stream: the pipelines.

#include "actors/measures.hpp"
#include "app/api_context.hpp"
#include "app/routes.hpp"
#include "protocol/dialects/pipeline_stream.hpp"

namespace parlor {

void api::run_pipeline(context& c, int route) const {
  auto pipeline = options_.find_pipeline ? options_.find_pipeline(c.id) : nullptr;
  if (!pipeline)
    return refuse(c, {errc::route_not_found});
  if (!gate_open(c) || !json_body(c))
    return;
  auto read = pipeline_stream::parse(*pipeline, c.request.body);
  if (auto* why = std::get_if<refusal>(&read))
    return refuse(c, std::move(*why));
  if (auto* wrong = std::get_if<std::vector<json::violation>>(&read)) {
    count_refusal(errc::invalid_request);
    return text(c, static_cast<unsigned>(describe(errc::invalid_request).http_status),
                std::string{problem_content_type},
                problem_json(errc::invalid_request, pipeline_stream::name_fields(*wrong, c.lang),
                             c.lang, c.request.id));
  }
  visit v;
  v.turn = std::move(std::get<turn_request>(read));
  if (route == pipeline_stream_run) {
    v.what = visit::kind::chat_stream;
    v.shape = query_value(c.request.query, "progress") == "1"
                  ? &pipeline_stream::shape_with_progress
                  : &pipeline_stream::shape;
  } else {
    v.what = visit::kind::chat;
  }
  take(c, std::move(v));
}

} // namespace parlor
