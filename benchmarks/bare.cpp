// The floor for fan-out: what the kernel asks for a watcher and for an event, and nothing else. One
// thread, epoll, one send() for each watcher of each event. No history, no ids to come back with,
// no timeouts, no limits.
//   bare [port]      prints "listening 127.0.0.1:<port>"; runs until it is killed
//
//   GET  /sub/<room>   a stream of server-sent events
//   POST /pub/<room>   the body becomes an event of that room
// Rooms are numbers below 100,000.

#include "poller.hpp"
#include "processes.hpp"

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace bench;

constexpr std::size_t rooms_at_most = 100'000;
constexpr std::uint32_t nowhere = ~std::uint32_t{0};
constexpr std::string_view stream_head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                                         "Cache-Control: no-cache\r\nConnection: close\r\n\r\n";
constexpr std::string_view taken = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";

// What is known of a descriptor; a watcher that keeps up needs no more than its room.
struct place {
  std::uint32_t room = nowhere;
  std::unique_ptr<std::string> in;  // of a request that is not whole
  std::unique_ptr<std::string> out; // what the socket would not take
};

class bare {
public:
  explicit bare(unsigned short port) : listener_{listen_on(port)} {
    rooms_.resize(rooms_at_most);
    poller_.add(listener_, tag_of(listener_), EPOLLIN);
  }

  void run() {
    for (;;)
      poller_.wait(-1, [this](void* tag, std::uint32_t events) {
        auto fd = static_cast<int>(reinterpret_cast<std::intptr_t>(tag));
        if (fd == listener_)
          accept_all();
        else
          on_event(fd, events);
      });
  }

private:
  static void* tag_of(int fd) { return reinterpret_cast<void*>(static_cast<std::intptr_t>(fd)); }

  void accept_all() {
    for (;;) {
      int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0)
        return;
      no_delay(fd);
      if (places_.size() <= static_cast<std::size_t>(fd))
        places_.resize(static_cast<std::size_t>(fd) + 1);
      poller_.add(fd, tag_of(fd));
    }
  }

  void on_event(int fd, std::uint32_t events) {
    auto& p = places_[static_cast<std::size_t>(fd)];
    if ((events & EPOLLOUT) && p.out) {
      auto held = std::move(p.out);
      write(fd, *held);
    }
    if (!(events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
      return;
    char buffer[16384];
    for (;;) {
      auto n = recv(fd, buffer, sizeof buffer, 0);
      if (n < 0 && errno == EAGAIN)
        return;
      if (n <= 0)
        return close(fd);
      if (p.room == nowhere)
        take(fd, {buffer, static_cast<std::size_t>(n)});
    }
  }

  void take(int fd, std::string_view bytes) {
    auto& p = places_[static_cast<std::size_t>(fd)];
    if (p.in)
      bytes = *p.in += bytes;
    while (p.room == nowhere && !bytes.empty()) {
      auto end = bytes.find("\r\n\r\n");
      if (end == bytes.npos)
        break;
      std::size_t length = 0;
      constexpr std::string_view mark = "\r\nContent-Length: ";
      if (auto at = bytes.find(mark); at < end)
        length = std::strtoul(bytes.data() + at + mark.size(), nullptr, 10);
      if (bytes.size() < end + 4 + length)
        break;
      answer(fd, bytes.substr(0, end), bytes.substr(end + 4, length));
      bytes.remove_prefix(end + 4 + length);
    }
    if (bytes.empty() || p.room != nowhere)
      p.in.reset();
    else
      p.in = std::make_unique<std::string>(bytes);
  }

  void answer(int fd, std::string_view head, std::string_view body) {
    auto room = nowhere;
    auto listens = head.starts_with("GET /sub/");
    if (listens || head.starts_with("POST /pub/"))
      std::from_chars(head.data() + (listens ? 9 : 10), head.data() + head.size(), room);
    if (room >= rooms_at_most)
      return write(fd, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    if (listens) {
      places_[static_cast<std::size_t>(fd)].room = room;
      rooms_[room].push_back(fd);
      return write(fd, stream_head);
    }
    event_ = "id: ";
    event_ += std::to_string(++events_);
    event_ += "\ndata: ";
    event_ += body;
    event_ += "\n\n";
    for (int to : rooms_[room])
      write(to, event_);
    write(fd, taken);
  }

  void write(int fd, std::string_view bytes) {
    auto& p = places_[static_cast<std::size_t>(fd)];
    if (!p.out) {
      auto n = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n == static_cast<ssize_t>(bytes.size()))
        return;
      if (n < 0 && errno != EAGAIN)
        return; // read will tell
      bytes.remove_prefix(n < 0 ? 0 : static_cast<std::size_t>(n));
      p.out = std::make_unique<std::string>();
    }
    *p.out += bytes;
  }

  void close(int fd) {
    auto& p = places_[static_cast<std::size_t>(fd)];
    if (p.room != nowhere)
      std::erase(rooms_[p.room], fd);
    p = {};
    ::close(fd);
  }

  poller poller_;
  int listener_;
  std::vector<place> places_; // by descriptor
  std::vector<std::vector<int>> rooms_;
  std::string event_;
  std::uint64_t events_ = 0;
};

} // namespace

int main(int argc, char** argv) try {
  raise_descriptors();
  bare{static_cast<unsigned short>(argc > 1 ? std::atoi(argv[1]) : 0)}.run();
} catch (const std::exception& e) {
  std::fprintf(stderr, "bare: %s\n", e.what());
  return 1;
}
