#pragma once
// What has been pushed to one peer and not yet taken by its kernel, in bytes; and whether whoever
// pushed has seen more than high water and is to be told when little is left.
//
// Owner: the connection or WebSocket. Thread: bytes() and took(): any; the others with the lock
// held that guards what is pushed.

#include "http/exchange.hpp"

#include <atomic>
#include <mutex>

namespace parlor::http {

class pushed_bytes {
public:
  std::size_t bytes() const noexcept { return bytes_.load(std::memory_order_relaxed); }

  /// Pushed. Returns how much there is now. Whether that is too much is noted here and not when
  /// writing: one write may take all that the pusher saw.
  std::size_t push(std::size_t n) noexcept {
    auto all = add(n);
    if (all > outbox::high_water)
      above_high_ = true;
    return all;
  }

  /// The connection's own: a comment, a frame.
  std::size_t add(std::size_t n) noexcept {
    return bytes_.fetch_add(n, std::memory_order_relaxed) + n;
  }

  /// The kernel has taken so much. True if that is to be told. Takes the lock only if it may be.
  bool took(std::size_t n, std::mutex& guard) noexcept {
    auto left = bytes_.fetch_sub(n, std::memory_order_relaxed) - n;
    if (left > outbox::low_water || !above_high_.load(std::memory_order_relaxed))
      return false;
    std::lock_guard lock{guard};
    return bytes() <= outbox::low_water && above_high_.exchange(false);
  }

  /// Nobody wants it any more.
  void clear() noexcept {
    bytes_ = 0;
    above_high_ = false;
  }

private:
  std::atomic<std::size_t> bytes_{0};
  std::atomic<bool> above_high_{false};
};

} // namespace parlor::http
