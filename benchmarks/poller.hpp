#pragma once
// epoll with waits in nanoseconds, and a listening or connecting socket on loopback. One thread.

#include <arpa/inet.h>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdexcept>
#include <string>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <system_error>
#include <unistd.h>

namespace bench {

[[noreturn]] inline void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

class poller {
public:
  poller() : fd_{epoll_create1(EPOLL_CLOEXEC)} {
    if (fd_ < 0)
      fail("epoll_create1");
    prctl(PR_SET_TIMERSLACK, 1UL); // else every wait is 50 microseconds too long
  }
  ~poller() { ::close(fd_); }
  poller(const poller&) = delete;
  poller& operator=(const poller&) = delete;

  /// Edge-triggered for both directions, so once is enough.
  void add(int fd, void* tag, std::uint32_t events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET) {
    epoll_event e{};
    e.events = events;
    e.data.ptr = tag;
    if (epoll_ctl(fd_, EPOLL_CTL_ADD, fd, &e) < 0)
      fail("epoll_ctl");
  }

  /// Waits until something happens or `ns` have passed; negative waits forever.
  template <class Handler>
  void wait(std::int64_t ns, Handler handle) {
    epoll_event events[256];
    timespec t{ns / 1'000'000'000, ns % 1'000'000'000};
    int n = epoll_pwait2(fd_, events, 256, ns < 0 ? nullptr : &t, nullptr);
    if (n < 0 && errno != EINTR)
      fail("epoll_pwait2");
    for (int i = 0; i < n; ++i)
      handle(events[i].data.ptr, events[i].events);
  }

private:
  int fd_;
};

inline sockaddr_in loopback(unsigned short port) {
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_port = htons(port);
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return a;
}

/// A socket that listens there, and has said where on standard output. 0: any port.
inline int listen_on(unsigned short port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  auto a = loopback(port);
  socklen_t n = sizeof a;
  if (bind(fd, reinterpret_cast<sockaddr*>(&a), n) < 0 || listen(fd, 4096) < 0)
    fail("listen");
  getsockname(fd, reinterpret_cast<sockaddr*>(&a), &n);
  std::printf("listening 127.0.0.1:%d\n", ntohs(a.sin_port));
  std::fflush(stdout);
  return fd;
}

inline void no_delay(int fd) {
  int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

} // namespace bench
