#include "protocol/errc.hpp"

#include <array>
#include <cstdlib>
#include <string>

namespace parlor {

namespace {

constexpr auto table = std::to_array<errc_info>({
    {errc::none, "none", 200, false, "All is well.", "一切正常。"},
    {errc::bad_framing, "bad_framing", 400, false, "The request is not valid HTTP.",
     "请求不是有效的 HTTP。"},
    {errc::bad_json, "bad_json", 400, false, "The body is not valid JSON.",
     "请求正文不是有效的 JSON。"},
    {errc::invalid_field, "invalid_field", 400, false, "A field is missing or has a wrong value.",
     "某个字段缺失或取值不正确。"},
    {errc::bad_cursor, "bad_cursor", 400, false, "The cursor is malformed.", "游标格式不正确。"},
    {errc::unauthorized, "unauthorized", 401, false, "A valid key is needed.", "需要有效的密钥。"},
    {errc::bad_token, "bad_token", 403, false, "The token is missing or wrong.",
     "令牌缺失或不正确。"},
    {errc::forbidden_host, "forbidden_host", 403, false, "This host name is not served.",
     "不为此主机名提供服务。"},
    {errc::forbidden_origin, "forbidden_origin", 403, false,
     "Requests from this origin are not allowed.", "不允许来自此来源的请求。"},
    {errc::route_not_found, "route_not_found", 404, false, "There is nothing at this address.",
     "此地址没有内容。"},
    {errc::method_not_allowed, "method_not_allowed", 405, false,
     "This address does not take this method.", "此地址不支持该方法。"},
    {errc::request_timeout, "request_timeout", 408, true, "The request did not arrive in time.",
     "请求未能及时到达。"},
    {errc::body_too_large, "body_too_large", 413, false, "The body is too large.",
     "请求正文过大。"},
    {errc::uri_too_long, "uri_too_long", 414, false, "The address is too long.", "请求地址过长。"},
    {errc::unsupported_media_type, "unsupported_media_type", 415, false,
     "The body must be application/json.", "请求正文必须是 application/json。"},
    {errc::expectation_failed, "expectation_failed", 417, false, "The expectation cannot be met.",
     "无法满足 Expect 要求。"},
    {errc::upgrade_required, "upgrade_required", 426, false,
     "This address takes WebSocket connections, version 13.",
     "此地址需要 WebSocket 连接（版本 13）。"},
    {errc::headers_too_large, "headers_too_large", 431, false, "The headers are too large.",
     "请求头过大。"},
    {errc::not_implemented, "not_implemented", 501, false, "This is not supported.",
     "不支持此功能。"},
    {errc::version_not_supported, "version_not_supported", 505, false,
     "This version of HTTP is not supported.", "不支持此 HTTP 版本。"},
    {errc::unknown_model, "unknown_model", 400, false, "No such model is configured.",
     "没有配置该模型。"},
    {errc::idempotency_mismatch, "idempotency_mismatch", 422, false,
     "The idempotency key was used with another request.", "该幂等键已用于另一个请求。"},
    {errc::invalid_request, "invalid_request", 422, false,
     "Fields are missing or have wrong values.", "有字段缺失或取值不正确。"},
    {errc::url_not_allowed, "url_not_allowed", 400, false, "This address may not be called.",
     "不允许访问该地址。"},
    {errc::session_not_found, "session_not_found", 404, false, "There is no such session.",
     "会话不存在。"},
    {errc::task_not_found, "task_not_found", 404, false, "There is no such task.", "任务不存在。"},
    {errc::session_busy, "session_busy", 409, true, "The session is busy with another turn.",
     "会话正在处理另一轮对话。"},
    {errc::session_deleted, "session_deleted", 410, false, "The session has been deleted.",
     "会话已被删除。"},
    {errc::session_expired, "session_expired", 410, false, "The session has expired.",
     "会话已过期。"},
    {errc::task_ended, "task_ended", 409, false, "The task has already ended.", "任务已经结束。"},
    {errc::too_many_turns, "too_many_turns", 429, true,
     "Too many turns are waiting in this session.", "此会话中等待的轮次过多。"},
    {errc::cancelled, "cancelled", 409, false, "The task was cancelled.", "任务已取消。"},
    {errc::interrupted, "interrupted", 503, true, "The server was restarted while the task ran.",
     "任务运行期间服务器重新启动。"},
    {errc::not_waiting, "not_waiting", 409, false, "The session is not waiting for a result.",
     "会话当前不在等待结果。"},
    {errc::generation_failed, "generation_failed", 502, true,
     "The external service could not make a result.", "外部服务未能生成结果。"},
    {errc::generation_timeout, "generation_timeout", 504, true, "No result arrived in time.",
     "结果未能及时返回。"},
    {errc::saturated, "saturated", 429, true, "Too much is going on; try again soon.",
     "系统繁忙，请稍后再试。"},
    {errc::too_many_connections, "too_many_connections", 429, true,
     "Too many connections come from this address.", "来自此地址的连接过多。"},
    {errc::too_many_streams, "too_many_streams", 429, true, "Too many streams are open.",
     "打开的数据流过多。"},
    {errc::out_of_streams, "out_of_streams", 503, true, "The server has no room for more streams.",
     "服务器暂时无法打开更多数据流。"},
    {errc::draining, "draining", 503, true, "The server is shutting down.", "服务器正在关闭。"},
    {errc::not_configured, "not_configured", 503, false, "This server is not set up to do that.",
     "该服务器未配置此功能。"},
    {errc::store_full, "store_full", 507, true, "There is no space left to record this.",
     "存储空间不足，无法保存。"},
    {errc::store_failed, "store_failed", 503, true, "The store does not work.", "存储不可用。"},
    {errc::upstream_unreachable, "upstream_unreachable", 502, true,
     "The model's provider cannot be reached.", "无法连接模型服务。"},
    {errc::upstream_tls, "upstream_tls", 502, false,
     "The model's provider could not prove who it is.", "无法验证模型服务的身份。"},
    {errc::upstream_timeout, "upstream_timeout", 504, true, "The model did not answer in time.",
     "模型未能及时回答。"},
    {errc::upstream_stalled, "upstream_stalled", 504, true,
     "The model stopped in the middle of its answer.", "模型在回答中途停止响应。"},
    {errc::upstream_truncated, "upstream_truncated", 502, true, "The model's answer was cut off.",
     "模型的回答被截断。"},
    {errc::upstream_error, "upstream_error", 502, true, "The model's provider reported an error.",
     "模型服务报告错误。"},
    {errc::upstream_rate_limited, "upstream_rate_limited", 503, true,
     "The model's provider is overloaded.", "模型服务过载。"},
    {errc::upstream_auth, "upstream_auth", 502, false,
     "The model's provider refused the server's key.", "模型服务拒绝了服务器的密钥。"},
    {errc::upstream_rejected, "upstream_rejected", 502, false,
     "The model's provider refused the request.", "模型服务拒绝了该请求。"},
    {errc::upstream_protocol, "upstream_protocol", 502, false,
     "The model's provider sent something unintelligible.", "模型服务返回了无法理解的内容。"},
    {errc::upstream_too_large, "upstream_too_large", 502, false, "The model's answer is too large.",
     "模型的回答过大。"},
    {errc::schema_violation, "schema_violation", 502, true,
     "The model's answers did not have the form that was asked for.",
     "模型的回答不符合要求的格式。"},
    {errc::internal, "internal", 500, true, "Something went wrong here.", "服务器内部错误。"},
});

constexpr bool in_order() {
  for (std::size_t i = 0; i < table.size(); ++i)
    if (static_cast<std::size_t>(table[i].code) != i)
      return false;
  return true;
}
static_assert(in_order() && table.size() == static_cast<std::size_t>(errc::internal) + 1);

} // namespace

const errc_info& describe(errc code) noexcept {
  auto i = static_cast<std::size_t>(code);
  return i < table.size() ? table[i] : table.back();
}

unsigned retry_after_s(errc code) noexcept {
  switch (code) {
  case errc::too_many_connections: // until somebody goes, a new server comes, a provider has rested
  case errc::too_many_streams:
  case errc::out_of_streams:
  case errc::draining:
  case errc::interrupted:
  case errc::upstream_rate_limited:
    return 5;
  default:
    auto& d = describe(code);
    return d.retryable && (d.http_status == 429 || d.http_status >= 500) ? 1 : 0;
  }
}

errc errc_from_name(std::string_view name) noexcept {
  for (auto& row : table)
    if (row.name == name)
      return row.code;
  return errc::internal;
}

language pick_language(std::string_view header) noexcept {
  double en = -1, zh = -1; // weights given; -1: not mentioned
  while (!header.empty()) {
    auto comma = header.find(',');
    auto item = header.substr(0, comma);
    header.remove_prefix(comma == std::string_view::npos ? header.size() : comma + 1);
    while (!item.empty() && item.front() == ' ')
      item.remove_prefix(1);
    double weight = 1;
    if (auto q = item.find(";q="); q != std::string_view::npos) {
      char digits[8] = {};
      item.substr(q + 3, 7).copy(digits, 7);
      weight = std::strtod(digits, nullptr);
    }
    auto is = [&](char a, char b) {
      return item.size() >= 2 && (item[0] | 32) == a && (item[1] | 32) == b &&
             (item.size() == 2 || item[2] == '-' || item[2] == ';');
    };
    if (is('e', 'n') && weight > en)
      en = weight;
    if (is('z', 'h') && weight > zh)
      zh = weight;
  }
  return zh > 0 && zh > en ? language::zh : language::en;
}

} // namespace parlor
