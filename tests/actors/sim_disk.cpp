#include "sim_disk.hpp"

#include <algorithm>

namespace parlor::test {

std::vector<store::group_result> sim_disk::apply(std::span<const store::fact_group_ptr> groups) {
  using kind = store::store_error::kind;
  if (broken || full) {
    refused.push_back(now());
    throw store::store_error{broken ? kind::broken : kind::full, "on purpose"};
  }
  commits.push_back(groups.size());
  std::vector<store::group_result> results;
  for (auto& g : groups) {
    results.push_back(data.apply(*g));
    if (results.back().what == store::group_result::kind::durable)
      for (auto& f : *g)
        facts.push_back({now(), f});
  }
  return results;
}

std::vector<store::group_result> sim_writer::apply(std::span<const store::fact_group_ptr> groups) {
  return disk.apply(groups);
}

std::size_t sim_writer::prune(std::int64_t, std::int64_t, std::size_t) {
  ++prunes;
  return 0;
}

model_disk& sim_reader::readable() {
  ++disk.reads;
  if (disk.unreadable)
    throw store::store_error{store::store_error::kind::broken, "on purpose"};
  return disk.data;
}

store::session_image sim_reader::load_session(const session_key& key,
                                              const store::history_limits& limits) {
  return readable().load(key, limits);
}

std::optional<store::stored_session> sim_reader::find_session(const session_key& key) {
  auto& all = readable().sessions;
  auto i = all.find(key);
  return i == all.end() ? std::nullopt : std::optional{i->second.row};
}

std::optional<store::stored_task> sim_reader::find_task(const std::string& tenant,
                                                        const std::string& task) {
  auto& all = readable().tasks;
  auto i = all.find(task);
  if (i == all.end() || i->second.key.tenant != tenant)
    return {};
  return model_disk::whole(i->second);
}

std::optional<store::stored_task> sim_reader::find_task_head(const std::string& tenant,
                                                             const std::string& task) {
  auto t = find_task(tenant, task);
  if (t) {
    t->text = t->log = t->view.text = {};
    if (t->view.end) {
      auto end = std::make_shared<outcome>(*t->view.end);
      end->content.clear();
      t->view.end = std::move(end);
    }
  }
  return t;
}

std::optional<past_page> sim_reader::past_of_task(const std::string& tenant,
                                                  const std::string& task, const past& what) {
  auto t = find_task(tenant, task);
  if (!t)
    return {};
  store::past_reader out{what};
  store::texts_in_memory texts{*t};
  out.add(*t, texts);
  disk.pages.push_back(what);
  return std::move(out).take();
}

past_page sim_reader::past_of_session(const session_key& key, const past& what) {
  disk.pages.push_back(what);
  return readable().past_of(key, what);
}

store::idle_page sim_reader::idle_sessions(std::int64_t moment, std::size_t limit,
                                           const store::idle_place& after) {
  std::vector<std::tuple<std::int64_t, std::int64_t, session_key>> found;
  for (auto& [key, s] : readable().sessions) {
    auto open = std::any_of(disk.data.tasks.begin(), disk.data.tasks.end(), [&](auto& t) {
      return t.second.key == key && t.second.ended_seq == 0;
    });
    auto number = disk.numbers.try_emplace(key, disk.numbers.size() + 1).first->second;
    auto at = s.row.view.last_accessed;
    if (!open && at < moment && std::pair{at, number} > std::pair{after.at, after.number})
      found.emplace_back(at, number, key);
  }
  std::sort(found.begin(), found.end());
  store::idle_page page;
  page.more = found.size() >= limit;
  found.resize(std::min(found.size(), limit));
  for (auto& [at, number, key] : found) {
    page.sessions.push_back(key);
    page.last = {at, number};
  }
  return page;
}

std::vector<store::usage_recorded> sim_reader::usage_of(const std::string& task) {
  std::vector<store::usage_recorded> out;
  for (auto& u : readable().usages)
    if (u.task == task)
      out.push_back(u);
  return out;
}

store::session_page sim_reader::list_sessions(const std::string&, std::size_t, const std::string&) {
  return {};
}

std::optional<store::message_page> sim_reader::list_messages(const session_key&, std::size_t,
                                                             const std::string&) {
  return {};
}

std::int64_t sim_reader::count_sessions() {
  return static_cast<std::int64_t>(readable().sessions.size());
}

std::optional<store::external_session> sim_reader::find_external(const session_key& key) {
  auto session = find_session(key);
  if (!session)
    return {};
  store::external_session out{*session, {}};
  for (auto& [name, t] : disk.data.tasks)
    if (t.key == key && t.kind == task_kind::external &&
        (!out.newest || out.newest->accepted_seq < t.accepted_seq))
      out.newest = model_disk::whole(t);
  return out;
}

} // namespace parlor::test
