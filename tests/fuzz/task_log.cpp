// The record of a task, as it may stand in a damaged store. Up to the damage the events come out in
// order, and a record of them says the same again. The first byte of the input says how much of the
// rest is text.

#include "protocol/task_log.hpp"

#include "fuzz.hpp"

using namespace parlor;

namespace {

bool same(const event& a, const event& b) {
  return a.seq == b.seq && a.kind == b.kind && a.at == b.at && a.text == b.text &&
         a.number == b.number && a.delay_ms == b.delay_ms && a.discard == b.discard &&
         (a.stage ? *a.stage : "") == (b.stage ? *b.stage : "");
}

} // namespace

PARLOR_FUZZ(input) {
  if (input.empty())
    return;
  auto size = std::min<std::size_t>(static_cast<unsigned char>(input[0]), input.size() - 1);
  auto text = input.substr(1, size), entries = input.substr(1 + size);
  auto whole = false;
  auto events = replay(10, 1000, nullptr, text, entries, &whole);
  fuzz::must(events.size() <= entries.size(), "an event takes a byte or more");
  std::uint64_t seq = 10;
  task_log log{10, 1000};
  for (auto& e : events) {
    fuzz::must(e->seq >= seq, "events come in order");
    seq = e->seq;
    fuzz::must(e->text.size() <= input.size(), "texts are of the record");
    log.note(*e);
  }
  auto again = log.take();
  auto told = replay(10, 1000, nullptr, again.text, again.entries, &whole);
  fuzz::must(whole && told.size() == events.size(), "a record of them is whole");
  for (std::size_t i = 0; i < told.size(); ++i)
    fuzz::must(same(*told[i], *events[i]), "and says the same");
}
