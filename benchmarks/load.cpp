// The load generator: one thread, epoll, checks every byte that comes back (answer.hpp).
//
//   load --wire openai|parlor|accept --port N --model bench-64-0-0 --warmup S --seconds S
//        (--closed N | --open PER_SECOND) [--count N] [--first N] [--whole] [--keep] [--patience S]
//        [--pid N]... [--label TEXT]
//
// --whole asks for one JSON document instead of a stream; a 429 or 503 is then counted as refused.
// The wire `accept` is POST /api/generate-async: done when the turn is accepted.
// --closed keeps N streams under way, the next begins when one ends. --open starts streams at
// random intervals of 0.5 to 1.5 times the mean whatever comes back; what a stream waits for is
// counted from the moment it was due, so a late start hides nothing. After --count of them it
// begins no more, and when --closed it ends then. --first numbers the streams from there on.
// --patience gives up a stream that has not ended so long after it was due.
// --keep uses a connection again when the server lets it; otherwise each stream has its own.
// Prints one line of JSON. Exits 1 when any token was lost, repeated, late or foreign, or any
// stream did not end as it should.

#include "answer.hpp"
#include "arguments.hpp"
#include "measure.hpp"
#include "poller.hpp"
#include "processes.hpp"

#include <deque>
#include <exception>
#include <memory>
#include <random>
#include <unordered_map>
#include <utility>

namespace {

using namespace bench;

struct options {
  wire speaks = wire::openai;
  unsigned short port = 0;
  std::string model;
  plan what;
  double warmup = 0.5;
  double seconds = 2;
  unsigned closed = 0;
  double open = 0;
  std::uint64_t count = ~std::uint64_t{0};
  std::uint64_t first = 0; // 0: from the clock
  double patience = 0;
  bool keep = false;
  bool whole = false;
  std::vector<int> pids;
  std::string label;
};

constexpr std::int64_t second = 1'000'000'000;
constexpr std::int64_t drain_time = 20 * second;

// One stream, from its start to its end.
struct stream {
  stream(const options& o, std::uint64_t id, std::int64_t d)
      : number{id}, due{d}, reads{o.speaks, id, o.speaks == wire::accept ? 0 : o.what.tokens,
                                  o.whole} {}
  std::uint64_t number;
  std::int64_t due;
  answer reads;
  bool spoken = false; // its first token has come
};

struct connection {
  int fd = -1;
  std::string out;
  std::unique_ptr<stream> serves;
  bool lost = false;
};

class generator {
public:
  explicit generator(options o) : o_{std::move(o)}, random_{std::random_device{}()} {}

