// The load for rooms with watchers: opens the streams, has events published, checks what each
// watcher is told (watcher.hpp). One thread, epoll.
//
//   fan --wire parlor|post --port N [--model-port N] --rooms N --watchers N --warmup S --seconds S
//       (--window N | --rate PER_SECOND) [--size BYTES] [--slow PERCENT] [--pid N]... [--label
//       TEXT]
//
// --watchers is of each room. --window N publishes the next event of a room when all its watchers
// have the one N before it. --rate publishes whatever comes back, so many events in a second
// counted at the watchers; the rooms take turns, and an event's time runs from when it was due.
// --slow: so many watchers in a hundred never read, and are not counted. Prints one line of JSON.
// Exits 1 when an event was lost, repeated, out of order or foreign.

#include "arguments.hpp"
#include "fan_source.hpp"
#include "processes.hpp"
#include "watcher.hpp"

#include <exception>
#include <optional>
#include <random>

namespace {

using namespace bench;

struct options {
  bool parlor = false;
  unsigned short port = 0, model_port = 0;
  std::uint32_t rooms = 1, watchers = 1, window = 0, slow = 0;
  double rate = 0, warmup = 0.5, seconds = 2;
  std::size_t size = 100;
  std::vector<int> pids;
  std::string label;
};

constexpr std::int64_t second = 1'000'000'000;
constexpr std::int64_t patience = 20 * second;

struct room_state {
  std::uint64_t published = 0;
  std::uint64_t delivered = 0;        // events that all watchers have
  std::vector<std::uint32_t> missing; // a ring of the window: watchers that have not yet event n
};

class fan {
public:
  explicit fan(options o) : o_{std::move(o)}, random_{std::random_device{}()}, rooms_(o_.rooms) {
    for (auto& r : rooms_)
      r.missing.resize(o_.window);
  }

  int run() {
    // Names differ between runs, so that nothing of an earlier one passes.
    auto prefix = "fan-" + std::to_string(now_ns() / 1'000'000) + "-";
    source_ = o_.parlor ? make_turns(poller_, o_.port, o_.model_port, o_.rooms, prefix)
                        : make_posts(poller_, o_.port, std::min<std::uint32_t>(o_.rooms, 1024));
    until([this] { return source_->ready(); }, "the rooms are not ready");
    open_streams(prefix);
    settle(o_.pids);
    auto before = rss_bytes(o_.pids);
    publish_and_measure();
    until([this] { return complete(); }, nullptr);
    rss_most_ = std::max(rss_most_, rss_bytes(o_.pids));
    watch_faults f;
    for (auto& v : viewers_)
      if (!v->asleep)
        v->reads.count(rooms_[v->reads.room()].published, f);
    report(f, rss_most_ - before);
    viewers_.clear();
    source_->finish();
    auto end = now_ns() + second / 5;
    until([&] { return now_ns() > end; }, "");
    settle(o_.pids, 1);
    return f.total() == 0 && events_ > 0 ? 0 : 1;
  }

private:
  struct viewer final : endpoint {
    viewer(fan& f, std::uint32_t room, bool s, std::string r)
        : owner{f}, fd{connect_to(f.o_.port, s ? 4096 : 0)}, request{std::move(r)}, reads{room},
          slow{s} {
      no_delay(fd);
      owner.poller_.add(fd, static_cast<endpoint*>(this));
    }
    ~viewer() override { ::close(fd); }
    void on_event(std::uint32_t events) override { owner.on_viewer(*this, events); }
    fan& owner;
    int fd;
    std::string request; // until it is sent
    watcher reads;
    bool slow;
    bool asked = false;
    bool asleep = false; // a slow one that is past its head
  };

  template <class Done>
  void until(Done done, const char* complaint) {
    auto last = now_ns() + (complaint != nullptr ? 6 : 1) * patience;
    while (!done()) {
      if (now_ns() > last) {
        if (complaint != nullptr)
          throw std::runtime_error(complaint);
        return;
      }
      poll(second / 100);
    }
  }

