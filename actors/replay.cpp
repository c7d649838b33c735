#include "actors/replay.hpp"

namespace parlor {

std::vector<event_ptr> merge_deltas(const std::vector<event_ptr>& events) {
  std::vector<event_ptr> out;
  std::shared_ptr<event> open; // the merged delta under construction
  for (auto& e : events) {
    if (e->kind == event_kind::progress && open)
      continue; // a later one, or the end, says more
    if (e->kind != event_kind::delta) {
      open.reset();
      out.push_back(e);
    } else if (open && open->task == e->task) {
      open->text += e->text;
      open->seq = e->seq;
    } else {
      open = std::make_shared<event>(*e);
      out.push_back(open);
    }
  }
  return out;
}

} // namespace parlor
