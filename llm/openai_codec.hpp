#pragma once
// The wire format of OpenAI-compatible chat completion services, both ways. Pure: no sockets, no
// clock but the one given. Thread: any; a decoder belongs to one call.

#include "llm/delta_memo.hpp"
#include "llm/provider.hpp"
#include "protocol/sse.hpp"

#include <cstdint>
#include <ctime>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace parlor::llm {

inline constexpr std::size_t max_event_bytes = 1 << 20;
inline constexpr std::size_t max_stream_bytes = 64 << 20;
inline constexpr std::size_t max_error_body_bytes = 64 << 10;

/// The body of POST <base>/chat/completions, always streaming and with usage asked for. Numbers
/// stay as the client wrote them.
std::string chat_request_body(const call_request& request);

/// What an answer other than 200 means. `body` is at most max_error_body_bytes of it; its error
/// message is not passed on beyond a short code, since providers quote prompts and keys in it.
call_failed failure_of_status(int status, std::string_view retry_after, std::string_view body,
                              std::time_t now);

/// What a 200 with something other than an event stream means.
call_failed failure_of_body(std::string_view content_type, std::string_view body);

/// `Retry-After` in seconds or as an HTTP-date; nothing for what is neither, or negative.
std::optional<std::chrono::milliseconds> parse_retry_after(std::string_view value, std::time_t now);

/// Turns the bytes of an event stream, split anywhere, into deltas and exactly one call_finished or
/// call_failed.
class stream_decoder {
public:
  stream_decoder() : sse_{max_event_bytes} {}
  /// False once the outcome is among the events: nothing more is read.
  bool feed(std::string_view bytes, std::vector<call_event>& out);
  /// The stream has ended. Adds the outcome if there was none.
  void end(std::vector<call_event>& out);
  bool over() const noexcept { return over_; }
  const std::optional<usage>& used() const noexcept { return used_; }

private:
  struct tool_call {
    std::string id, type, name, arguments;
  };
  void event(std::string_view data, std::vector<call_event>& out);
  void finish(std::vector<call_event>& out);
  void fail(errc code, bool can_pass, std::string detail, std::vector<call_event>& out);
  std::string tool_calls_json() const;

  // What each piece looks at lies together.
  bool over_ = false;
  std::size_t bytes_ = 0;
  sse::decoder sse_;
  delta_memo memo_;
  std::string finish_reason_; // seen; the outcome waits for the usage that may follow it
  std::string model_;
  std::optional<usage> used_;
  std::map<std::int64_t, tool_call> tools_;
  std::size_t tool_bytes_ = 0;
  std::uint32_t ignored_ = 0;
};

} // namespace parlor::llm
