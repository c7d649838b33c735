#include "protocol/dialects/chat_sessions.hpp"

#include "protocol/dialects/request.hpp"
#include "protocol/json.hpp"
#include "protocol/sse.hpp"

#include <boost/json.hpp>

namespace parlor::chat_sessions {

using json::quoted;

parsed<turn_request> parse_chat(std::string_view body) {
  boost::json::object o;
  if (auto bad = read_object(body, o))
    return std::move(*bad);
  turn_request turn;
  if (auto bad = read_text(o, "message", turn.said.content))
    return std::move(*bad);
  if (auto bad = read_turn_options(o, body, "conversation_id", turn))
    return std::move(*bad);
  return turn;
}

std::string encode(std::string_view epoch, language lang, const event& e) {
  std::string data;
  switch (e.kind) {
  case event_kind::accepted:
    data = R"({"type":"start","session_id":)" + quoted(e.task->session) + R"(,"task_id":)" +
           quoted(e.task->id) + "}";
    break;
  case event_kind::delta:
    data.reserve(e.text.size() + 48);
    data = R"({"type":"chunk","content":)";
    json::append_quoted(data, e.text);
    data += '}';
    break;
  case event_kind::retry:
    data = R"({"type":"retry","attempt":)" + std::to_string(e.number) + R"(,"delay_ms":)" +
           std::to_string(e.delay_ms) + R"(,"discard":)" + (e.discard ? "true}" : "false}");
    break;
  case event_kind::completed:
    data = R"({"type":"done","session_id":)" + quoted(e.task->session) + R"(,"task_id":)" +
           quoted(e.task->id) + R"(,"content":)" + quoted(e.end->content) + R"(,"usage":)" +
           usage_json(e.end->used) + R"(,"finish_reason":)" + quoted(e.end->finish_reason);
    if (e.end->history_dropped > 0)
      data += R"(,"history_dropped":)" + std::to_string(e.end->history_dropped);
    data += '}';
    break;
  case event_kind::failed:
  case event_kind::cancelled:
    data = R"({"type":"error","code":)" + quoted(to_string(e.end->error)) + R"(,"error":)" +
           quoted(text(e.end->error, lang)) + "}";
    break;
  case event_kind::session_deleted:
    data = R"({"type":"session_deleted"})";
    break;
  case event_kind::session_expired:
    data = R"({"type":"session_expired"})";
    break;
  default:
    return {};
  }
  return sse::block(format_cursor(epoch, e.seq), data);
}

std::string reset(std::string_view epoch, const task_view* task, const session_view& session) {
  auto data = R"({"type":"reset","snapshot":{"session":)" + session_json(session);
  if (task != nullptr)
    data += R"(,"task":{"task_id":)" + quoted(task->id) + R"(,"status":)" +
            quoted(to_string(task->status)) + R"(,"content":)" + quoted(task->text) + "}";
  auto seq = task != nullptr && session.last_seq == 0 ? task->last_seq : session.last_seq;
  return sse::block(format_cursor(epoch, seq), data + "}}");
}

std::string answer(const task_view& task, const outcome& end) {
  auto out = R"({"response":)" + quoted(end.content) + R"(,"conversation_id":)" +
             quoted(task.session) + R"(,"session_id":)" + quoted(task.session) +
             R"(,"message_id":)" + quoted(end.message_id) + R"(,"task_id":)" + quoted(task.id) +
             R"(,"model":)" + quoted(task.model) + R"(,"usage":)" + usage_json(end.used) +
             R"(,"finish_reason":)" + quoted(end.finish_reason);
  if (end.history_dropped > 0)
    out += R"(,"history_dropped":)" + std::to_string(end.history_dropped);
  return out + "}";
}

namespace {
std::string session_members(const session_view& s) {
  return R"({"session_id":)" + quoted(s.id) + R"(,"created_at":)" +
         quoted(json::iso8601(s.created_at)) + R"(,"last_accessed":)" +
         quoted(json::iso8601(s.last_accessed)) + R"(,"message_count":)" +
         std::to_string(s.message_count);
}
} // namespace

std::string session_json(const session_view& s) {
  return session_members(s) + R"(,"state":)" + quoted(s.state) + R"(,"total_tokens":)" +
         std::to_string(s.total_tokens) + R"(,"question_count":)" +
         std::to_string(s.question_count) + R"(,"active_task":)" +
         (s.active_task.empty() ? "null" : quoted(s.active_task)) + "}";
}

std::string session_page_json(const std::vector<session_view>& sessions, std::int64_t total,
                              std::string_view next_cursor) {
  std::string out = R"({"sessions":[)";
  for (auto& s : sessions)
    out += (out.back() == '[' ? "" : ",") + session_members(s) + "}";
  return out + R"(],"total":)" + std::to_string(total) + R"(,"next_cursor":)" +
         (next_cursor.empty() ? "null" : quoted(next_cursor)) + "}";
}

std::string messages_json(std::string_view session, const std::vector<history_message>& messages,
                          std::string_view next_before) {
  auto out = R"({"session_id":)" + quoted(session) + R"(,"messages":[)";
  for (auto& m : messages)
    out += std::string{out.back() == '[' ? "" : ","} + R"({"message_id":)" + quoted(m.id) +
           R"(,"role":)" + quoted(to_string(m.said.who)) + R"(,"content":)" +
           quoted(m.said.content) + R"(,"task_id":)" + quoted(m.task) + R"(,"created_at":)" +
           quoted(json::iso8601(m.at)) + R"(,"partial":)" + (m.partial ? "true}" : "false}");
  return out + R"(],"next_before":)" + (next_before.empty() ? "null" : quoted(next_before)) + "}";
}

std::string deleted_json(std::string_view session) {
  return R"({"message":"Session deleted","session_id":)" + quoted(session) + "}";
}

std::string health_json(bool healthy, std::int64_t session_count, std::string_view why) {
  if (healthy)
    return R"({"status":"healthy","agent_initialized":true,"session_count":)" +
           std::to_string(session_count) + "}";
  return R"({"status":"unhealthy","agent_initialized":true,"error":)" + quoted(why) + "}";
}

} // namespace parlor::chat_sessions
