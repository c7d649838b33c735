#pragma once
// Server-sent events as bytes, both ways (WHATWG HTML, section 9.2). The only place that knows
// their format. Pure; any thread.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace parlor::sse {

/// `id: <id>\ndata: <data>\n\n`; no id line if `id` is empty. `data` must hold no CR or LF (JSON
/// never does).
std::string block(std::string_view id, std::string_view data);
/// One comment line and nothing else: docs/clients/README.md, and reliability finding 10.
inline constexpr std::string_view keepalive = ": ka\n";
/// The last lines of a stream whose client should come back after `ms`. No event, not even an empty
/// one.
std::string come_back(std::uint32_t ms);

/// Points into the bytes that were fed, or into the decoder: gone when the sink returns.
struct frame {
  std::string_view event; // "message" if the stream named none
  std::string_view data;
  std::string_view id; // last event id at the moment of dispatch
};
using frame_sink = std::function<void(const frame&)>;

/// Incremental decoder: bytes in, split anywhere; frames out. Follows WHATWG exactly: CR, LF and
/// CRLF line ends, BOM, comments, several data lines, `retry`, ids with NUL ignored, unfinished
/// block at the end dropped.
class decoder {
public:
  explicit decoder(std::size_t max_event_bytes) : max_{max_event_bytes} {}
  /// Hands over the frames that are complete now. False once an event has grown beyond the limit;
  /// then nothing more comes.
  bool feed(std::string_view bytes, const frame_sink& out);
  /// Whether anything is buffered that has not been dispatched (a cut inside an event).
  bool mid_event() const noexcept;

private:
  void line(std::string_view text, bool lasts, const frame_sink& out);
  void keep();
  std::size_t max_;
  std::string partial_; // of the present line
  std::string data_;
  std::string_view fresh_; // instead: all of it is in the bytes that are being fed
  std::string event_;
  std::string id_;
  bool has_data_ = false;
  bool skip_lf_ = false; // the last byte was CR: a following LF belongs to it
  bool start_ = true;    // nothing decoded yet: a BOM may come
  bool failed_ = false;
};

} // namespace parlor::sse
