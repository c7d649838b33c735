#include "protocol/dialects/request.hpp"

#include "protocol/json.hpp"

#include <boost/json.hpp>

#include <cstdlib>
#include <utility>

namespace parlor {

namespace {

refusal wrong(std::string_view field, std::string detail) {
  return {errc::invalid_field, std::string{field}, std::move(detail)};
}

/// Nothing in it can be seen: controls, and what Unicode has of white space and of no width. Of
/// valid UTF-8.
bool is_blank(std::string_view text) {
  constexpr std::pair<std::string_view, std::string_view> unseen[] = {
      {"\xc2\x80", "\xc2\xa0"},         // U+0080 to U+00A0
      {"\xe1\x9a\x80", "\xe1\x9a\x80"}, // U+1680
      {"\xe2\x80\x80", "\xe2\x80\x8f"}, // U+2000 to U+200F
      {"\xe2\x80\xa8", "\xe2\x80\xaf"}, // U+2028 to U+202F
      {"\xe2\x81\x9f", "\xe2\x81\xaf"}, // U+205F to U+206F
      {"\xe3\x80\x80", "\xe3\x80\x80"}, // U+3000
      {"\xef\xbb\xbf", "\xef\xbb\xbf"}, // U+FEFF
  };
  while (!text.empty()) {
    auto c = static_cast<unsigned char>(text.front());
    std::size_t length = c <= 0x20 || c == 0x7f ? 1 : 0;
    for (auto& [first, last] : unseen)
      if (auto one = text.substr(0, first.size()); one >= first && one <= last)
        length = first.size();
    if (length == 0)
      return false;
    text.remove_prefix(length);
  }
  return true;
}

const boost::json::value* find(const boost::json::object& o, std::string_view field) {
  auto* v = o.if_contains({field.data(), field.size()});
  return v == nullptr || v->is_null() ? nullptr : v;
}

std::optional<refusal> optional_text(const boost::json::object& o, std::string_view field,
                                     std::string& out) {
  if (auto* v = find(o, field)) {
    if (!v->is_string())
      return wrong(field, "must be a string");
    out = v->get_string();
  }
  return std::nullopt;
}

std::optional<refusal> optional_object(const boost::json::object& o, std::string_view body,
                                       std::string_view field, std::string& out) {
  if (auto* v = find(o, field)) {
    if (!v->is_object())
      return wrong(field, "must be an object");
    out = json::raw_member(body, field);
  }
  return std::nullopt;
}

} // namespace

std::optional<refusal> read_object(std::string_view body, boost::json::object& out) {
  json::fault why{};
  auto v = json::parse(body, why);
  if (why != json::fault::none)
    return refusal{errc::bad_json,
                   {},
                   why == json::fault::depth             ? "the document is nested too deeply"
                   : why == json::fault::duplicate_key   ? "a key occurs twice"
                   : why == json::fault::too_many_values ? "the document has too many values"
                                                         : "the body is not valid JSON"};
  if (!v.is_object())
    return refusal{errc::bad_json, {}, "the body must be a JSON object"};
  out = std::move(v.get_object());
  return std::nullopt;
}

std::optional<refusal> read_text(const boost::json::object& o, std::string_view field,
                                 std::string& out) {
  auto* v = find(o, field);
  if (v == nullptr)
    return wrong(field, "is required");
  if (!v->is_string())
    return wrong(field, "must be a string");
  out = v->get_string();
  if (is_blank(out))
    return wrong(field, "must not be blank");
  return std::nullopt;
}

std::optional<refusal> read_turn_options(const boost::json::object& o, std::string_view body,
                                         std::string_view session_field, turn_request& out) {
  if (auto bad = optional_text(o, session_field, out.session.id))
    return bad;
  if (find(o, session_field) != nullptr && !valid_session_id(out.session.id))
    return wrong(session_field, session_id_rule);
  for (auto [field, to] :
       {std::pair{"model", &out.settings.model}, std::pair{"system_prompt", &out.system_prompt},
        std::pair{"rehearsal", &out.settings.script}})
    if (auto bad = optional_text(o, field, *to))
      return bad;
  if (out.settings.model.size() > 128)
    return wrong("model", "must be at most 128 bytes");
  if (auto* v = find(o, "temperature")) {
    if (!v->is_number() || v->to_number<double>() < 0 || v->to_number<double>() > 2)
      return wrong("temperature", "must be a number from 0 to 2");
    out.settings.temperature = json::raw_member(body, "temperature");
  }
  if (auto* v = find(o, "max_tokens")) {
    if (!v->is_int64() || v->get_int64() < 1 || v->get_int64() > 10'000'000)
      return wrong("max_tokens", "must be a whole number from 1 to 10000000");
    out.settings.max_tokens = v->get_int64();
  }
  if (auto bad = optional_object(o, body, "metadata", out.metadata))
    return bad;
  if (auto bad = optional_object(o, body, "response_format", out.settings.response_format))
    return bad;
  std::string busy;
  if (auto bad = optional_text(o, "on_busy", busy))
    return bad;
  if (busy == "reject")
    out.when_busy = on_busy::reject;
  else if (busy == "interrupt")
    out.when_busy = on_busy::interrupt;
  else if (!busy.empty() && busy != "queue")
    return wrong("on_busy", "must be queue, reject or interrupt");
  if (auto* v = find(o, "cancel_on_disconnect")) {
    if (!v->is_bool())
      return wrong("cancel_on_disconnect", "must be true or false");
    out.cancel_on_disconnect = v->get_bool();
  }
  return std::nullopt;
}

std::string usage_json(const usage& u) {
  return R"({"prompt_tokens":)" + std::to_string(u.prompt_tokens) + R"(,"completion_tokens":)" +
         std::to_string(u.completion_tokens) + R"(,"total_tokens":)" + std::to_string(u.total()) +
         (u.exact ? "}" : R"(,"estimated":true})");
}

} // namespace parlor
