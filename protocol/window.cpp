#include "protocol/window.hpp"

#include <algorithm>

namespace parlor {

window_result fit_window(std::string_view system_prompt, const std::vector<message>& history,
                         const message& now, std::int64_t token_budget) {
  struct turn {
    std::size_t from, to; // messages of the history
    std::int64_t tokens;
  };
  std::vector<turn> turns;
  for (std::size_t i = 0; i < history.size();) {
    if (history[i].who != role::user) {
      ++i;
      continue;
    }
    turn t{i, i + 1, estimate_tokens(history[i])};
    auto answered = false;
    // An answer belongs to the question of its own task.
    while (t.to < history.size() && history[t.to].who != role::user) {
      answered = true;
      t.tokens += estimate_tokens(history[t.to]);
      ++t.to;
    }
    if (answered)
      turns.push_back(t);
    i = t.to;
  }
  message system{role::system, std::string{system_prompt}, {}};
  auto left =
      token_budget - estimate_tokens(now) - (system_prompt.empty() ? 0 : estimate_tokens(system));
  auto first = turns.size();
  while (first > 0 && turns[first - 1].tokens <= left)
    left -= turns[--first].tokens;
  window_result out;
  for (std::size_t i = 0; i < first; ++i)
    out.dropped += static_cast<std::uint32_t>(turns[i].to - turns[i].from);
  if (!system_prompt.empty())
    out.messages.push_back(std::move(system));
  for (; first < turns.size(); ++first)
    for (auto i = turns[first].from; i < turns[first].to; ++i)
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
