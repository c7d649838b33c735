#include "actors/absent_askers.hpp"

#include <algorithm>
#include <utility>

namespace parlor {

std::uint64_t absent_askers::left(const session_key& key, std::string task) {
  std::lock_guard lock{mutex_};
  by_session_[key].push_back({++last_, std::move(task)});
  sessions_ = by_session_.size();
  return last_;
}

std::vector<std::string> absent_askers::take_over(const session_key& key, const std::string& task) {
  std::vector<std::string> out;
  if (sessions_ == 0)
    return out;
  std::lock_guard lock{mutex_};
  auto s = by_session_.find(key);
  if (s == by_session_.end())
    return out;
  auto& all = s->second;
  auto his = std::stable_partition(all.begin(), all.end(), [&](const absence& a) {
    return !task.empty() && a.task != task;
  });
  for (auto a = his; a != all.end(); ++a)
    out.push_back(std::move(a->task));
  all.erase(his, all.end());
  if (all.empty())
    by_session_.erase(s);
  sessions_ = by_session_.size();
  return out;
}

bool absent_askers::give_up(const session_key& key, std::uint64_t number) {
  std::lock_guard lock{mutex_};
  auto s = by_session_.find(key);
  if (s == by_session_.end())
    return false;
  auto found = std::erase_if(s->second, [&](auto& a) { return a.number == number; }) != 0;
  if (s->second.empty())
    by_session_.erase(s);
  sessions_ = by_session_.size();
  return found;
}

} // namespace parlor
