// A schema, a line of its own, and then a document. Whatever is compiled can be used, in bounded
// time; what the watcher objects to early is not valid in the end.

#include "protocol/json_schema.hpp"
#include "protocol/json_watch.hpp"

#include "fuzz.hpp"

using namespace parlor;

PARLOR_FUZZ(input) {
  auto line = input.find('\n');
  json::schema_fault why;
  auto s = json::compile_schema(input.substr(0, line), why);
  if (!s) {
    fuzz::must(!why.text.empty(), "a refusal says why");
    return;
  }
  fuzz::must_be_json(s->text());
  fuzz::must_be_json(json::response_format(*s, "a", true));
  json::schema_fault none;
  fuzz::must(json::compile_schema(s->text(), none) != nullptr, "its own text is a schema");
  if (line == input.npos)
    return;
  auto document = input.substr(line + 1);
  auto wrong = s->check_text(document, 4);
  fuzz::must(wrong.size() <= 4, "no more violations than asked for");
  json::watcher early{s};
  auto at = fuzz::split_of(document);
  auto objection = early.feed(document.substr(0, at));
  if (!objection)
    objection = early.feed(document.substr(at));
  // Prose before a document is passed over by the watcher only.
  if (objection && (document.starts_with('{') || document.starts_with('[')))
    fuzz::must(!wrong.empty(), "what is objected to is not valid");
}
