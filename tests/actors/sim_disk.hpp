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

  std::vector<store::group_result> apply(std::span<const store::fact_group_ptr> groups);
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
  std::vector<store::group_result> apply(std::span<const store::fact_group_ptr> groups) override;
  std::size_t prune(std::int64_t, std::int64_t, std::size_t) override;
  void checkpoint() override { ++checkpoints; }
};

struct sim_reader final : store::reader {
  explicit sim_reader(sim_disk& d) : disk{d} {}
  sim_disk& disk;
  model_disk& readable();
  store::session_image load_session(const session_key& key,
                                    const store::history_limits& limits) override;
  std::optional<store::stored_session> find_session(const session_key& key) override;
  std::optional<store::stored_task> find_task(const std::string& tenant,
                                              const std::string& task) override;
  std::optional<store::stored_task> find_task_head(const std::string& tenant,
                                                   const std::string& task) override;
  std::optional<past_page> past_of_task(const std::string& tenant, const std::string& task,
                                        const past& what) override;
  past_page past_of_session(const session_key& key, const past& what) override;
  store::idle_page idle_sessions(std::int64_t moment, std::size_t limit,
                                 const store::idle_place& after) override;
  std::vector<store::usage_recorded> usage_of(const std::string& task) override;
  // not asked for by actors below the edge
  store::session_page list_sessions(const std::string&, std::size_t, const std::string&) override;
  std::optional<store::message_page> list_messages(const session_key&, std::size_t,
                                                   const std::string&) override;
  std::int64_t count_sessions() override;
  std::optional<store::external_session> find_external(const session_key& key) override;
  store::external_counts count_external() override { return {}; }
  std::vector<session_key> unfinished_sessions() override { return {}; }
};

} // namespace parlor::test