  int run() {
    settle(o_.pids, 1); // nothing of an earlier run
    begin_ = now_ns();
    // Numbers differ between runs, so that nothing of an earlier one passes.
    next_number_ = o_.first > 0
                       ? o_.first
                       : static_cast<std::uint64_t>(begin_ / 1000 % 1'000'000'000) * 100'000;
    window_begin_ = begin_ + ns(o_.warmup);
    window_end_ = window_begin_ + ns(o_.seconds);
    due_ = begin_ + gap() / 2;
    for (unsigned i = 0; i < o_.closed && started_ < o_.count; ++i)
      start(begin_);
    for (;;) {
      auto now = now_ns();
      if (!measuring_ && now >= window_begin_) {
        measuring_ = true;
        cpu_ = cpu_us(o_.pids);
        measured_from_ = now_ns();
      }
      auto all = o_.closed > 0 && started_ == o_.count && living_ == 0;
      if (!over_ && (now >= window_end_ || all)) {
        over_ = true;
        cpu_ = cpu_us(o_.pids) - cpu_;
        measured_for_ = now_ns() - measured_from_;
      }
      if (over_ && living_ == 0)
        break;
      if (now > window_end_ + drain_time)
        break;
      give_up(now);
      while (o_.open > 0 && !over_ && started_ < o_.count && due_ <= now) {
        start(due_);
        due_ += gap();
      }
      auto wake = !measuring_ ? window_begin_ : !over_ ? window_end_ : window_end_ + drain_time;
      if (o_.open > 0 && !over_ && started_ < o_.count)
        wake = std::min(wake, due_);
      if (o_.patience > 0)
        wake = std::min(wake, now + second / 100);
      poller_.wait(std::max<std::int64_t>(0, wake - now_ns()),
                   [this](void* tag, std::uint32_t events) {
                     on_event(*static_cast<connection*>(tag), events);
                   });
      for (auto* c : dead_)
        delete c;
      dead_.clear();
      // Here and not when one ends: a server that refuses at once would never let us return.
      while (o_.closed > living_ && !over_ && started_ < o_.count && faults_.broken_streams < 100)
        start(now_ns());
    }
    faults_.broken_streams += living_; // never ended
    report();
    return faults_.total() == 0 && tokens_ + streams_ > 0 ? 0 : 1;
  }

private:
  static std::int64_t ns(double s) { return static_cast<std::int64_t>(s * 1e9); }

  std::int64_t gap() {
    return o_.open > 0 ? ns(std::uniform_real_distribution<>{0.5, 1.5}(random_) / o_.open) : 0;
  }

  bool in_window(std::int64_t at) const { return at >= window_begin_ && at < window_end_; }

  // Streams nobody waits for any more: in the order they were due.
  void give_up(std::int64_t now) {
    for (; o_.patience > 0 && !patient_.empty() && patient_.front().first + ns(o_.patience) < now;
         patient_.pop_front()) {
      auto at = under_way_.find(patient_.front().second);
      if (at == under_way_.end())
        continue;
      auto* c = at->second;
      under_way_.erase(at);
      given_up_ += in_window(now);
      --living_;
      c->serves.reset();
      lose(*c);
    }
  }

  void start(std::int64_t due) {
    ++started_;
    ++living_;
    auto number = next_number_++;
    connection* c = nullptr;
    if (!idle_.empty()) {
      c = idle_.back();
      idle_.pop_back();
    } else {
      c = new connection;
      c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      if (c->fd < 0)
        fail("socket");
      no_delay(c->fd);
      auto a = loopback(o_.port);
      if (connect(c->fd, reinterpret_cast<sockaddr*>(&a), sizeof a) < 0 && errno != EINPROGRESS)
        fail("connect");
      poller_.add(c->fd, c);
    }
    c->serves = std::make_unique<stream>(o_, number, due);
    if (o_.patience > 0) {
      patient_.emplace_back(due, number);
      under_way_[number] = c;
    }
    c->out = request(number);
    if (auto now = now_ns(); in_window(due))
      late_.add(now - due);
    flush(*c);
  }

  std::string request(std::uint64_t number) const {
    auto n = std::to_string(number);
    auto said = std::string{stream_mark} + n;
    std::string path, body;
    if (o_.speaks == wire::parlor) {
      path = o_.whole ? "/api/chat" : "/api/chat/stream";
      body = R"({"message":")" + said + R"(","conversation_id":"bench-)" + n;
    } else if (o_.speaks == wire::accept) {
      path = "/api/generate-async";
      body = R"({"prompt":")" + said + R"(","conversationId":"bench-)" + n;
    } else {
      path = "/v1/chat/completions";
      body = R"({"messages":[{"role":"user","content":")" + said + R"("}],)";
      body += o_.whole ? R"("stream":false,"user":"bench)"
                       : R"("stream":true,"stream_options":{"include_usage":true},"user":"bench)";
    }
    body += R"(","model":")" + o_.model + "\"}";
    auto out =
        "POST " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n";
    if (!o_.whole)
      out += "Accept: text/event-stream\r\n";
    if (!o_.keep)
      out += "Connection: close\r\n";
    return out + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }

  void flush(connection& c) {
    while (!c.out.empty()) {
      auto n = send(c.fd, c.out.data(), c.out.size(), MSG_NOSIGNAL);
      if (n < 0)
        return; // told again when it can be written, or read that it failed
      c.out.erase(0, static_cast<std::size_t>(n));
    }
  }

  void on_event(connection& c, std::uint32_t events) {
    if (c.lost)
      return;
    if (events & EPOLLOUT)
      flush(c);
    if (!(events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
      return;
    for (;;) {
      auto n = recv(c.fd, buffer_, sizeof buffer_, 0);
      if (n < 0 && errno == EAGAIN)
        return;
      auto now = now_ns();
      if (!c.serves) { // an idle connection is closed, or says something unasked
        if (n > 0)
          ++faults_.broken_streams;
        std::erase(idle_, &c);
        return lose(c);
      }
      auto& s = *c.serves;
      auto state = n > 0 ? s.reads.feed({buffer_, static_cast<std::size_t>(n)},
                                        [&](std::uint32_t, std::int64_t stamp) {
                                          if (!std::exchange(s.spoken, true) && in_window(s.due))
                                            first_.add(now - s.due);
                                          if (in_window(now)) {
                                            ++tokens_;
                                            hop_.add(now - stamp);
                                          }
                                        })
                         : s.reads.end();
      if (state == answer::state::more)
        continue;
      s.reads.count(faults_);
      if (o_.patience > 0)
        under_way_.erase(s.number);
      if (state == answer::state::broken && ++shown_ <= 3)
        std::fprintf(stderr, "load: stream %llu: %s\n", static_cast<unsigned long long>(s.number),
                     s.reads.why().c_str());
      if (in_window(now) && state == answer::state::refused)
        ++refused_;
      else if (in_window(now)) {
        ++streams_;
        whole_.add(now - s.due);
      }
      --living_;
      bool again = o_.keep && s.reads.reusable();
      c.serves.reset();
      if (!again)
        return lose(c);
      idle_.push_back(&c);
    }
  }

  void lose(connection& c) {
    c.lost = true;
    ::close(c.fd);
    dead_.push_back(&c); // its events may be at hand
  }

  void report() {
    auto seconds = static_cast<double>(measured_for_) / 1e9;
    auto per = [](double a, std::uint64_t b) { return b > 0 ? a / static_cast<double>(b) : 0; };
    std::printf(
        R"({"label":"%s","model":"%s","seconds":%.3f,"streams":%llu,"tokens":%llu,"tokens_per_s":%.0f,)"
        R"("streams_per_s":%.1f,"cpu_percent":%.1f,"cpu_us_per_token":%.2f,"cpu_us_per_stream":%.1f,)"
        R"("first_us":%s,"hop_us":%s,"whole_us":%s,"late_us":%s,"refused":%llu,"given_up":%llu,)"
        R"("lost":%llu,"repeated":%llu,"late":%llu,"foreign":%llu,"broken":%llu})"
        "\n",
        o_.label.c_str(), o_.model.c_str(), seconds, ull(streams_), ull(tokens_),
        static_cast<double>(tokens_) / seconds, static_cast<double>(streams_) / seconds,
        static_cast<double>(cpu_) / 10'000 / seconds, per(static_cast<double>(cpu_), tokens_),
        per(static_cast<double>(cpu_), streams_), first_.json().c_str(), hop_.json().c_str(),
        whole_.json().c_str(), late_.json().c_str(), ull(refused_), ull(given_up_),
        ull(faults_.lost), ull(faults_.repeated), ull(faults_.late), ull(faults_.foreign),
        ull(faults_.broken_streams));
  }

  static unsigned long long ull(std::uint64_t n) { return n; }

  options o_;
  std::mt19937_64 random_;
  poller poller_;
  char buffer_[65536];
  std::vector<connection*> idle_;
  std::vector<connection*> dead_;
  std::uint64_t next_number_ = 0, started_ = 0, living_ = 0;
  std::int64_t begin_ = 0, window_begin_ = 0, window_end_ = 0, due_ = 0;
  std::int64_t cpu_ = 0, measured_from_ = 0, measured_for_ = 1;
  bool measuring_ = false, over_ = false;
  int shown_ = 0;
  std::deque<std::pair<std::int64_t, std::uint64_t>> patient_; // when due, number
  std::unordered_map<std::uint64_t, connection*> under_way_;   // by number; with patience only
  std::uint64_t tokens_ = 0, streams_ = 0, refused_ = 0, given_up_ = 0; // in the window
  samples first_, hop_, whole_, late_;
  faults faults_;
};

options read_options(int argc, char** argv) {
  options o;
  auto speaks = [&o](const std::string& name) {
    o.speaks = name == "parlor" ? wire::parlor : name == "accept" ? wire::accept : wire::openai;
  };
  read_arguments(argc, argv,
                 {{"--wire", speaks},
                  {"--port", to(o.port)},
                  {"--model", to(o.model)},
                  {"--warmup", to(o.warmup)},
                  {"--seconds", to(o.seconds)},
                  {"--closed", to(o.closed)},
                  {"--open", to(o.open)},
                  {"--count", to(o.count)},
                  {"--first", to(o.first)},
                  {"--patience", to(o.patience)},
                  {"--pid", to(o.pids)},
                  {"--label", to(o.label)}},
                 {{"--keep", &o.keep}, {"--whole", &o.whole}});
  auto what = parse_plan(o.model);
  if (!what)
    throw std::invalid_argument("--model is no plan");
  if ((o.closed > 0) == (o.open > 0))
    throw std::invalid_argument("one of --closed and --open");
  o.what = *what;
  return o;
}

} // namespace

int main(int argc, char** argv) try {
  raise_descriptors();
  return generator{read_options(argc, argv)}.run();
} catch (const std::exception& e) {
  std::fprintf(stderr, "load: %s\n", e.what());
  return 2;
}