  void poll(std::int64_t ns) {
    poller_.wait(std::max<std::int64_t>(0, ns), [](void* tag, std::uint32_t events) {
      static_cast<endpoint*>(tag)->on_event(events);
    });
  }

  void open_streams(const std::string& prefix) {
    auto all = std::size_t{o_.rooms} * o_.watchers;
    auto slow = all * o_.slow / 100;
    for (std::size_t i = 0; i < all; ++i) {
      auto room = static_cast<std::uint32_t>(i % o_.rooms);
      // Spread among the others.
      auto is_slow = slow > 0 && i * slow / all != (i + 1) * slow / all;
      auto n = std::to_string(room);
      auto request = "GET " +
                     (o_.parlor ? "/api/sessions/" + prefix + n + "/events" : "/sub/" + n) +
                     " HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n";
      viewers_.push_back(std::make_unique<viewer>(*this, room, is_slow, std::move(request)));
      // So many at once as any server's queue of connections holds.
      until([&] { return i < open_ + 128; }, "the streams do not open");
    }
    until([&] { return open_ == all; }, "the streams do not open");
    heard_ = all - slow;
    for (auto& v : viewers_)
      v->asleep = v->slow;
    listeners_ = static_cast<std::uint32_t>(heard_ / o_.rooms);
    if (slow > 0 && o_.rooms > 1)
      throw std::invalid_argument("--slow wants one room");
  }

  void on_viewer(viewer& v, std::uint32_t events) {
    if ((events & EPOLLOUT) && !v.asked) {
      v.asked = true;
      if (::send(v.fd, v.request.data(), v.request.size(), MSG_NOSIGNAL) !=
          static_cast<ssize_t>(v.request.size()))
        throw std::runtime_error("a request was not taken");
      v.request = {};
    }
    if (!(events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) || v.asleep)
      return;
    for (;;) {
      auto n = recv(v.fd, buffer_, sizeof buffer_, 0);
      if (n < 0 && errno == EAGAIN)
        return;
      if (n <= 0)
        throw std::runtime_error("a stream has ended: " + v.reads.why());
      auto now = now_ns();
      auto had = v.reads.has_head();
      auto ok = v.reads.feed({buffer_, static_cast<std::size_t>(n)},
                             [&](std::uint64_t number, std::int64_t stamp) {
                               on_told(v.reads.room(), number, now, stamp);
                             });
      if (!ok)
        throw std::runtime_error(v.reads.why());
      open_ += !had && v.reads.has_head();
      if (static_cast<std::size_t>(n) < sizeof buffer_)
        return; // told again when there is more
    }
  }

  void on_told(std::uint32_t room, std::uint64_t number, std::int64_t now, std::int64_t stamp) {
    ++told_;
    if (measuring_) {
      ++events_;
      way_.add(now - stamp);
    }
    auto& r = rooms_[room];
    if (o_.window == 0)
      return;
    --r.missing[number % o_.window];
    while (r.delivered < r.published && r.missing[r.delivered % o_.window] == 0) {
      ++r.delivered;
      if (publishing_)
        publish(room, now_ns());
    }
  }

  void publish(std::uint32_t room, std::int64_t stamp) {
    auto& r = rooms_[room];
    text_.clear();
    append_event_text(text_, room, r.published, stamp, o_.size);
    if (o_.window > 0)
      r.missing[r.published % o_.window] = listeners_;
    ++r.published;
    ++published_;
    source_->publish(room, text_);
  }

  void publish_and_measure() {
    auto begin = now_ns();
    auto from = begin + ns(o_.warmup);
    auto to = from + ns(o_.seconds);
    std::int64_t due = begin, sampled = 0;
    std::uint32_t turn = 0;
    publishing_ = true;
    if (o_.window > 0)
      for (std::uint32_t room = 0; room < o_.rooms; ++room)
        for (std::uint32_t i = 0; i < o_.window; ++i)
          publish(room, now_ns());
    for (;;) {
      auto now = now_ns();
      if (!measuring_ && now >= from) {
        measuring_ = true;
        cpu_ = cpu_us(o_.pids);
        measured_ns_ = now_ns();
      }
      if (now >= to)
        break;
      for (; o_.window == 0 && due <= now; due += gap())
        publish(turn++ % o_.rooms, due);
      if (now > sampled + second / 10) {
        rss_most_ = std::max(rss_most_, rss_bytes(o_.pids));
        sampled = now;
      }
      auto wake = measuring_ ? to : from;
      if (o_.window == 0)
        wake = std::min(wake, due);
      poll(wake - now_ns());
    }
    cpu_ = cpu_us(o_.pids) - cpu_;
    measured_ns_ = now_ns() - measured_ns_;
    measuring_ = publishing_ = false;
  }

