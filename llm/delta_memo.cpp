#include "llm/delta_memo.hpp"

#include "protocol/json.hpp"

#include <algorithm>

namespace parlor::llm {

namespace {

constexpr int max_attempts = 4;
constexpr std::size_t max_around = 4096; // a chunk is a few hundred bytes

} // namespace

std::optional<std::string_view> delta_memo::match(std::string_view chunk) const {
  if (before_.empty() || chunk.size() < before_.size() + after_.size() ||
      !chunk.starts_with(before_) || !chunk.ends_with(after_))
    return {};
  auto text = chunk.substr(before_.size(), chunk.size() - before_.size() - after_.size());
  if (!json::is_plain(text))
    return {};
  return text;
}

void delta_memo::learn(std::string_view chunk, std::string_view text,
                       const std::function<bool(std::string_view, std::string_view)>& says) {
  if (attempts_ >= max_attempts || text.empty() || chunk.size() - text.size() > max_around ||
      !json::is_plain(text))
    return;
  ++attempts_;
  auto at = chunk.find("\"content\"");
  at = at == chunk.npos ? at : chunk.find(text, at + 9);
  if (at == chunk.npos)
    return;
  auto before = chunk.substr(0, at);
  auto after = chunk.substr(at + text.size());
  if (!before.ends_with('"') || !after.starts_with('"'))
    return;
  constexpr std::string_view other = "a text of our own";
  if (!says(std::string{before}.append(other).append(after), other))
    return;
  before_ = before;
  after_ = after;
}

} // namespace parlor::llm
