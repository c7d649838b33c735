#include "llm/openai_codec.hpp"

#include "protocol/json.hpp"

#include <boost/json.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

namespace parlor::llm {

namespace {

namespace bj = boost::json;

constexpr std::size_t max_tool_calls = 128;

// Fast enough and strict; the top two levels may repeat a key here, the last wins, as in every
// other client.
bj::value parse_lenient(std::string_view text, bj::error_code& ec, bj::storage_ptr memory = {}) {
  bj::parse_options options;
  options.max_depth = 64;
  return bj::parse(text, ec, std::move(memory), options);
}

const bj::value* member(const bj::object& o, std::string_view key) {
  auto* v = o.if_contains(key);
  return v && !v->is_null() ? v : nullptr;
}

std::string_view text_member(const bj::object& o, std::string_view key) {
  auto* v = member(o, key);
  return v && v->is_string() ? std::string_view{v->get_string()} : std::string_view{};
}

std::optional<std::int64_t> count_member(const bj::object& o, std::string_view key) {
  auto* v = member(o, key);
  if (!v || !v->is_number())
    return {};
  constexpr std::int64_t most = 1'000'000'000'000'000; // sums of many do not overflow
  if (v->is_double())                                  // some services write 12.0
    return v->get_double() >= 0 && v->get_double() < static_cast<double>(most)
               ? std::optional{static_cast<std::int64_t>(v->get_double())}
               : std::nullopt;
  bj::error_code ec;
  auto n = v->to_number<std::int64_t>(ec);
  return ec || n < 0 || n >= most ? std::nullopt : std::optional{n};
}

std::optional<usage> usage_of(const bj::object& chunk) {
  auto* v = member(chunk, "usage");
  auto* o = v ? v->if_object() : nullptr;
  if (!o)
    return {};
  auto prompt = count_member(*o, "prompt_tokens");
  auto completion = count_member(*o, "completion_tokens");
  if (!prompt && !completion)
    return {};
  return usage{prompt.value_or(0), completion.value_or(0), prompt && completion};
}

// The text of a chunk that says nothing else; null: it says more, or less.
const bj::string* only_text(const bj::object& chunk) {
  auto* list = member(chunk, "choices");
  if (!list || !list->is_array() || list->get_array().size() != 1 || usage_of(chunk) ||
      member(chunk, "error"))
    return nullptr;
  auto* choice = list->get_array()[0].if_object();
  auto* d = choice ? member(*choice, "delta") : nullptr;
  if (!d || !d->is_object() || count_member(*choice, "index").value_or(0) != 0 ||
      !text_member(*choice, "finish_reason").empty() || member(d->get_object(), "tool_calls"))
    return nullptr;
  auto* text = member(d->get_object(), "content");
  return text ? text->if_string() : nullptr;
}

bool says_only(std::string_view data, std::string_view text) {
  bj::error_code ec;
  unsigned char room[4096]; // as for any chunk, see event()
  bj::monotonic_resource memory{room, sizeof room};
  auto doc = parse_lenient(data, ec, &memory);
  auto* chunk = ec ? nullptr : doc.if_object();
  auto* found = chunk ? only_text(*chunk) : nullptr;
  return found && std::string_view{*found} == text;
}

// A provider's error code, if it is a plain word: the message itself may quote the prompt or the
// key.
std::string safe_word(const bj::object& error) {
  for (auto key : {"code", "type"}) {
    auto* v = member(error, key);
    if (!v)
      continue;
    if (v->is_int64())
      return std::to_string(v->get_int64());
    if (!v->is_string())
      continue;
    std::string_view word = v->get_string();
    if (!word.empty() && word.size() <= 64 && std::all_of(word.begin(), word.end(), [](char c) {
          return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                 c == '_' || c == '-' || c == '.';
        }))
      return std::string{word};
  }
  return {};
}

const bj::object* error_of(const bj::value& doc) {
  auto* o = doc.if_object();
  auto* e = o ? member(*o, "error") : nullptr;
  return e ? e->if_object() : nullptr;
}

// Members of the wire chat message `m`, beside the role.
void append_message(std::string& out, const message& m) {
  out += "{\"role\":\"";
  out += to_string(m.who);
  out += '"';
  std::string_view extra = m.extra;
  if (extra.starts_with('[')) {
    out += ",\"content\":";
    out += extra;
    out += '}';
    return;
  }
  auto inner = std::string_view{};
  if (extra.starts_with('{')) {
    inner = extra.substr(1, extra.find_last_of('}') - 1);
    if (inner.find_first_not_of(" \t\r\n") == inner.npos)
      inner = {};
  }
  // An assistant that only calls tools says nothing: some services refuse an empty text there.
  bool silent =
      m.content.empty() && m.who == role::assistant && inner.find("\"tool_calls\"") != inner.npos;
  out += ",\"content\":";
  if (silent)
    out += "null";
  else
    json::append_quoted(out, m.content);
  if (!inner.empty()) {
    out += ',';
    out += inner;
  }
  out += '}';
}

bool blank(std::string_view data) { return data.find_first_not_of(" \t") == data.npos; }

bool allowed_reason(std::string_view r) {
  return r == "stop" || r == "length" || r == "tool_calls" || r == "content_filter" ||
         r == "function_call";
}

} // namespace

std::string chat_request_body(const call_request& request) {
  auto& s = request.settings;
  std::string out;
  std::size_t size = 256 + s.response_format.size() + s.passthrough.size();
  for (auto& m : request.messages)
    size += m.content.size() + m.extra.size() + 64;
  out.reserve(size);
  out += "{\"model\":";
  json::append_quoted(out, s.model);
  out += ",\"messages\":[";
  for (std::size_t i = 0; i < request.messages.size(); ++i) {
    if (i > 0)
      out += ',';
    append_message(out, request.messages[i]);
  }
  out += "],\"stream\":true,\"stream_options\":{\"include_usage\":true}";
  bool own_limit = false;
  if (!s.passthrough.empty()) {
    bj::error_code ec;
    auto doc = parse_lenient(s.passthrough, ec);
    if (auto* members = ec ? nullptr : doc.if_object())
      for (auto& [key, value] : *members) {
        // What we decide ourselves is never passed through, so that no key appears twice.
        if (key == "model" || key == "messages" || key == "stream" || key == "stream_options" ||
            (key == "temperature" && !s.temperature.empty()) ||
            (key == "response_format" && !s.response_format.empty()) ||
            (key == "max_tokens" && s.max_tokens))
          continue;
        own_limit = own_limit || key == "max_completion_tokens";
        out += ',';
        json::append_quoted(out, key);
        out += ':';
        auto raw = json::raw_member(s.passthrough, key);
        out += raw.empty() ? bj::serialize(value) : std::string{raw};
      }
  }
  if (!s.temperature.empty())
    out += ",\"temperature\":" + s.temperature;
  if (s.max_tokens && !own_limit)
    out += ",\"max_tokens\":" + std::to_string(*s.max_tokens);
  if (!s.response_format.empty())
    out += ",\"response_format\":" + s.response_format;
  out += '}';
  return out;
}

bool stream_decoder::feed(std::string_view bytes, std::vector<call_event>& out) {
  if (over_)
    return false;
  bytes_ += bytes.size();
  bool fits = sse_.feed(bytes, [this, &out](const sse::frame& f) {
    if (!over_)
      event(f.data, out);
    else if (auto* done = std::get_if<call_finished>(&out.back()); done && !blank(f.data))
      ++done->ignored;
  });
  if (over_)
    return false;
  if (!fits)
    fail(errc::upstream_too_large, false, "event larger than 1 MiB", out);
  else if (bytes_ > max_stream_bytes)
    fail(errc::upstream_too_large, false, "stream larger than 64 MiB", out);
  return !over_;
}

void stream_decoder::end(std::vector<call_event>& out) {
  if (!over_)
    finish(out);
}

void stream_decoder::event(std::string_view data, std::vector<call_event>& out) {
  if (data == "[DONE]" || data == " [DONE]")
    return finish(out);
  if (blank(data))
    return; // an empty event keeps some proxies awake
  if (finish_reason_.empty())
    if (auto text = memo_.match(data)) {
      if (!text->empty())
        out.push_back(call_delta{std::string{*text}});
      return;
    }
  bj::error_code ec;
  // A chunk lives for a moment: its values are taken from the stack and given back all at once.
  unsigned char room[4096];
  bj::monotonic_resource memory{room, sizeof room};
  auto doc = parse_lenient(data, ec, &memory);
  auto* chunk = ec ? nullptr : doc.if_object();
  if (!chunk)
    return fail(errc::upstream_protocol, true, "event is not a JSON object", out);
  if (auto used = usage_of(*chunk))
    used_ = used;
  if (auto* failed = member(*chunk, "error")) {
    auto* e = failed->if_object();
    auto word = e ? safe_word(*e) : std::string{};
    return fail(errc::upstream_error, true,
                word.empty() ? "error in the stream" : "error in the stream: " + word, out);
  }
  if (model_.empty())
    model_ = text_member(*chunk, "model").substr(0, 200);
  if (auto* text = only_text(*chunk))
    memo_.learn(data, *text, says_only);
  auto* list = member(*chunk, "choices");
  if (!list || !list->is_array())
    return;
  for (auto& one : list->get_array()) {
    auto* choice = one.if_object();
    if (!choice || count_member(*choice, "index").value_or(0) != 0) {
      ++ignored_; // one answer was asked for
      continue;
    }
    auto* d = member(*choice, "delta");
    if (d && d->is_object() && !finish_reason_.empty()) {
      ignored_ += text_member(d->get_object(), "content").empty() ? 0 : 1;
    } else if (d && d->is_object()) {
      auto& delta = d->get_object();
      if (auto text = text_member(delta, "content"); !text.empty())
        out.push_back(call_delta{std::string{text}});
      if (auto* calls = member(delta, "tool_calls"); calls && calls->is_array())
        for (auto& c : calls->get_array()) {
          auto* part = c.if_object();
          if (!part)
            continue;
          auto index = count_member(*part, "index").value_or(0);
          if (!tools_.contains(index) && tools_.size() >= max_tool_calls)
            return fail(errc::upstream_too_large, false, "too many tool calls", out);
          auto& tool = tools_[index];
          if (auto id = text_member(*part, "id"); !id.empty() && tool.id.empty())
            tool.id = id;
          if (auto type = text_member(*part, "type"); !type.empty() && tool.type.empty())
            tool.type = type;
          if (auto* f = member(*part, "function"); f && f->is_object()) {
            auto name = text_member(f->get_object(), "name");
            if (tool.name.empty())
              tool.name = name;
            auto arguments = text_member(f->get_object(), "arguments");
            tool.arguments += arguments;
            tool_bytes_ += arguments.size();
            if (tool_bytes_ > 4 * max_event_bytes)
              return fail(errc::upstream_too_large, false, "tool calls larger than 4 MiB", out);
          }
        }
    }
    if (auto reason = text_member(*choice, "finish_reason"); !reason.empty()) {
      if (!allowed_reason(reason))
        return fail(errc::upstream_truncated, true, "unknown finish_reason", out);
      if (finish_reason_.empty())
        finish_reason_ = reason;
      else
        ++ignored_;
    }
  }
}

void stream_decoder::finish(std::vector<call_event>& out) {
  if (finish_reason_.empty())
    return fail(errc::upstream_truncated, true, "the stream ended without a finish_reason", out);
  over_ = true;
  out.push_back(call_finished{finish_reason_ == "function_call" ? "tool_calls" : finish_reason_,
                              model_, used_, tool_calls_json(), ignored_});
}

void stream_decoder::fail(errc code, bool can_pass, std::string detail,
                          std::vector<call_event>& out) {
  over_ = true;
  out.push_back(call_failed{code, can_pass, {}, std::move(detail), used_, 0, ignored_});
}

std::string stream_decoder::tool_calls_json() const {
  if (tools_.empty())
    return {};
  std::string out = "[";
  for (auto& [index, tool] : tools_) {
    if (out.size() > 1)
      out += ',';
    out += "{\"id\":";
    json::append_quoted(out, tool.id);
    out += ",\"type\":";
    json::append_quoted(out, tool.type.empty() ? "function" : tool.type);
    out += ",\"function\":{\"name\":";
    json::append_quoted(out, tool.name);
    out += ",\"arguments\":";
    json::append_quoted(out, tool.arguments);
    out += "}}";
  }
  out += ']';
  return out;
}

std::optional<std::chrono::milliseconds> parse_retry_after(std::string_view value,
                                                           std::time_t now) {
  while (value.starts_with(' '))
    value.remove_prefix(1);
  while (value.ends_with(' '))
    value.remove_suffix(1);
  if (value.empty())
    return {};
  std::int64_t seconds = 0;
  auto [end, ec] = std::from_chars(value.data(), value.data() + value.size(), seconds);
  if (ec == std::errc{} && (end == value.data() + value.size() || *end == '.')) {
    if (seconds < 0 || value[0] == '-')
      return {};
    return std::chrono::seconds{std::min<std::int64_t>(seconds, 86'400 * 365)};
  }
  std::tm when{};
  if (!strptime(std::string{value}.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &when))
    return {};
  return std::chrono::seconds{std::max<std::int64_t>(0, timegm(&when) - now)};
}

call_failed failure_of_status(int status, std::string_view retry_after, std::string_view body,
                              std::time_t now) {
  call_failed f;
  f.status = status;
  f.detail = "HTTP " + std::to_string(status);
  bj::error_code ec;
  auto doc = parse_lenient(body, ec);
  if (!ec)
    if (auto* e = error_of(doc))
      if (auto word = safe_word(*e); !word.empty())
        f.detail += ": " + word;
  f.retry_after = parse_retry_after(retry_after, now);
  if (status == 401 || status == 403)
    f.code = errc::upstream_auth;
  else if (status == 429) {
    f.code = errc::upstream_rate_limited;
    f.can_pass = true;
  } else if (status == 408 || status == 409 || status >= 500) {
    f.code = errc::upstream_error;
    f.can_pass = true;
  } else if (status >= 400)
    f.code = errc::upstream_rejected;
  else
    f.code = errc::upstream_protocol; // redirects are never followed: the key would go with them
  return f;
}

call_failed failure_of_body(std::string_view content_type, std::string_view body) {
  call_failed f{errc::upstream_protocol, false, {}, "200 without an event stream", {}};
  bj::error_code ec;
  auto doc = parse_lenient(body, ec);
  if (!ec)
    if (auto* e = error_of(doc)) {
      auto word = safe_word(*e);
      f.code = errc::upstream_error;
      f.can_pass = true;
      f.detail = word.empty() ? "200 with an error" : "200 with an error: " + word;
    }
  if (content_type.find("html") != content_type.npos)
    f.detail = "200 with a web page";
  return f;
}

} // namespace parlor::llm