  bool complete() const { return told_ == published_ * listeners_; }

  std::int64_t gap() {
    return ns(std::uniform_real_distribution<>{0.5, 1.5}(random_)*listeners_ / o_.rate);
  }
  static std::int64_t ns(double s) { return static_cast<std::int64_t>(s * 1e9); }

  void report(const watch_faults& f, std::int64_t grown) {
    auto seconds = static_cast<double>(measured_ns_) / 1e9;
    auto ull = [](std::uint64_t n) { return static_cast<unsigned long long>(n); };
    std::printf(
        R"({"label":"%s","rooms":%u,"watchers":%u,"seconds":%.3f,"events":%llu,"events_per_s":%.0f,)"
        R"("cpu_percent":%.1f,"cpu_us_per_event":%.3f,"way_us":%s,"memory_grown":%lld,)"
        R"("lost":%llu,"repeated":%llu,"foreign":%llu,"broken":%llu})"
        "\n",
        o_.label.c_str(), o_.rooms, o_.watchers, seconds, ull(events_),
        static_cast<double>(events_) / seconds, static_cast<double>(cpu_) / 10'000 / seconds,
        events_ > 0 ? static_cast<double>(cpu_) / static_cast<double>(events_) : 0,
        way_.json().c_str(), static_cast<long long>(grown), ull(f.lost), ull(f.repeated),
        ull(f.foreign), ull(f.broken));
  }

  options o_;
  std::mt19937_64 random_;
  poller poller_;
  std::unique_ptr<event_source> source_;
  std::vector<room_state> rooms_;
  std::vector<std::unique_ptr<viewer>> viewers_;
  std::size_t open_ = 0, heard_ = 0;
  std::uint32_t listeners_ = 0; // that are counted, of each room
  char buffer_[65536];
  std::string text_;
  bool publishing_ = false, measuring_ = false;
  std::uint64_t published_ = 0, told_ = 0, events_ = 0; // the last: in the window
  std::int64_t cpu_ = 0, measured_ns_ = 1, rss_most_ = 0;
  samples way_;
};

options read_options(int argc, char** argv) {
  options o;
  read_arguments(argc, argv,
                 {{"--wire", [&o](const std::string& name) { o.parlor = name == "parlor"; }},
                  {"--port", to(o.port)},
                  {"--model-port", to(o.model_port)},
                  {"--rooms", to(o.rooms)},
                  {"--watchers", to(o.watchers)},
                  {"--window", to(o.window)},
                  {"--rate", to(o.rate)},
                  {"--size", to(o.size)},
                  {"--slow", to(o.slow)},
                  {"--warmup", to(o.warmup)},
                  {"--seconds", to(o.seconds)},
                  {"--pid", to(o.pids)},
                  {"--label", to(o.label)}});
  if ((o.window > 0) == (o.rate > 0) || o.rooms == 0 || o.watchers == 0)
    throw std::invalid_argument("one of --window and --rate, and at least a room and a watcher");
  return o;
}

} // namespace

int main(int argc, char** argv) try {
  auto o = read_options(argc, argv);
  auto needed = std::size_t{o.rooms} * o.watchers + (o.parlor ? o.rooms : 0) + 100;
  if (auto most = raise_descriptors(); most < needed)
    throw std::runtime_error("only " + std::to_string(most) + " descriptors are allowed");
  return fan{std::move(o)}.run();
} catch (const std::exception& e) {
  std::fprintf(stderr, "fan: %s\n", e.what());
  return 2;
}
