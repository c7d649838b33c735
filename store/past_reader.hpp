#pragma once
// Stored tasks as the events that they were, a part at a time. Pure; any thread.

#include "store/store.hpp"

#include <string>

namespace parlor::store {

/// Where the texts of a task are: a long one is not read as a whole for a part of it.
class task_texts {
public:
  virtual ~task_texts() = default;
  virtual std::string log() = 0;
  /// Of all attempts; so many bytes from there on, or as many as there are.
  virtual std::string text(std::size_t from, std::size_t size) = 0;
  virtual std::size_t content_size() = 0; // of its end
  virtual std::string content() = 0;
};

/// Those of a task that is in memory.
class texts_in_memory final : public task_texts {
public:
  explicit texts_in_memory(const stored_task& t) : task_{t} {}
  std::string log() override { return task_.log; }
  std::string text(std::size_t from, std::size_t size) override {
    return from < task_.text.size() ? task_.text.substr(from, size) : std::string{};
  }
  std::size_t content_size() override { return task_.view.end->content.size(); }
  std::string content() override { return task_.view.end->content; }

private:
  const stored_task& task_;
};

/// Gathers what is asked for from tasks that come in the order of accepted_seq. They may overlap:
/// what is asked next is accepted while the one before runs.
class past_reader {
public:
  explicit past_reader(const past& what) : want_{what} {}

  /// A task that was accepted above this has nothing to add.
  std::uint64_t upto() const noexcept { return want_.upto; }
  void add(const stored_task& t, task_texts& texts);
  past_page take() &&;

private:
  past want_;
  std::size_t used_ = 0;
  std::uint64_t highest_ = 0; // of what has been gathered
  std::vector<event_ptr> found_;
};

} // namespace parlor::store
