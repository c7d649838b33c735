#pragma once
// The port to models: a list of messages goes in, a stream of pieces comes out.
//
// A provider is shared by all sessions, owns its sockets and pools, and may be called from any
// thread.

#include "protocol/chat.hpp"
#include "protocol/errc.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace parlor::llm {

struct call_request {
  std::vector<message> messages; // valid for a provider: see protocol/window.hpp
  model_settings settings;       // settings.model is the name the provider knows
  std::chrono::milliseconds connect_timeout{10'000};
  std::uint32_t attempt = 1; // 1, 2, 3: scripts of the rehearsal model depend on it
};

/// A piece of the answer: valid UTF-8, never empty, never half a character.
struct call_delta {
  std::string text;
};
/// The provider said that it is done, with an allowed finish_reason. Nothing follows.
struct call_finished {
  std::string finish_reason; // stop, length, tool_calls, content_filter
  std::string model;         // as the provider named it, or empty
  std::optional<usage> used; // exact, if the provider told
  std::string tool_calls;    // JSON array text, or empty
  std::uint32_t ignored = 0; // choices that nobody asked for, and what came after the end
};
/// It went wrong. Nothing follows; the socket is closed or back in the pool.
struct call_failed {
  errc code = errc::upstream_error;
  bool can_pass =
      false; // may another attempt succeed? (connect errors, 408, 409, 429, 5xx, truncation)
  std::optional<std::chrono::milliseconds> retry_after; // as the provider asked, not yet capped
  std::string detail; // for the log and the problem document: no key, no prompt, at most 200 bytes
  std::optional<usage> used; // if the provider told before it failed
  int status = 0;            // of its answer over HTTP, if there was one
  std::uint32_t ignored = 0; // as above
};
using call_event = std::variant<call_delta, call_finished, call_failed>;

/// Called on the provider's strand, in order. Must not block, and do little: send, post, count. May
/// still be called once while another thread is in cancel(); never after the call object is
/// destroyed and its strand has drained.
using call_sink = std::function<void(call_event)>;

/// A call under way. Destroying it cancels it.
class call {
public:
  virtual ~call() = default;
  /// Closes the upstream connection at once (a pooled one is not reused half-read). No further
  /// events. Any thread; idempotent.
  virtual void cancel() = 0;
};

class provider {
public:
  virtual ~provider() = default;
  /// Starts a call; never blocks, never throws, never calls the sink before it has returned.
  virtual std::unique_ptr<call> start(call_request request, call_sink sink) = 0;
};
using provider_ptr = std::shared_ptr<provider>;

} // namespace parlor::llm
