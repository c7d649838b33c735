#pragma once
// docs/clients/generate-async.md: long generations behind a short gateway limit. Pure; any thread.

#include "protocol/dialects/dialect.hpp"

namespace parlor::generate_async {

/// Body of POST /api/generate-async. `session.id` is empty if the client gave no conversationId.
parsed<turn_request> parse_create(std::string_view body);

std::string created_json(std::string_view task);
/// The polling answer.
std::string task_json(const task_view& task, language lang);
/// A strong entity tag for task_json: changes when, and only when, its bytes can. With quotes.
std::string etag(const task_view& task, language lang);
/// `{"success":false,"error":…,"code":…}`; the error names the field, where there is one.
std::string error_json(const refusal& why, language lang);
/// The answer of DELETE.
std::string cancelled_json(const task_view& task, language lang);

/// `connected` (by greet), `status_update`, `progress_update`, `completed`, `failed`, `cancelled`;
/// retry is a status_update. Deltas have no form in `shape` and are `chunk` in `shape_with_deltas`.
std::string encode(std::string_view epoch, language lang, const event& e);
std::string encode_with_deltas(std::string_view epoch, language lang, const event& e);
std::string greet(language lang, std::int64_t now_ms, const task_view* task, bool fresh);
std::string reset(std::string_view epoch, const task_view* task, const session_view& session);
inline constexpr stream_shape shape{encode, greet, reset};
inline constexpr stream_shape shape_with_deltas{encode_with_deltas, greet, reset};

} // namespace parlor::generate_async
