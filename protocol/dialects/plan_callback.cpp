#include "protocol/dialects/plan_callback.hpp"

#include "protocol/dialects/request.hpp"
#include "protocol/json.hpp"
#include "protocol/problem.hpp"
#include "protocol/sse.hpp"

#include <boost/json.hpp>

#include <cstdio>

namespace parlor::plan_callback {

namespace {

using json::quoted;
namespace bj = boost::json;

constexpr std::size_t max_message_bytes = 500;

refusal wrong(std::string_view field, std::string detail) {
  return {errc::invalid_field, std::string{field}, std::move(detail)};
}

/// Without the blanks and line ends between the tokens; SSE needs it on one line.
std::string compact(std::string_view document) {
  std::string out;
  out.reserve(document.size());
  for (std::size_t i = 0; i < document.size(); ++i) {
    char c = document[i];
    if (c == ' ' || c == '\n' || c == '\r' || c == '\t')
      continue;
    if (c != '"') {
      out += c;
      continue;
    }
    auto from = i++;
    while (i < document.size() && document[i] != '"')
      i += document[i] == '\\' ? 2 : 1;
    out += document.substr(from, i + 1 - from);
  }
  return out;
}

/// A few words for people, whatever the service has put there.
std::string words(std::string_view text) {
  std::string out;
  for (char c : text)
    out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;
  auto from = out.find_first_not_of(' ');
  if (from == std::string::npos)
    return {};
  out = out.substr(from, out.find_last_not_of(' ') + 1 - from);
  if (out.size() > max_message_bytes) {
    auto end = max_message_bytes;
    while ((static_cast<unsigned char>(out[end]) & 0xc0) == 0x80)
      --end; // not inside a character
    out.resize(end);
  }
  return out;
}

std::string words(const bj::value* v) {
  if (v != nullptr && v->is_string())
    return words(std::string_view{v->get_string().data(), v->get_string().size()});
  if (v != nullptr && v->is_object())
    return words(v->get_object().if_contains("message"));
  return {};
}

bool is_error(const bj::value* v, bool with_data) {
  if (v == nullptr || v->is_null())
    return false;
  if (v->is_bool())
    return v->get_bool();
  if (v->is_number())
    return v->to_number<double>() != 0; // some services count their errors, and 0 is none
  if (v->is_string())
    return !with_data || !words(v).empty();
  return v->is_object() ? !v->get_object().empty() : !v->get_array().empty();
}

bool is_report(const bj::object& o) {
  auto* progress = o.if_contains("progress");
  if (progress == nullptr || !progress->is_number())
    return false;
  if (auto* message = o.if_contains("message"); message != nullptr && message->is_string())
    return true;
  for (auto& member : o)
    if (member.key() != "progress" && member.key() != "message" && member.key() != "sessionId" &&
        member.key() != "data" && member.key() != "error") // both are empty here
      return false;
  return true;
}

parsed<outside_news> read_news(const bj::object& o, std::string_view body) {
  using kind = outside_news::kind;
  auto* data = o.if_contains("data");
  auto has_data = data != nullptr && !data->is_null();
  if (auto* error = o.if_contains("error"); is_error(error, has_data))
    return outside_news{kind::failed, 0, words(error)};
  if (!has_data && is_report(o)) {
    auto percent = o.at("progress").to_number<double>();
    if (!(percent >= 0 && percent <= 100))
      return wrong("progress", "must be a number from 0 to 100");
    return outside_news{kind::progress, static_cast<std::uint32_t>(percent),
                        words(o.if_contains("message"))};
  }
  if (data == nullptr)
    return outside_news{kind::completed, 0, compact(body)};
  if (!data->is_object())
    return wrong("data", "must be an object");
  return outside_news{kind::completed, 0, compact(json::raw_member(body, "data"))};
}

std::optional<refusal> read_session(const bj::object& o, std::string& out) {
  if (auto bad = read_text(o, "sessionId", out))
    return bad;
  if (!valid_session_id(out))
    return wrong("sessionId", session_id_rule);
  return std::nullopt;
}

// -- what people read

std::string_view friendly(errc code, language lang) {
  switch (code) {
  case errc::upstream_unreachable:
  case errc::upstream_tls:
  case errc::upstream_timeout:
  case errc::upstream_stalled:
  case errc::upstream_truncated:
  case errc::upstream_error:
  case errc::upstream_rate_limited:
  case errc::upstream_auth:
  case errc::upstream_rejected:
  case errc::upstream_protocol:
  case errc::upstream_too_large:
    return lang == language::zh ? "规划服务暂时不可用，请稍后再试。"
                                : "The planning service is not available at the moment. Please "
                                  "try again later.";
  case errc::generation_failed:
    return lang == language::zh ? "未能生成计划，请重试。"
                                : "The plan could not be made. Please try again.";
  case errc::generation_timeout:
    return lang == language::zh ? "计划生成超时，请重试。"
                                : "The plan took too long to arrive. Please try again.";
  case errc::cancelled:
    return lang == language::zh ? "计划生成已取消。" : "Making the plan was cancelled.";
  default:
    return text(code, lang);
  }
}

/// `"code":…,"message":…`
std::string error_members(errc code, std::string_view said, language lang) {
  auto message = code == errc::generation_failed && !said.empty() ? said : friendly(code, lang);
  return R"("code":)" + quoted(to_string(code)) + R"(,"message":)" + quoted(message);
}

std::string error_members(const outcome& end, language lang) {
  auto code =
      end.status == task_status::cancelled && end.error == errc::none ? errc::cancelled : end.error;
  return error_members(code, end.content, lang);
}

std::string data_of(language lang, const event& e) {
  auto error = [](const std::string& members) {
    return R"({"type":"error","status":"error",)" + members + "}";
  };
  if (e.task && e.task->kind != task_kind::external)
    return {}; // a conversation in the same session
  switch (e.kind) {
  case event_kind::accepted:
    return R"({"type":"status","status":"generating"})";
  case event_kind::progress: {
    auto out = R"({"type":"status","status":"generating","progress":)" + std::to_string(e.number);
    if (!e.text.empty())
      out += R"(,"message":)" + quoted(e.text);
    return out + "}";
  }
  case event_kind::retry:
    return R"({"type":"retry","attempt":)" + std::to_string(e.number) + R"(,"delay_ms":)" +
           std::to_string(e.delay_ms) + "}";
  case event_kind::completed:
    return R"({"type":"plan","status":"completed","data":)" + e.end->content + "}";
  case event_kind::failed:
  case event_kind::cancelled:
    return error(error_members(*e.end, lang));
  case event_kind::session_deleted:
    return error(error_members(errc::session_deleted, {}, lang));
  case event_kind::session_expired:
    return error(error_members(errc::session_expired, {}, lang));
  case event_kind::started: // said by accepted
  case event_kind::delta:
  case event_kind::text_done:
  case event_kind::stage_done: // the service has taken the request
    break;
  }
  return {};
}

/// Four places, without trailing zeros.
std::string rate(std::uint64_t part, std::uint64_t whole) {
  if (whole == 0 || part == 0)
    return "0";
  char text[32];
  std::snprintf(text, sizeof text, "%.4f", static_cast<double>(part) / static_cast<double>(whole));
  std::string out = text;
  out.erase(out.find_last_not_of('0') + 1);
  if (out.back() == '.')
    out.pop_back();
  return out;
}

} // namespace

parsed<turn_request> parse_generate(std::string_view body) {
  bj::object o;
  if (auto bad = read_object(body, o))
    return std::move(*bad);
  turn_request turn;
  if (auto bad = read_session(o, turn.session.id))
    return std::move(*bad);
  auto* request = o.if_contains("request");
  if (request == nullptr || request->is_null())
    return wrong("request", "is required");
  if (!request->is_object())
    return wrong("request", "must be an object");
  turn.said.content = compact(json::raw_member(body, "request"));
  turn.when_busy = on_busy::reject;
  return turn;
}

parsed<callback> parse_callback(std::string_view session, std::string_view body) {
  callback out{std::string{session}, {}};
  if (!session.empty() && !valid_session_id(session))
    return wrong("sessionId", session_id_rule);
  if (body.size() > max_callback_bytes)
    return refusal{errc::body_too_large};
  bj::object o;
  if (auto bad = read_object(body, o))
    return std::move(*bad);
  if (session.empty())
    if (auto bad = read_session(o, out.session))
      return std::move(*bad);
  auto what = read_news(o, body);
  if (auto* bad = std::get_if<refusal>(&what))
    return std::move(*bad);
  out.what = std::move(std::get<outside_news>(what));
  return out;
}

bool repeats(const outside_news& what, const outcome& end) noexcept {
  using kind = outside_news::kind;
  if (end.content != what.text)
    return false;
  return (what.what == kind::completed && end.status == task_status::completed) ||
         (what.what == kind::failed && end.status == task_status::failed &&
          end.error == errc::generation_failed);
}

std::string outbound_json(std::string_view session, std::string_view request,
                          std::string_view callback_url) {
  return R"({"sessionId":)" + quoted(session) + R"(,"request":)" + std::string{request} +
         R"(,"callbackUrl":)" + quoted(callback_url) + "}";
}

std::string_view status_name(const task_view* task) noexcept {
  if (task == nullptr)
    return "waiting";
  if (!ended(task->status))
    return "generating";
  return task->status == task_status::completed ? "completed" : "error";
}

std::string started_json(std::string_view session, std::string_view callback_url) {
  return R"({"success":true,"sessionId":)" + quoted(session) +
         R"(,"status":"generating","callbackUrl":)" + quoted(callback_url) + "}";
}

std::string received_json(std::string_view session, outside_news::kind what,
                          std::size_t delivered) {
  auto status = what == outside_news::kind::completed ? R"("completed")"
                : what == outside_news::kind::failed  ? R"("error")"
                                                      : R"("generating")";
  return R"({"success":true,"sessionId":)" + quoted(session) + R"(,"status":)" + status +
         R"(,"delivered":)" + std::to_string(delivered) + "}";
}

std::string error_json(const refusal& why, language lang, std::string_view session) {
  auto said = detail_text(why, lang);
  if (!why.field.empty())
    said = why.field + ' ' + said;
  return R"({"success":false,"error":{"code":)" + quoted(to_string(why.code)) + R"(,"message":)" +
         quoted(said) + R"(},"sessionId":)" +
         (valid_session_id(session) ? quoted(session) : "null") + "}";
}

std::string stats_json(const figures& f) {
  auto member = [](std::string_view name, std::uint64_t n) {
    return quoted(name) + ':' + std::to_string(n);
  };
  auto over = f.plans + f.failures;
  return '{' + member("activeSessions", f.waiting + f.generating + f.completed + f.error) + ',' +
         member("activeConnections", f.connections) + R"(,"statuses":{)" +
         member("waiting", f.waiting) + ',' + member("generating", f.generating) + ',' +
         member("completed", f.completed) + ',' + member("error", f.error) + "}," +
         member("averageGenerationMs",
                f.plans == 0 ? 0 : (f.generation_ms + f.plans / 2) / f.plans) +
         R"(,"errorRate":)" + rate(f.failures, over) + R"(,"timeoutRate":)" +
         rate(f.timeouts, over) + '}';
}

std::string encode(std::string_view epoch, language lang, const event& e) {
  auto data = data_of(lang, e);
  return data.empty() ? data : sse::block(format_cursor(epoch, e.seq), data);
}

std::string connected(std::string_view session, const task_view* task) {
  return sse::block({}, R"({"type":"connected","sessionId":)" + quoted(session) + R"(,"status":")" +
                            std::string{status_name(task)} + R"("})");
}

std::string connection_timeout() { return sse::block({}, R"({"type":"connection_timeout"})"); }

std::string reset(std::string_view epoch, language lang, const task_view* task,
                  const session_view& session) {
  auto seq = task != nullptr && session.last_seq == 0 ? task->last_seq : session.last_seq;
  auto& id = task != nullptr && session.id.empty() ? task->session : session.id;
  auto snapshot =
      R"({"sessionId":)" + quoted(id) + R"(,"status":")" + std::string{status_name(task)} + '"';
  if (task != nullptr && !ended(task->status))
    snapshot += R"(,"progress":)" + std::to_string(task->progress);
  else if (task != nullptr && task->end && task->status == task_status::completed)
    snapshot += R"(,"data":)" + task->end->content;
  else if (task != nullptr && task->end)
    snapshot += ',' + error_members(*task->end, lang);
  return sse::block(format_cursor(epoch, seq), R"({"type":"reset","snapshot":)" + snapshot + "}}");
}

} // namespace parlor::plan_callback
