#pragma once
// What the edge knows of a WebSocket (docs/clients/learning-ws.md) beside what it knows of every
// watcher: the questions that are open, and when it is time for a sign of life.
//
// Owner: the edge's watcher. Thread: the edge. An idle socket has nothing here but this struct: no
// timer, no buffer.
//
// It goes `joining` (the session has been asked where it stands) → `held` (the first message may be
// `resume`; until then, or for a second, it is a cursor) → `going`. While there is no session it is
// `unborn`, and joins when the first turn makes one.

#include "http/websocket.hpp"
#include "protocol/dialects/learning_ws.hpp"

#include <caf/actor_clock.hpp>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace parlor {

struct socket_message;

struct socket_options {
  learning_ws::limits limits;
  http::websocket_options wire; // max_message is made of the limits
  std::chrono::milliseconds keepalive{5'000};
  std::chrono::milliseconds hold{1'000}; // for `resume` to come
  bool allow_script = false;             // questions may carry one for the rehearsal model
};

/// A task of the session as one socket sees it.
struct socket_task {
  std::string id;
  std::string request_id;
  bool mine = false;     // asked here
  bool asked = false;    // mine, and the session has not answered
  bool full = false;     // mine: the text so far is wanted with every piece
  bool begun = false;    // has told something here since it was joined
  bool finished = false; // its text has been told to be complete
  std::string text;      // if `full`
};

/// The tasks that are open.
class socket_tasks {
public:
  bool empty() const noexcept { return all_.empty(); }
  socket_task* find(std::string_view id) noexcept;
  /// The one asked here by that name; failing that the last one of the session.
  const socket_task* named(std::string_view request_id) const noexcept;
  const socket_task* mine(std::string_view request_id) const noexcept;
  socket_task& add(std::string id, std::string request_id);
  void remove(std::string_view id);
  /// The session says that these are open. `only`: and no other.
  void are(const std::vector<task_header_ptr>& open, bool only);
  /// What has been told is told again.
  void rewind();
  /// The name that an event's task has on this socket: what is asked elsewhere by a name that is in
  /// use here has none.
  std::string_view name_of(const task_header& task) const noexcept;
  /// Notes the event, and appends its messages: none, one, or two.
  void tell(const event& e, language lang, std::vector<std::string>& out);

private:
  std::vector<socket_task> all_; // few: session.max_turns
};

/// Pieces that several sockets of a session are told in the same words.
struct socket_frames {
  struct piece {
    std::string request_id;
    http::chunk frame;
  };
  std::vector<piece> pieces;
};

struct socket_state {
  enum class phase : std::uint8_t { joining, held, going } at = phase::joining;
  bool unborn = false;
  bool alarm_out = false;
  std::optional<std::uint64_t> rewind_to; // asked for, and not answered
  caf::actor_clock::time_point since;     // held, or silent
  http::websocket_ptr wire;
  socket_tasks tasks;
  std::vector<socket_message> early; // while it is being joined
};

} // namespace parlor
