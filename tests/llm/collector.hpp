#pragma once
// Runs calls of a provider on a thread of its own and waits for what they tell.

#include "llm/provider.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace parlor::testing {

/// An io_context with a thread.
struct background {
  background() : work{io.get_executor()}, thread{[this] { io.run(); }} {}
  ~background() {
    io.stop();
    thread.join();
  }
  boost::asio::io_context io;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work;
  std::thread thread;
};

/// Collects the events of one call. Its sink may outlive it.
class collector {
public:
  llm::call_sink sink() {
    return [s = state_](llm::call_event e) {
      std::lock_guard lock{s->mutex};
      s->events.push_back(std::move(e));
      s->changed.notify_all();
    };
  }
  template <class Predicate>
  bool wait(Predicate p, std::chrono::milliseconds most = std::chrono::seconds{5}) {
    std::unique_lock lock{state_->mutex};
    return state_->changed.wait_for(lock, most, [&] { return p(state_->events); });
  }
  /// Waits for the outcome.
  bool finish() {
    return wait([](auto& events) {
      return !events.empty() && (std::holds_alternative<llm::call_finished>(events.back()) ||
                                 std::holds_alternative<llm::call_failed>(events.back()));
    });
  }
  bool says(std::string_view expected) {
    return wait([expected](auto& events) {
      std::string text;
      for (auto& e : events)
        if (auto* d = std::get_if<llm::call_delta>(&e))
          text += d->text;
      return text == expected;
    });
  }
  std::vector<llm::call_event> events() const {
    std::lock_guard lock{state_->mutex};
    return state_->events;
  }
  std::string text() const {
    std::string out;
    for (auto& e : events())
      if (auto* d = std::get_if<llm::call_delta>(&e))
        out += d->text;
    return out;
  }
  std::optional<llm::call_finished> finished() const { return last<llm::call_finished>(); }
  std::optional<llm::call_failed> failed() const { return last<llm::call_failed>(); }

private:
  template <class T>
  std::optional<T> last() const {
    auto all = events();
    if (all.empty() || !std::holds_alternative<T>(all.back()))
      return {};
    return std::get<T>(all.back());
  }
  struct state {
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<llm::call_event> events;
  };
  std::shared_ptr<state> state_ = std::make_shared<state>();
};

inline llm::call_request ask(std::string text, std::string model = "test") {
  llm::call_request r;
  r.messages.push_back({role::user, std::move(text), ""});
  r.settings.model = std::move(model);
  return r;
}

} // namespace parlor::testing
