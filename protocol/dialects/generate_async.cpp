#include "protocol/dialects/generate_async.hpp"

#include "protocol/dialects/request.hpp"
#include "protocol/json.hpp"
#include "protocol/problem.hpp"
#include "protocol/sse.hpp"

#include <boost/json.hpp>

#include <functional>

namespace parlor::generate_async {

namespace {

using json::quoted;

std::string say(language lang, std::string_view en, std::string_view zh) {
  return quoted(lang == language::zh ? zh : en);
}

std::string generating(language lang, std::uint32_t percent) {
  auto n = std::to_string(percent);
  return say(lang, "Generating: " + n + "%", "生成中：" + n + "%");
}

std::string status_text(language lang, task_status s, std::uint32_t progress) {
  switch (s) {
  case task_status::pending:
    return say(lang, "Waiting to start", "等待开始");
  case task_status::running:
    return progress == 0 ? say(lang, "Processing started…", "开始处理…")
                         : generating(lang, progress);
  case task_status::completed:
    return say(lang, "Code generation finished", "代码生成完成");
  case task_status::cancelled:
    return say(lang, "Code generation cancelled", "代码生成已取消");
  case task_status::failed:
    break;
  }
  return say(lang, "Code generation failed", "代码生成失败");
}

std::string result_json(const outcome& end, std::string_view model, std::string_view session) {
  auto out = R"({"content":)" + quoted(end.content) + R"(,"model":)" + quoted(model) +
             R"(,"usage":)" + usage_json(end.used) + R"(,"conversationId":)" + quoted(session);
  if (end.history_dropped > 0)
    out += R"(,"historyDropped":)" + std::to_string(end.history_dropped);
  if (auto document = json::only_document(end.content)) {
    out += R"(,"data":)"; // as it was written: SSE needs it on one line
    for (char c : *document)
      out += c == '\n' || c == '\r' ? ' ' : c; // inside strings they are escaped
  }
  return out + "}";
}

std::string data_of(language lang, const event& e, bool deltas) {
  auto status = [&](std::string_view name, std::uint32_t progress, const std::string& message) {
    return std::string{R"({"type":"status_update","status":")"}.append(name) + R"(","progress":)" +
           std::to_string(progress) + R"(,"message":)" + message + "}";
  };
  switch (e.kind) {
  case event_kind::accepted:
    return status("pending", 0, status_text(lang, task_status::pending, 0));
  case event_kind::started:
    return status("running", 0, status_text(lang, task_status::running, 0));
  case event_kind::retry: {
    auto n = std::to_string(e.number);
    return std::string{R"({"type":"status_update","status":"running","progress":0,"attempt":)"} +
           n + R"(,"discard":)" + (e.discard ? "true" : "false") + R"(,"message":)" +
           say(lang, "Trying again (attempt " + n + ")", "正在重试（第 " + n + " 次）") + "}";
  }
  case event_kind::progress:
    return R"({"type":"progress_update","progress":)" + std::to_string(e.number) +
           R"(,"message":)" + generating(lang, e.number) + "}";
  case event_kind::delta:
    return deltas ? R"({"type":"chunk","content":)" + quoted(e.text) + "}" : std::string{};
  case event_kind::completed:
    return R"({"type":"completed","result":)" +
           result_json(*e.end, e.task->model, e.task->session) + R"(,"message":)" +
           status_text(lang, task_status::completed, 100) + "}";
  case event_kind::failed:
    return R"({"type":"failed","error":)" + quoted(text(e.end->error, lang)) + R"(,"code":)" +
           quoted(to_string(e.end->error)) + R"(,"message":)" +
           status_text(lang, task_status::failed, 0) + "}";
  case event_kind::cancelled:
    return R"({"type":"cancelled","message":)" + status_text(lang, task_status::cancelled, 0) + "}";
  case event_kind::session_deleted:
  case event_kind::session_expired: {
    auto code =
        e.kind == event_kind::session_deleted ? errc::session_deleted : errc::session_expired;
    return R"({"type":"failed","error":)" + quoted(text(code, lang)) + R"(,"code":)" +
           quoted(to_string(code)) + R"(,"message":)" + status_text(lang, task_status::failed, 0) +
           "}";
  }
  case event_kind::text_done: // these tasks have no such events
  case event_kind::stage_done:
    break;
  }
  return {};
}

std::string block_of(std::string_view epoch, language lang, const event& e, bool deltas) {
  auto data = data_of(lang, e, deltas);
  return data.empty() ? data : sse::block(format_cursor(epoch, e.seq), data);
}

} // namespace

parsed<turn_request> parse_create(std::string_view body) {
  boost::json::object o;
  if (auto bad = read_object(body, o))
    return std::move(*bad);
  turn_request turn;
  if (auto bad = read_text(o, "prompt", turn.said.content))
    return std::move(*bad);
  if (auto bad = read_turn_options(o, body, "conversationId", turn))
    return std::move(*bad);
  return turn;
}

std::string created_json(std::string_view task) {
  return R"({"success":true,"taskId":)" + quoted(task) + R"(,"status":"pending"})";
}

std::string task_json(const task_view& t, language lang) {
  auto progress = t.status == task_status::completed ? 100 : t.progress;
  auto out = R"({"success":true,"taskId":)" + quoted(t.id) + R"(,"status":)" +
             quoted(to_string(t.status)) + R"(,"progress":)" + std::to_string(progress) +
             R"(,"message":)" + status_text(lang, t.status, progress) + R"(,"createdAt":)" +
             std::to_string(t.created_at) + R"(,"updatedAt":)" + std::to_string(t.updated_at);
  out += R"(,"result":)" + (t.end && t.status == task_status::completed
                                ? result_json(*t.end, t.model, t.session)
                                : "null");
  out += R"(,"error":)";
  out += t.end && t.end->error != errc::none
             ? quoted(text(t.end->error, lang)) + R"(,"code":)" + quoted(to_string(t.end->error))
             : "null";
  return out + "}";
}

std::string etag(const task_view& task, language lang) {
  char hex[20];
  std::snprintf(hex, sizeof hex, "\"%016zx\"", std::hash<std::string>{}(task_json(task, lang)));
  return hex;
}

std::string error_json(const refusal& why, language lang) {
  auto said = detail_text(why, lang);
  if (!why.field.empty())
    said = why.field + ' ' + said;
  return R"({"success":false,"error":)" + quoted(said) + R"(,"code":)" +
         quoted(to_string(why.code)) + "}";
}

std::string cancelled_json(const task_view& task, language lang) {
  return R"({"success":true,"taskId":)" + quoted(task.id) + R"(,"status":"cancelled","message":)" +
         status_text(lang, task_status::cancelled, 0) + "}";
}

std::string encode(std::string_view epoch, language lang, const event& e) {
  return block_of(epoch, lang, e, false);
}

std::string encode_with_deltas(std::string_view epoch, language lang, const event& e) {
  return block_of(epoch, lang, e, true);
}

std::string greet(language lang, std::int64_t now_ms, const task_view* task, bool) {
  return sse::block({}, R"({"type":"connected","taskId":)" +
                            (task != nullptr ? quoted(task->id) : "null") + R"(,"timestamp":)" +
                            std::to_string(now_ms) + R"(,"message":)" +
                            say(lang, "SSE connection established", "SSE 连接已建立") + "}");
}

std::string reset(std::string_view epoch, const task_view* task, const session_view& session) {
  auto seq = task != nullptr && session.last_seq == 0 ? task->last_seq : session.last_seq;
  return sse::block(format_cursor(epoch, seq),
                    R"({"type":"reset","snapshot":)" +
                        (task != nullptr ? task_json(*task, language::en) : "null") + "}");
}

} // namespace parlor::generate_async
