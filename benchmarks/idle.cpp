// What connections cost on which nothing happens: opens them, waits, closes them, and looks at the
// memory, the time and the sleeps of the server meanwhile.
//
//   idle --wire sse|ws --port N --path PREFIX --count N [--rooms N] [--first N] [--cycles N]
//        [--hold S] [--pid N]... [--label TEXT]
//
// The streams are GET <prefix><number>, with as many numbers as there are rooms, from --first on.
// --cycles: so many times, if it is more than one after one that is not counted.
// --hold: so long each time, while the server's work is counted.
// What each costs is the median, against the least that the server had without them: what an
// allocator has not given back yet is nobody's. Growth is that of the last three times against the
// first three, as one alone is off by some percent.
// Prints one line of JSON; memory is the processes' share of physical memory (Pss), in bytes. Exits
// 1 when a connection was refused, or lost while it was held.

#include "arguments.hpp"
#include "fan_source.hpp"
#include "processes.hpp"

#include <algorithm>
#include <exception>
#include <memory>

namespace {

using namespace bench;

struct options {
  bool ws = false;
  unsigned short port = 0;
  std::string path, label;
  std::size_t count = 1000, rooms = 1, first = 0, cycles = 1;
  double hold = 0;
  std::vector<int> pids;
};

class idle {
public:
  explicit idle(options o) : o_{std::move(o)} {}

  int run() {
    settle(o_.pids, 10);
    if (o_.cycles > 1) {
      open_all();
      rest();
      close_all();
    }
    std::vector<std::int64_t> held, without{pss_bytes(o_.pids)};
    work_done work;
    double seconds = 0;
    for (std::size_t cycle = 0; cycle < o_.cycles; ++cycle) {
      open_all();
      rest();
      held.push_back(pss_bytes(o_.pids));
      if (o_.hold > 0) {
        auto begin = work_of(o_.pids);
        auto at = now();
        stay(o_.hold);
        auto end = work_of(o_.pids);
        work.run_ns += end.run_ns - begin.run_ns;
        work.switches += end.switches - begin.switches;
        seconds += now() - at;
      }
      close_all();
      without.push_back(pss_bytes(o_.pids));
    }
    auto least = *std::min_element(without.begin(), without.end());
    for (auto& h : held)
      h -= least;
    auto few = std::min<std::size_t>(3, held.size());
    auto first = median({held.begin(), held.begin() + static_cast<std::ptrdiff_t>(few)});
    auto last = median({held.end() - static_cast<std::ptrdiff_t>(few), held.end()});
    std::printf(R"({"label":"%s","count":%zu,"least":%lld,"held":[%s],"without":[%s],)"
                R"("bytes_each":%.0f,"growth_percent":%.2f,"seconds":%.1f,"cpu_percent":%.4f,)"
                R"("wakeups_per_s":%.1f,"lost":%zu})"
                "\n",
                o_.label.c_str(), o_.count, static_cast<long long>(least), listed(held).c_str(),
                listed(without).c_str(),
                median(held) / static_cast<double>(std::max<std::size_t>(1, o_.count)),
                first > 0 ? (last - first) * 100 / first : 0, seconds,
                seconds > 0 ? static_cast<double>(work.run_ns) / 1e7 / seconds : 0,
                seconds > 0 ? static_cast<double>(work.switches) / seconds : 0, lost_);
    return lost_ == 0 ? 0 : 1;
  }

private:
  struct connection final : endpoint {
    connection(idle& i, std::size_t room) : owner{i}, fd{connect_to(i.o_.port)} {
      no_delay(fd);
      request = "GET " + i.o_.path + std::to_string(room) + " HTTP/1.1\r\nHost: 127.0.0.1\r\n";
      request += i.o_.ws
                     ? "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                       "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
                     : "Accept: text/event-stream\r\n\r\n";
      i.poller_.add(fd, static_cast<endpoint*>(this));
    }
    ~connection() override { ::close(fd); }
    void on_event(std::uint32_t events) override {
      if ((events & EPOLLOUT) && !request.empty()) {
        if (::send(fd, request.data(), request.size(), MSG_NOSIGNAL) !=
            static_cast<ssize_t>(request.size()))
          throw std::runtime_error("a request was not taken");
        request = {};
      }
      if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        read();
    }
    void read() {
      char buffer[4096];
      for (;;) {
        auto n = recv(fd, buffer, sizeof buffer, 0);
        if (n < 0 && errno == EAGAIN)
          return;
        if (n <= 0) {
          ++owner.lost_;
          return;
        }
        std::string_view bytes{buffer, static_cast<std::size_t>(n)};
        if (!open) {
          auto end = (head += bytes).find("\r\n\r\n");
          if (end == head.npos)
            continue;
          if (!head.starts_with(owner.o_.ws ? "HTTP/1.1 101 " : "HTTP/1.1 200 "))
            throw std::runtime_error("refused: " + head);
          open = true;
          ++owner.open_;
          head = {};
        } else if (owner.o_.ws && bytes[0] == '\x89' && bytes.size() >= 2 && bytes[1] < 126) {
          // A ping is answered with what is in it; a mask of zeros leaves it as it is.
          std::string pong = {'\x8a', static_cast<char>(bytes[1] | '\x80'), 0, 0, 0, 0};
          pong += bytes.substr(2, static_cast<std::size_t>(bytes[1]));
          (void)::send(fd, pong.data(), pong.size(), MSG_NOSIGNAL);
        }
      }
    }
    idle& owner;
    int fd;
    std::string request, head;
    bool open = false;
  };

