#pragma once
// What must hold of a turn, however it was asked for.

#include "protocol/dialects/dialect.hpp"

#include "fuzz.hpp"

namespace parlor::fuzz {

/// Refusals are fixed sentences: they never repeat what was sent.
inline void must_be_sound(const refusal& r) {
  must(r.code != errc::none, "a refusal has a code");
  must(r.detail.size() < 300 && r.field.size() < 100, "a refusal is short");
  for (auto* text : {&r.detail, &r.field})
    for (unsigned char c : *text)
      must(c >= 0x20 && c < 0x7f, "a refusal is plain text");
}

/// Events that repeat what was said.
inline std::vector<event> events_of(const turn_request& t) {
  auto task = std::make_shared<task_header>();
  task->id = "task_1";
  task->session = t.session.id;
  task->model = t.settings.model;
  task->ref = t.ref;
  auto end = std::make_shared<outcome>();
  end->content = t.said.content;
  end->message_id = "msg_1";
  end->finish_reason = "stop";
  std::vector<event> all;
  for (auto kind : {event_kind::accepted, event_kind::delta, event_kind::completed}) {
    event e;
    e.seq = all.size() + 1;
    e.kind = kind;
    e.task = task;
    if (kind == event_kind::delta)
      e.text = t.said.content;
    if (kind == event_kind::completed)
      e.end = end;
    all.push_back(e);
  }
  return all;
}

inline void must_be_sound(const turn_request& t, stream_shape::encoder encode) {
  must(t.session.id.empty() || valid_session_id(t.session.id), "a session has a plain name");
  for (auto* text : {&t.said.content, &t.system_prompt, &t.settings.model, &t.ref})
    must(json::valid_utf8(*text), "text is text");
  for (std::string_view text :
       {std::string_view{t.metadata}, std::string_view{t.settings.response_format},
        std::string_view{t.settings.passthrough}, std::string_view{t.settings.temperature},
        std::string_view{t.said.extra}})
    must(text.empty() || is_json(text), "what is passed on is JSON");
  must(!t.settings.max_tokens || *t.settings.max_tokens > 0, "a limit is one");
  if (encode != nullptr)
    for (auto& e : events_of(t))
      must_be_blocks(encode("4gg8fj31", language::en, e));
}

} // namespace parlor::fuzz
