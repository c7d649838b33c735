// A frame that a page sends to the tutor.

#include "protocol/dialects/learning_ws.hpp"

#include "turn.hpp"

using namespace parlor;

PARLOR_FUZZ(input) {
  learning_ws::limits l;
  l.max_images = 3;
  l.max_image_bytes = 2000;
  l.max_url = 100;
  auto read = learning_ws::parse(input, l);
  auto fit_to_repeat = [](const std::string& id) {
    fuzz::must_be_json(json::quoted(id));
    fuzz::must(json::valid_utf8(id), "a name is text");
  };
  if (auto* q = std::get_if<learning_ws::question>(&read)) {
    fuzz::must_be_sound(q->turn, nullptr);
    fit_to_repeat(q->request_id);
    for (auto& e : fuzz::events_of(q->turn))
      for (auto full : {false, true}) {
        auto frame = learning_ws::encode(e, {q->request_id, full, e.text, nullptr}, language::en);
        if (!frame.empty() && e.kind != event_kind::completed)
          fuzz::must_be_json(frame);
      }
  } else if (auto* c = std::get_if<learning_ws::cancel>(&read)) {
    fuzz::must(!c->request_id.empty(), "a cancellation says of what");
    fit_to_repeat(c->request_id);
  } else if (auto* bad = std::get_if<learning_ws::bad_frame>(&read)) {
    fuzz::must_be_sound(bad->why);
    fit_to_repeat(bad->request_id);
    for (auto l2 : {language::en, language::zh})
      fuzz::must_be_json(learning_ws::error(bad->why, l2, bad->request_id));
  }
}
