#pragma once
// docs/clients/chat-sessions.md: one conversation per conversation_id, JSON and SSE. Pure; any
// thread.

#include "protocol/dialects/dialect.hpp"

#include <vector>

namespace parlor::chat_sessions {

/// Body of POST /api/chat and /api/chat/stream. `session.id` is empty if the client gave no
/// conversation_id; ids of task and message and the idempotency are left for the edge to fill in.
parsed<turn_request> parse_chat(std::string_view body);

/// `start` (accepted), `chunk`, `retry`, `done`, `error`, and for whole sessions `session_deleted`,
/// `session_expired`. `progress` and `started` have no form here.
std::string encode(std::string_view epoch, language lang, const event& e);
std::string reset(std::string_view epoch, const task_view* task, const session_view& session);
inline constexpr stream_shape shape{encode, nullptr, reset};

/// The answer of POST /api/chat for a completed task.
std::string answer(const task_view& task, const outcome& end);

std::string session_json(const session_view& s);
std::string session_page_json(const std::vector<session_view>& sessions, std::int64_t total,
                              std::string_view next_cursor);
std::string messages_json(std::string_view session, const std::vector<history_message>& messages,
                          std::string_view next_before);
std::string deleted_json(std::string_view session);
std::string health_json(bool healthy, std::int64_t session_count, std::string_view why);

} // namespace parlor::chat_sessions
