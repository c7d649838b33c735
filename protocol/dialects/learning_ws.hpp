#pragma once
// docs/clients/learning-ws.md: a tutor over WebSocket, with long answers and photos. Frames are
// JSON texts. Pure; any thread.

#include "protocol/dialects/dialect.hpp"

#include <cstddef>
#include <cstdint>
#include <variant>

namespace parlor::learning_ws {

// -- what clients send

struct limits {
  std::size_t max_images = 10;                    // a question
  std::size_t max_image_bytes = 20 * 1024 * 1024; // of a question's data URLs in all, decoded
  std::size_t max_url = 2048;                     // of an https URL, bytes
};

/// The largest frame that a question within the limits can need: what the connection lets through.
std::size_t max_frame(const limits& l) noexcept;

/// `turn.said.content` is the text; with images `turn.said.extra` has the parts that go to the
/// model, the text and then the images in their order. `turn.session.id` is empty, or what the
/// frame says.
struct question {
  turn_request turn;
  bool full_content = false; // on every `content`
  std::string request_id;    // the client's, to tell its questions apart; empty: none given
};
struct cancel {
  std::string request_id; // never empty
};
struct resume {
  std::uint64_t last_seq = 0; // 0: from the beginning
};
/// What is none of these. `request_id` is that of the frame, as far as it could be read.
struct bad_frame {
  refusal why;
  std::string request_id;
};
using frame = std::variant<question, cancel, resume, bad_frame>;

frame parse(std::string_view text, const limits& l = {});

// -- what they are sent
//
// In all of these an empty `request_id` leaves the member out.

/// A piece of the answer. `full`: the text so far with this piece, for those who asked for it.
/// Wherever it is there, `full_content` is the whole of what is valid.
std::string content(std::string_view piece, std::uint64_t seq, std::string_view request_id);
std::string content(std::string_view piece, std::string_view full, std::uint64_t seq,
                    std::string_view request_id);

/// The text is complete; nothing is said about its being stored. `seq`: of its event; 0: it has
/// none.
std::string content_finished(std::string_view full, std::string_view request_id,
                             std::uint64_t seq = 0);

/// The turn is stored, and the session with these counters.
std::string done(const outcome& end, std::uint64_t seq, const session_view& session,
                 std::string_view request_id);

std::string error(const refusal& why, language lang, std::string_view request_id);
/// The same as the event with this number: a client that has seen it need not see it again.
std::string error(errc code, std::uint64_t seq, language lang, std::string_view request_id);

/// What has been silent for 5 s is still being worked on.
inline constexpr std::string_view keepalive =
    R"({"type":"keepalive","content":"","full_content":""})";

/// How one socket sees a task.
struct asked {
  std::string_view request_id;
  bool full_content = false;
  std::string_view text; // of the answer so far, this event included; only for full_content
  const session_view* session = nullptr; // as it is stored with the task; needed for `completed`
};

/// The frame of an event; empty when it has none. A retry that voids what was shown is a `content`
/// whose full_content is empty.
std::string encode(const event& e, const asked& by, language lang);

/// The cursor of a resume cannot be honoured: what there is of the running answer, if there is one,
/// and the number after which all is told.
std::string reset(const task_view* task, const session_view& session, std::string_view request_id);

/// The name of a failure in this dialect: silence of the model is `content_timeout`, or
/// `processing_timeout` if it never began.
std::string_view code_name(errc code) noexcept;

} // namespace parlor::learning_ws
