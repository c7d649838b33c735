#include "actors/attendance.hpp"

namespace parlor {

attendance::turn* attendance::find(const session_key& key, const std::string& task) {
  if (auto s = by_session_.find(key); s != by_session_.end())
    for (auto& t : s->second)
      if (t.task == task)
        return &t;
  return nullptr;
}

void attendance::forget(const session_key& key, const std::string& task) {
  auto s = by_session_.find(key);
  if (s == by_session_.end())
    return;
  std::erase_if(s->second, [&](const turn& t) { return t.task == task; });
  if (s->second.empty())
    by_session_.erase(s);
  sessions_ = by_session_.size();
}

void attendance::ask(const session_key& key, const std::string& task) {
  std::lock_guard lock{mutex_};
  auto* t = find(key, task);
  if (t == nullptr) {
    t = &by_session_[key].emplace_back(turn{task});
    sessions_ = by_session_.size();
  }
  ++t->attendants;
  t->left = 0;
}

std::vector<std::string> attendance::come(const session_key& key, const std::string& task) {
  std::vector<std::string> out;
  if (sessions_ == 0)
    return out;
  std::lock_guard lock{mutex_};
  auto s = by_session_.find(key);
  if (s == by_session_.end())
    return out;
  for (auto& t : s->second)
    if (task.empty() || t.task == task) {
      ++t.attendants;
      t.left = 0;
      out.push_back(t.task);
    }
  return out;
}

std::uint64_t attendance::leave(const session_key& key, const std::string& task) {
  std::lock_guard lock{mutex_};
  auto* t = find(key, task);
  if (t == nullptr || --t->attendants > 0)
    return 0;
  return t->left = ++last_;
}

bool attendance::expire(const session_key& key, const std::string& task, std::uint64_t number) {
  std::lock_guard lock{mutex_};
  auto* t = find(key, task);
  if (t == nullptr || t->left != number)
    return false;
  forget(key, task);
  return true;
}

std::vector<std::string> attendance::abandoned(const session_key& key) {
  std::vector<std::string> out;
  if (sessions_ == 0)
    return out;
  std::lock_guard lock{mutex_};
  if (auto s = by_session_.find(key); s != by_session_.end())
    for (auto& t : s->second)
      if (t.attendants == 0)
        out.push_back(t.task);
  return out;
}

void attendance::ended(const session_key& key, const std::string& task) {
  if (sessions_ == 0)
    return;
  std::lock_guard lock{mutex_};
  forget(key, task);
}

} // namespace parlor
