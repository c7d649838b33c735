#pragma once
// Whether a peer whose kernel takes no more reads at all.
//
// A socket is writable again only when much of the kernel's buffer is free, which with a slow peer
// may take minutes. How much the peer has not acknowledged falls with every few KiB that it reads,
// so that is looked at now and then: who reads slowly is not taken for one who does not read
// (docs/hard-edges.md, S4).
//
// Owner and thread: the connection or WebSocket. Errors: a socket that cannot be asked makes no
// progress.

#include <linux/sockios.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace parlor::http {

class write_progress {
public:
  using milliseconds = std::chrono::milliseconds;

  /// The kernel takes no more. Returns in how long to look.
  milliseconds begin(int fd, milliseconds timeout) noexcept {
    left_ = unacknowledged(fd);
    since_ = clock::now();
    return timeout / looks;
  }

  /// In how long to look again. Zero: the peer has taken nothing for `timeout`.
  milliseconds look(int fd, milliseconds timeout) noexcept {
    auto now = clock::now();
    auto left = unacknowledged(fd);
    if (left < std::exchange(left_, left))
      since_ = now;
    auto rest = std::chrono::ceil<milliseconds>(since_ + timeout - now);
    return std::clamp(rest, milliseconds{0}, std::max(timeout / looks, milliseconds{1}));
  }

private:
  using clock = std::chrono::steady_clock;
  static constexpr int looks = 4; // within the timeout

  static int unacknowledged(int fd) noexcept {
    int bytes = 0;
    return ioctl(fd, SIOCOUTQ, &bytes) == 0 ? bytes : 0;
  }

  clock::time_point since_{};
  int left_ = 0; // bytes
};

} // namespace parlor::http