  static double median(std::vector<std::int64_t> v) {
    if (v.empty())
      return 0;
    std::sort(v.begin(), v.end());
    return static_cast<double>(v[(v.size() - 1) / 2] + v[v.size() / 2]) / 2;
  }

  static std::string listed(const std::vector<std::int64_t>& v) {
    std::string out;
    for (auto n : v)
      out += (out.empty() ? "" : ",") + std::to_string(n);
    return out;
  }

  static double now() {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
  }

  void poll(double seconds) {
    poller_.wait(static_cast<std::int64_t>(seconds * 1e9), [](void* tag, std::uint32_t events) {
      static_cast<endpoint*>(tag)->on_event(events);
    });
  }

  void stay(double seconds) {
    for (auto end = now() + seconds; now() < end;)
      poll(std::max(0.0, end - now()));
  }

  /// Until the server has done what there was to do; pings are answered meanwhile.
  void rest() {
    stay(1);
    settle(o_.pids, 5);
  }

  void close_all() {
    connections_.clear();
    open_ = 0;
    rest();
  }

  void open_all() {
    auto last = now() + 120;
    auto until = [&](std::size_t wanted) {
      while (open_ < wanted) {
        if (now() > last)
          throw std::runtime_error("the connections do not open");
        poll(0.01);
      }
    };
    for (std::size_t i = 0; i < o_.count; ++i) {
      connections_.push_back(std::make_unique<connection>(*this, o_.first + i % o_.rooms));
      until(i < 128 ? 0 : i - 127); // so many at once as any server's queue holds
    }
    until(o_.count);
  }

  options o_;
  poller poller_;
  std::vector<std::unique_ptr<connection>> connections_;
  std::size_t open_ = 0, lost_ = 0;
};

options read_options(int argc, char** argv) {
  options o;
  read_arguments(argc, argv,
                 {{"--wire", [&o](const std::string& name) { o.ws = name == "ws"; }},
                  {"--port", to(o.port)},
                  {"--path", to(o.path)},
                  {"--count", to(o.count)},
                  {"--rooms", to(o.rooms)},
                  {"--first", to(o.first)},
                  {"--cycles", to(o.cycles)},
                  {"--hold", to(o.hold)},
                  {"--pid", to(o.pids)},
                  {"--label", to(o.label)}});
  return o;
}

} // namespace

int main(int argc, char** argv) try {
  auto o = read_options(argc, argv);
  if (auto most = raise_descriptors(); most < o.count + 100)
    throw std::runtime_error("only " + std::to_string(most) + " descriptors are allowed");
  return idle{std::move(o)}.run();
} catch (const std::exception& e) {
  std::fprintf(stderr, "idle: %s\n", e.what());
  return 2;
}
