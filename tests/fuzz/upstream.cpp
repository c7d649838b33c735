// What a model service says, and what its statuses and headers mean: the same text and the same one
// outcome however the bytes are split, and a success only with a finish_reason.

#include "llm/openai_codec.hpp"

#include "fuzz.hpp"

using namespace parlor;
using namespace parlor::llm;

namespace {

struct result {
  std::string text, end;
  bool operator==(const result&) const = default;
};

result read(std::initializer_list<std::string_view> pieces) {
  stream_decoder d;
  std::vector<call_event> events;
  for (auto p : pieces)
    d.feed(p, events);
  d.end(events);
  result r;
  for (auto& e : events) {
    fuzz::must(r.end.empty(), "nothing follows the outcome");
    if (auto* piece = std::get_if<call_delta>(&e)) {
      fuzz::must(!piece->text.empty(), "a piece says something");
      r.text += piece->text;
    } else if (auto* done = std::get_if<call_finished>(&e)) {
      fuzz::must(!done->finish_reason.empty(), "a success has its reason");
      if (!done->tool_calls.empty())
        fuzz::must_be_json(done->tool_calls);
      r.end = "done " + done->finish_reason + ' ' + done->model + ' ' + done->tool_calls;
    } else if (auto* failed = std::get_if<call_failed>(&e)) {
      fuzz::must(failed->detail.size() < 200 && json::valid_utf8(failed->detail), "a short reason");
      r.end = "failed " + std::string{to_string(failed->code)} + failed->detail;
    }
  }
  fuzz::must(!r.end.empty(), "there is an outcome");
  fuzz::must(json::valid_utf8(r.text), "text is text");
  return r;
}

} // namespace

PARLOR_FUZZ(input) {
  auto at = fuzz::split_of(input);
  fuzz::must(read({input}) == read({input.substr(0, at), input.substr(at)}),
             "a split changes nothing");
  auto line = input.substr(0, input.find('\n'));
  if (auto wait = parse_retry_after(line, 1'800'000'000))
    fuzz::must(wait->count() >= 0, "no wait is negative");
  auto f = failure_of_status(400 + static_cast<int>(at % 200), line, input, 1'800'000'000);
  fuzz::must(f.detail.size() < 200 && f.code != errc::none, "a short reason");
  failure_of_body(line, input);
}
