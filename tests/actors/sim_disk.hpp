#pragma once
// The store's ports over the yardstick of model_disk.hpp: a disk that can be full or broken, and
// that remembers what was recorded when.

#include "model_disk.hpp"

#include <functional>
#include <memory>
#include <stdexcept>

namespace parlor::test {

struct sim_disk {
  model_disk data;
  bool full = false;
  bool broken = false;
  bool unreadable = false;
  struct kept {
    std::int64_t at;
    store::fact what;
  };
  std::vector<kept> facts;           // of groups that took effect
  std::vector<std::size_t> commits;  // groups in each
  std::vector<std::int64_t> refused; // when
  int reads = 0;
  std::vector<past> pages;                     // that were asked for
  std::map<session_key, std::int64_t> numbers; // as the store gives sessions
  std::function<std::int64_t()> now = [] { return std::int64_t{0}; };

  std::vector<store::group_result> apply(std::span<const store::fact_group> groups) {
    using kind = store::store_error::kind;
    if (broken || full) {
      refused.push_back(now());
      throw store::store_error{broken ? kind::broken : kind::full, "on purpose"};
    }
    commits.push_back(groups.size());
    std::vector<store::group_result> results;
    for (auto& g : groups) {
      results.push_back(data.apply(g));
      if (results.back().what == store::group_result::kind::durable)
        for (auto& f : g)
          facts.push_back({now(), f});
    }
    return results;
  }
  /// When facts of this type were recorded, and the facts.
  template <class Fact>
  std::vector<std::pair<std::int64_t, Fact>> all() const {
    std::vector<std::pair<std::int64_t, Fact>> out;
    for (auto& k : facts)
      if (auto* f = std::get_if<Fact>(&k.what))
        out.emplace_back(k.at, *f);
    return out;
  }
};

struct sim_writer final : store::writer {
  explicit sim_writer(sim_disk& d) : disk{d} {}
  sim_disk& disk;
  int prunes = 0;
  int checkpoints = 0;
  std::vector<store::group_result> apply(std::span<const store::fact_group> groups) override {
    return disk.apply(groups);
  }
  std::size_t prune(std::int64_t, std::int64_t, std::size_t) override {
    ++prunes;
    return 0;
  }
  void checkpoint() override { ++checkpoints; }
};

struct sim_reader final : store::reader {
  explicit sim_reader(sim_disk& d) : disk{d} {}
  sim_disk& disk;
  model_disk& readable() {
    ++disk.reads;
    if (disk.unreadable)
      throw store::store_error{store::store_error::kind::broken, "on purpose"};
    return disk.data;
  }
  store::session_image load_session(const session_key& key,
                                    const store::history_limits& limits) override {
    return readable().load(key, limits);
  }
  std::optional<store::stored_session> find_session(const session_key& key) override {
    auto& all = readable().sessions;
    auto i = all.find(key);
    return i == all.end() ? std::nullopt : std::optional{i->second.row};
  }
  std::optional<store::stored_task> find_task(const std::string& tenant,
                                              const std::string& task) override {
    auto& all = readable().tasks;
    auto i = all.find(task);
    if (i == all.end() || i->second.key.tenant != tenant)
      return {};
    return model_disk::whole(i->second);
  }
  std::optional<store::stored_task> find_task_head(const std::string& tenant,
                                                   const std::string& task) override {
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
  std::optional<past_page> past_of_task(const std::string& tenant, const std::string& task,
                                        const past& what) override {
    auto t = find_task(tenant, task);
    if (!t)
      return {};
    store::past_reader out{what};
    store::texts_in_memory texts{*t};
    out.add(*t, texts);
    disk.pages.push_back(what);
    return std::move(out).take();
  }
  past_page past_of_session(const session_key& key, const past& what) override {
    disk.pages.push_back(what);
    return readable().past_of(key, what);
  }
  store::idle_page idle_sessions(std::int64_t moment, std::size_t limit,
                                 const store::idle_place& after) override {
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
  std::vector<store::usage_recorded> usage_of(const std::string& task) override {
    std::vector<store::usage_recorded> out;
    for (auto& u : readable().usages)
      if (u.task == task)
        out.push_back(u);
    return out;
  }
  // not asked for by actors below the edge
  store::session_page list_sessions(const std::string&, std::size_t, const std::string&) override {
    return {};
  }
  std::optional<store::message_page> list_messages(const session_key&, std::size_t,
                                                   const std::string&) override {
    return {};
  }
  std::int64_t count_sessions() override {
    return static_cast<std::int64_t>(readable().sessions.size());
  }
  std::optional<store::external_session> find_external(const session_key& key) override {
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
  store::external_counts count_external() override { return {}; }
  std::vector<session_key> unfinished_sessions() override { return {}; }
};

} // namespace parlor::test
