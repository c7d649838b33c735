#include "protocol/dialects/pipeline_stream.hpp"

#include "protocol/dialects/chat_sessions.hpp"
#include "protocol/dialects/request.hpp"
#include "protocol/json.hpp"
#include "protocol/sse.hpp"
#include "protocol/violation_text.hpp"

#include <boost/json.hpp>

#include <algorithm>

namespace parlor::pipeline_stream {

namespace {

using json::quoted;

constexpr std::size_t most_faults = 100; // that are named

/// A member that is the server's, not the pipeline's; null if it is not there.
const boost::json::value* member(const boost::json::object& o, std::string_view name) {
  auto* v = o.if_contains({name.data(), name.size()});
  return v == nullptr || v->is_null() ? nullptr : v;
}

void read_options(const boost::json::object& o, turn_request& turn,
                  std::vector<json::violation>& wrong) {
  auto fault = [&](std::string_view name, std::string_view what) {
    auto at = "/" + std::string{name};
    if (std::none_of(wrong.begin(), wrong.end(), [&](auto& w) { return w.pointer == at; }))
      wrong.push_back({at, std::string{what}});
  };
  if (auto* v = member(o, "session_id")) {
    if (!v->is_string())
      fault("session_id", "must be a string");
    else if (turn.session.id = v->get_string(); !valid_session_id(turn.session.id))
      fault("session_id", session_id_rule);
  }
  if (auto* v = member(o, "on_busy")) {
    auto name = v->is_string() ? std::string_view{v->get_string()} : std::string_view{};
    if (name == "reject")
      turn.when_busy = on_busy::reject;
    else if (name == "interrupt")
      turn.when_busy = on_busy::interrupt;
    else if (name != "queue")
      fault("on_busy", "must be queue, reject or interrupt");
  }
  if (auto* v = member(o, "cancel_on_disconnect")) {
    if (v->is_bool())
      turn.cancel_on_disconnect = v->get_bool();
    else
      fault("cancel_on_disconnect", "must be true or false");
  }
  if (auto* v = member(o, "rehearsal")) {
    if (v->is_string())
      turn.settings.script = v->get_string();
    else
      fault("rehearsal", "must be a string");
  }
}

std::string error_data(language lang, errc code, std::string_view agent) {
  auto out = R"({"type":"error","error":)" + quoted(text(code, lang)) + R"(,"code":)" +
             quoted(to_string(code));
  if (!agent.empty())
    out += R"(,"agent":)" + quoted(agent);
  return out + "}";
}

std::string data_of(language lang, const event& e, bool progress) {
  auto agent = e.stage ? R"(,"agent":)" + quoted(*e.stage) : std::string{};
  switch (e.kind) {
  case event_kind::delta: {
    std::string out = R"({"type":"chunk","content":)";
    json::append_quoted(out, e.text);
    return out + agent + "}";
  }
  case event_kind::stage_done: {
    auto data = stage_data(e.text);
    return R"({"type":"complete","data":)" + (data.empty() ? "null" : std::string{data}) + agent +
           "}";
  }
  case event_kind::progress:
    return progress ? R"({"type":"progress","progress":)" + std::to_string(e.number) + agent + "}"
                    : std::string{};
  case event_kind::retry: {
    auto out = R"({"type":"retry","attempt":)" + std::to_string(e.number) + R"(,"delay_ms":)" +
               std::to_string(e.delay_ms) + R"(,"discard":)" + (e.discard ? "true" : "false");
    if (!e.text.empty())
      out += R"(,"reason":)" + quoted(e.text);
    return out + agent + "}";
  }
  case event_kind::completed: {
    auto parts = parts_of(e.end->content);
    return R"({"type":"done","summary":)" +
           (parts.summary.empty() ? "{}" : std::string{parts.summary}) + "}";
  }
  case event_kind::failed:
  case event_kind::cancelled:
    return error_data(lang, e.end->error, parts_of(e.end->content).at);
  case event_kind::session_deleted:
    return error_data(lang, errc::session_deleted, {});
  case event_kind::session_expired:
    return error_data(lang, errc::session_expired, {});
  default:
    return {};
  }
}

std::string block_of(std::string_view epoch, language lang, const event& e, bool progress) {
  auto data = data_of(lang, e, progress);
  return data.empty() ? data : sse::block(format_cursor(epoch, e.seq), data);
}

} // namespace

parsed_request parse(const pipeline& p, std::string_view body) {
  boost::json::object o;
  if (auto bad = read_object(body, o))
    return std::move(*bad);
  turn_request turn;
  turn.kind = task_kind::pipeline;
  turn.ref = p.name;
  turn.said.content = body; // what stands in the prompts is as the client wrote it
  auto declared = json::declared_members(p.request->root());
  auto own = o;
  for (auto name : {"session_id", "on_busy", "cancel_on_disconnect", "rehearsal"})
    if (std::find(declared.begin(), declared.end(), name) == declared.end())
      o.erase(name);
    else if (std::string_view{name} != "session_id")
      own.erase(name); // the pipeline's, then
  auto wrong = p.request->check(o, most_faults);
  read_options(own, turn, wrong);
  if (!wrong.empty())
    return wrong;
  return turn;
}

std::vector<field_fault> name_fields(const std::vector<json::violation>& wrong, language lang) {
  std::vector<field_fault> out;
  for (auto& w : wrong) {
    std::string name;
    std::string_view rest = w.pointer;
    while (!rest.empty()) {
      rest.remove_prefix(1); // the slash
      auto token = rest.substr(0, rest.find('/'));
      rest.remove_prefix(token.size());
      if (!token.empty() && token.find_first_not_of("0123456789") == token.npos) {
        name.append("[").append(token) += ']';
        continue;
      }
      if (!name.empty())
        name += '.';
      for (std::size_t i = 0; i < token.size(); ++i)
        if (token[i] == '~' && i + 1 < token.size())
          name += token[++i] == '0' ? '~' : '/';
        else
          name += token[i];
    }
    out.push_back({name.empty() ? "body" : name, violation_text(w.text, lang)});
  }
  return out;
}

std::string encode(std::string_view epoch, language lang, const event& e) {
  return block_of(epoch, lang, e, false);
}

std::string encode_with_progress(std::string_view epoch, language lang, const event& e) {
  return block_of(epoch, lang, e, true);
}

std::string reset(std::string_view epoch, const task_view* task, const session_view& session) {
  return chat_sessions::reset(epoch, task, session);
}

std::string answer(const outcome& end) {
  auto parts = parts_of(end.content);
  return R"({"success":true,"data":)" + (parts.data.empty() ? "{}" : std::string{parts.data}) +
         R"(,"summary":)" + (parts.summary.empty() ? "{}" : std::string{parts.summary}) + "}";
}

std::string failure_text(const outcome& end, language lang) {
  std::string out{text(end.error, lang)};
  if (auto at = parts_of(end.content).at; !at.empty())
    out.append(" (").append(at) += ')';
  return out;
}

} // namespace parlor::pipeline_stream
