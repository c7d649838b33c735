#include "protocol/dialects/learning_ws.hpp"

#include "protocol/dialects/request.hpp"
#include "protocol/images.hpp"
#include "protocol/json.hpp"
#include "protocol/problem.hpp"

#include <boost/json.hpp>

namespace parlor::learning_ws {

namespace {

using json::append_quoted;
using json::quoted;

constexpr std::size_t max_request_id = 128; // bytes

refusal wrong(std::string field, std::string detail) {
  return {errc::invalid_field, std::move(field), std::move(detail)};
}

const boost::json::value* find(const boost::json::object& o, std::string_view field) {
  auto* v = o.if_contains({field.data(), field.size()});
  return v == nullptr || v->is_null() ? nullptr : v;
}

std::optional<refusal> read_request_id(const boost::json::object& o, std::string& out) {
  auto* v = find(o, "request_id");
  if (v == nullptr)
    return std::nullopt;
  if (!v->is_string())
    return wrong("request_id", "must be a string");
  if (v->get_string().size() > max_request_id)
    return wrong("request_id", "must be at most 128 bytes");
  out = v->get_string();
  return std::nullopt;
}

std::string_view fault_text(image_fault f) {
  switch (f) {
  case image_fault::base64:
    return "is not valid base64";
  case image_fault::content:
    return "is not the kind of image that it says it is";
  case image_fault::too_long:
    return "is too long";
  default:
    return "must be a data URL of a PNG, JPEG, WebP or GIF in base64, or an https URL";
  }
}

/// The images of a question, as the parts of its message.
std::optional<refusal> read_images(const boost::json::object& o, const limits& l, message& said) {
  auto* v = find(o, "images");
  if (v == nullptr)
    return std::nullopt;
  if (!v->is_array())
    return wrong("images", "must be a list");
  auto& images = v->get_array();
  if (images.empty())
    return std::nullopt;
  if (images.size() > l.max_images)
    return wrong("images", "has too many images");
  std::size_t bytes = 0, length = said.content.size() + 64;
  for (std::size_t i = 0; i < images.size(); ++i) {
    auto field = "images/" + std::to_string(i);
    if (!images[i].is_string())
      return wrong(std::move(field), "must be a string");
    std::string_view url = images[i].get_string();
    auto seen = check_image(url, l.max_url);
    if (seen.fault != image_fault::none)
      return wrong(std::move(field), std::string{fault_text(seen.fault)});
    if ((bytes += seen.bytes) > l.max_image_bytes)
      return wrong("images", "has more bytes than are allowed");
    length += url.size() + 64;
  }
  std::string parts;
  parts.reserve(length);
  parts = '[';
  if (!said.content.empty()) {
    parts += R"({"type":"text","text":)";
    append_quoted(parts, said.content);
    parts += '}';
  }
  for (auto& image : images) {
    parts += parts.size() > 1 ? "," : "";
    // Nothing in a URL that has been checked needs an escape.
    parts += R"({"type":"image_url","image_url":{"url":")";
    std::string_view url = image.get_string();
    parts += url;
    parts += R"("}})";
  }
  parts += ']';
  said.extra = std::move(parts);
  return std::nullopt;
}

std::optional<refusal> read_question(const boost::json::object& o, std::string_view text,
                                     const limits& l, question& out) {
  auto& said = out.turn.said;
  auto* content = find(o, "content");
  if (content != nullptr && !content->is_string())
    return wrong("content", "must be a string");
  if (content != nullptr)
    said.content = content->get_string();
  if (auto bad = read_images(o, l, said))
    return bad;
  if (said.extra.empty()) // a photo may be all there is to say
    if (auto bad = read_text(o, "content", said.content))
      return bad;
  if (auto* v = find(o, "full_content")) {
    if (!v->is_bool())
      return wrong("full_content", "must be true or false");
    out.full_content = v->get_bool();
  }
  return read_turn_options(o, text, "session_id", out.turn);
}

void append_request_id(std::string& out, std::string_view id) {
  if (id.empty())
    return;
  out += R"(,"request_id":)";
  append_quoted(out, id);
}

std::string content_frame(std::string_view piece, const std::string_view* full, std::uint64_t seq,
                          std::string_view request_id) {
  std::string out;
  out.reserve(96 + piece.size() + request_id.size() + (full != nullptr ? full->size() : 0));
  out += R"({"type":"content","content":)";
  append_quoted(out, piece);
  if (full != nullptr) {
    out += R"(,"full_content":)";
    append_quoted(out, *full);
  }
  out += R"(,"seq":)";
  out += std::to_string(seq);
  append_request_id(out, request_id);
  out += '}';
  return out;
}

std::string error_frame(errc code, std::string_view message, std::string_view field,
                        std::uint64_t seq, std::string_view request_id) {
  std::string out = R"({"type":"error","code":)";
  append_quoted(out, code_name(code));
  out += R"(,"message":)";
  append_quoted(out, message);
  if (!field.empty()) {
    out += R"(,"field":)";
    append_quoted(out, field);
  }
  if (seq != 0)
    out += R"(,"seq":)" + std::to_string(seq);
  append_request_id(out, request_id);
  return out + '}';
}

} // namespace

