#pragma once
// docs/clients/roadmap-pipeline.md: several agents in a row, one stream. Pure; any thread.

#include "protocol/dialects/dialect.hpp"
#include "protocol/pipeline.hpp"
#include "protocol/problem.hpp"

#include <variant>
#include <vector>

namespace parlor::pipeline_stream {

/// Body of POST /api/v1/{name}/generate-stream and /generate: what the pipeline's schema asks for,
/// and beside it `session_id`, `on_busy`, `cancel_on_disconnect` and `rehearsal`, which the
/// pipeline does not see unless its schema declares them. All fields that are missing or wrong are
/// named, in the order of the schema's findings. The turn's `ref` is the pipeline's name.
using parsed_request = std::variant<turn_request, refusal, std::vector<json::violation>>;
parsed_request parse(const pipeline& p, std::string_view body);

/// For the problem document: `preferences.content_preference[0]`.
std::vector<field_fault> name_fields(const std::vector<json::violation>& wrong, language lang);

/// `chunk`, `complete`, `retry`, `done`, `error`; `progress` only in `shape_with_progress`.
std::string encode(std::string_view epoch, language lang, const event& e);
std::string encode_with_progress(std::string_view epoch, language lang, const event& e);
std::string reset(std::string_view epoch, const task_view* task, const session_view& session);
inline constexpr stream_shape shape{encode, nullptr, reset};
inline constexpr stream_shape shape_with_progress{encode_with_progress, nullptr, reset};

/// The answer of /generate for a pipeline that has come to its end.
std::string answer(const outcome& end);
/// And for one that has not: which agent it was.
std::string failure_text(const outcome& end, language lang);

} // namespace parlor::pipeline_stream
