#pragma once
// How many calls a provider may have under way, and how many may wait for their turn.
//
// Owner: shared by the tasks of one provider. Thread: any; every method returns at once. A ticket
// is a place: first admitted, then (when there is room) granted; it is given up when destroyed.

#include <cstddef>
#include <functional>
#include <memory>

namespace parlor::llm {

class limiter {
public:
  class ticket {
  public:
    virtual ~ticket() = default;
    /// Calls `granted` once as soon as the call may start; at once, from inside, if it may now.
    /// Must only send messages or post. Call at most once between two release()s.
    virtual void acquire(std::function<void()> granted) = 0;
    /// Gives the slot back but stays admitted: between two attempts.
    virtual void release() = 0;
  };
  virtual ~limiter() = default;
  /// Null when `concurrent + waiting` tickets are out: the caller answers 429. `in_any_case`: for
  /// what has been accepted already, by a process that is no more; it counts, and is never refused.
  virtual std::shared_ptr<ticket> admit(bool in_any_case = false) = 0;
  virtual std::size_t in_flight() const = 0;
  virtual std::size_t waiting() const = 0;
};
std::shared_ptr<limiter> make_limiter(std::size_t concurrent, std::size_t waiting);

} // namespace parlor::llm