std::size_t max_frame(const limits& l) noexcept {
  constexpr std::size_t text = 1024 * 1024; // of the question, and of everything around it
  return text + (l.max_image_bytes / 3 + l.max_images) * 4 + l.max_images * (l.max_url + 64);
}

frame parse(std::string_view text, const limits& l) {
  boost::json::object o;
  if (auto bad = read_object(text, o))
    return bad_frame{std::move(*bad), {}};
  std::string request_id, type;
  auto bad = read_request_id(o, request_id);
  auto refused = [&](refusal why) { return bad_frame{std::move(why), std::move(request_id)}; };
  if (bad)
    return refused(std::move(*bad));
  if ((bad = read_text(o, "type", type)))
    return refused(std::move(*bad));
  if (type == "question") {
    question q;
    if ((bad = read_question(o, text, l, q)))
      return refused(std::move(*bad));
    q.request_id = std::move(request_id);
    return q;
  }
  if (type == "cancel") {
    if (request_id.empty())
      return refused(wrong("request_id", "is required"));
    return cancel{std::move(request_id)};
  }
  if (type == "resume") {
    auto* v = find(o, "last_seq");
    if (v == nullptr)
      return refused(wrong("last_seq", "is required"));
    if (!v->is_int64() || v->get_int64() < 0)
      return refused(wrong("last_seq", "must be a whole number, not below 0"));
    return resume{static_cast<std::uint64_t>(v->get_int64())};
  }
  return refused(wrong("type", "must be question, cancel or resume"));
}

std::string content(std::string_view piece, std::uint64_t seq, std::string_view request_id) {
  return content_frame(piece, nullptr, seq, request_id);
}

std::string content(std::string_view piece, std::string_view full, std::uint64_t seq,
                    std::string_view request_id) {
  return content_frame(piece, &full, seq, request_id);
}

std::string content_finished(std::string_view full, std::string_view request_id,
                             std::uint64_t seq) {
  std::string out = R"({"type":"content_finished","full_content":)";
  append_quoted(out, full);
  if (seq != 0)
    out += R"(,"seq":)" + std::to_string(seq);
  append_request_id(out, request_id);
  return out + '}';
}

std::string done(const outcome& end, std::uint64_t seq, const session_view& session,
                 std::string_view request_id) {
  std::string out = R"({"type":"done")";
  append_request_id(out, request_id);
  out += R"(,"seq":)" + std::to_string(seq) + R"(,"usage":)" + usage_json(end.used) +
         R"(,"finish_reason":)" + quoted(end.finish_reason);
  if (end.history_dropped > 0)
    out += R"(,"history_dropped":)" + std::to_string(end.history_dropped);
  return out + R"(,"session":{"total_tokens":)" + std::to_string(session.total_tokens) +
         R"(,"question_count":)" + std::to_string(session.question_count) +
         R"(,"last_active_at":)" + quoted(json::iso8601(session.last_accessed)) + "}}";
}

std::string error(const refusal& why, language lang, std::string_view request_id) {
  return error_frame(why.code, detail_text(why, lang), why.field, 0, request_id);
}

std::string error(errc code, std::uint64_t seq, language lang, std::string_view request_id) {
  return error_frame(code, text(code, lang), {}, seq, request_id);
}

std::string encode(const event& e, const asked& by, language lang) {
  switch (e.kind) {
  case event_kind::delta:
    return content_frame(e.text, by.full_content ? &by.text : nullptr, e.seq, by.request_id);
  case event_kind::retry:
    return e.discard ? content({}, {}, e.seq, by.request_id) : std::string{};
  case event_kind::text_done:
    return content_finished(e.text, by.request_id, e.seq);
  case event_kind::completed:
    return done(*e.end, e.seq, by.session != nullptr ? *by.session : session_view{}, by.request_id);
  case event_kind::failed:
  case event_kind::cancelled:
    return error(e.end->error, e.seq, lang, by.request_id);
  case event_kind::session_deleted:
    return error(errc::session_deleted, e.seq, lang, {});
  case event_kind::session_expired:
    return error(errc::session_expired, e.seq, lang, {});
  default:
    return {};
  }
}

std::string reset(const task_view* task, const session_view& session, std::string_view request_id) {
  auto seq = task != nullptr && session.last_seq == 0 ? task->last_seq : session.last_seq;
  return content({}, task != nullptr ? task->text : std::string_view{}, seq, request_id);
}

std::string_view code_name(errc code) noexcept {
  switch (code) {
  case errc::upstream_stalled:
    return "content_timeout";
  case errc::upstream_timeout:
    return "processing_timeout";
  default:
    return to_string(code);
  }
}

} // namespace parlor::learning_ws
