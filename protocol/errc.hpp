#pragma once
// Every way in which something can fail, and what a client is told about it. One table: a failure
// keeps its name from the provider or the store to the wire. Pure; any thread.

#include <cstdint>
#include <string_view>

namespace parlor {

enum class errc : std::uint8_t {
  none = 0,
  // the request
  bad_framing,
  bad_json,
  invalid_field,
  bad_cursor,
  unauthorized,
  bad_token,
  forbidden_host,
  forbidden_origin,
  route_not_found,
  method_not_allowed,
  request_timeout,
  body_too_large,
  uri_too_long,
  unsupported_media_type,
  expectation_failed,
  upgrade_required,
  headers_too_large,
  not_implemented,
  version_not_supported,
  unknown_model,
  idempotency_mismatch,
  invalid_request,
  url_not_allowed,
  // sessions and tasks
  session_not_found,
  task_not_found,
  session_busy,
  session_deleted,
  session_expired,
  task_ended,
  too_many_turns,
  cancelled,
  interrupted,
  not_waiting,
  generation_failed,
  generation_timeout,
  // capacity
  saturated,
  too_many_connections,
  too_many_streams,
  out_of_streams,
  draining,
  not_configured,
  store_full,
  store_failed,
  // the model's provider
  upstream_unreachable,
  upstream_tls,
  upstream_timeout,
  upstream_stalled,
  upstream_truncated,
  upstream_error,
  upstream_rate_limited,
  upstream_auth,
  upstream_rejected,
  upstream_protocol,
  upstream_too_large,
  schema_violation,
  // ourselves
  internal,
};

enum class language : std::uint8_t { en, zh };

/// What a code means to programs and people.
struct errc_info {
  errc code;
  std::string_view name; // never changes with the language: "session_not_found"
  int http_status;       // when it is the answer to a request
  bool retryable;        // may the same request succeed later?
  std::string_view en;   // one sentence for people
  std::string_view zh;
};

const errc_info& describe(errc code) noexcept;
inline std::string_view to_string(errc code) noexcept { return describe(code).name; }
inline std::string_view text(errc code, language lang) noexcept {
  return lang == language::zh ? describe(code).zh : describe(code).en;
}
/// In how many seconds a refused request may be answered: `Retry-After` (RFC 9110 section 10.2.3).
/// 0: nothing is known of that, and there is no such header.
unsigned retry_after_s(errc code) noexcept;
/// `internal` for a name that is not in the table.
errc errc_from_name(std::string_view name) noexcept;

/// The better of English (default) and Chinese by RFC 9110 section 12.5.4.
language pick_language(std::string_view accept_language) noexcept;

} // namespace parlor
