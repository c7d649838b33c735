#include "protocol/json_watch.hpp"

#include <utility>

namespace parlor::json {

namespace {
// As much as schema::check_text reads; a longer document is refused there.
constexpr std::size_t max_read = 4 * 1024 * 1024;
} // namespace

watcher::watcher(schema_ptr s)
    : schema_{std::move(s)}, checker_{schema_->root(), 1}, reader_{checker_} {}

std::optional<violation> watcher::feed(std::string_view piece) {
  if (ended_)
    return std::nullopt;
  document_.clear();
  auto was_whole = where_.whole();
  where_.feed(piece, document_);
  if (was_whole || document_.empty())
    return std::nullopt;
  auto readable = reader_.write(document_, where_.whole());
  read_ += document_.size();
  std::optional<violation> found;
  if (!checker_.violations().empty())
    found = checker_.violations().front();
  else if (!readable)
    found = violation{"", "is not valid JSON"};
  else if (read_ > max_read)
    found = violation{"", "is too large to be checked"};
  ended_ = found.has_value();
  return found;
}

} // namespace parlor::json
