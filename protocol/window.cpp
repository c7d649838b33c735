#include "protocol/window.hpp"

#include <algorithm>

namespace parlor {

window_result fit_window(std::string_view system_prompt, const std::vector<message>& history,
                         const message& now, std::int64_t token_budget) {
  window_result out;
  message system{role::system, std::string{system_prompt}, {}};
  out.tokens = estimate_tokens(now) + (system_prompt.empty() ? 0 : estimate_tokens(system));
  auto left = token_budget - out.tokens; // for turns that go along
  auto reach = token_budget;             // for those that may go along with a shorter question
  struct turn {
    std::size_t from, to; // messages of the history
  };
  std::vector<turn> turns; // newest first
  // From the newest on, and no further than any window reaches: a long history costs no more.
  for (auto to = history.size(); to > 0;) {
    if (history[to - 1].who == role::user) { // it has no answer
      --to;
      continue;
    }
    auto from = to;
    std::int64_t tokens = 0;
    // An answer belongs to the question of its own task.
    do
      tokens += estimate_tokens(history[--from]);
    while (from > 0 && history[from].who != role::user);
    if (tokens > reach || history[from].who != role::user) {
      out.beyond = static_cast<std::int64_t>(to);
      break;
    }
    reach -= tokens;
    if (tokens <= left) {
      left -= tokens;
      out.tokens += tokens;
      turns.push_back({from, to});
    } else if (out.dropped == 0) {
      out.dropped = static_cast<std::int64_t>(to);
      left = -1; // nor does an older one go along
    }
    to = from;
  }
  out.dropped = std::max(out.dropped, out.beyond);
  if (!system_prompt.empty())
    out.messages.push_back(std::move(system));
  for (auto t = turns.rbegin(); t != turns.rend(); ++t)
    for (auto i = t->from; i < t->to; ++i)
      out.messages.push_back(history[i]);
  out.messages.push_back(now);
  return out;
}

message without_images(const message& m) {
  constexpr std::string_view note = "[images left out]";
  return {
      m.who, m.content.empty() ? std::string{note} : m.content + "\n\n" + std::string{note}, {}};
}

void fit_images(std::vector<message>& history, std::size_t bytes) {
  image_budget left{bytes};
  for (auto m = history.rbegin(); m != history.rend(); ++m)
    if (m->extra.starts_with('[') && !left.fits(m->extra.size()))
      *m = without_images(*m);
}

} // namespace parlor
