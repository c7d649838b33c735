// A very lean OpenAI-compatible upstream: one thread, epoll, keep-alive, chunked SSE, one chunk a
// token as real providers write them. plan.hpp says what can be asked of it.
//   upstream [port]      prints "listening 127.0.0.1:<port>"; runs until it is killed

#include "plan.hpp"
#include "poller.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <queue>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace bench;
using namespace std::string_view_literals;

// Tokens written to one stream before others get their turn.
constexpr std::uint32_t tokens_a_turn = 64;

struct connection {
  int fd = -1;
  std::string in;
  std::string out; // what the socket would not take
  bool busy = false;
  bool broken = false;
  bool stalled = false; // wants to say more, waits for room
  bool closing = false; // after this answer
  plan what;
  std::uint64_t stream = 0;
  std::uint32_t sent = 0;
  std::int64_t started = 0;
  std::string head;       // of every event
  std::string token_head; // of a token's event, up to its text
};

void append_chunk(std::string& out, std::string_view event) {
  char size[16];
  auto [end, ec] = std::to_chars(size, size + sizeof size, event.size(), 16);
  out.append(size, end);
  out += "\r\n";
  out += event;
  out += "\r\n";
}

constexpr auto token_tail = R"("},"logprobs":null,"finish_reason":null}],"usage":null})"
                            "\n\n"sv;

class upstream {
public:
  explicit upstream(unsigned short port) : listener_{listen_on(port)} {
    poller_.add(listener_, nullptr, EPOLLIN);
  }

  void run() {
    for (;;) {
      std::int64_t wait = -1;
      if (!ready_.empty())
        wait = 0;
      else if (!due_.empty())
        wait = std::max<std::int64_t>(0, due_.top().at - now_ns());
      poller_.wait(wait, [this](void* tag, std::uint32_t events) {
        if (tag == nullptr)
          accept_all();
        else
          on_event(*static_cast<connection*>(tag), events);
      });
      auto now = now_ns();
      while (!due_.empty() && due_.top().at <= now) {
        auto* c = due_.top().c;
        due_.pop();
        ready_.push_back(c);
      }
      turn_.swap(ready_);
      for (auto* c : turn_)
        if (!c->broken)
          speak(*c);
      turn_.clear();
      bury();
    }
  }

private:
  struct due {
    std::int64_t at;
    connection* c;
    bool operator<(const due& o) const { return at > o.at; }
  };

  void accept_all() {
    for (;;) {
      int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0)
        return;
      no_delay(fd);
      auto* c = new connection;
      c->fd = fd;
      poller_.add(fd, c);
    }
  }

  void on_event(connection& c, std::uint32_t events) {
    if (c.broken)
      return;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
      char buffer[16384];
      for (;;) {
        auto n = recv(c.fd, buffer, sizeof buffer, 0);
        if (n > 0) {
          c.in.append(buffer, static_cast<std::size_t>(n));
          continue;
        }
        if (n < 0 && errno == EAGAIN)
          break;
        return lose(c);
      }
    }
    if ((events & EPOLLOUT) && !c.out.empty()) {
      auto held = std::move(c.out);
      c.out.clear();
      write(c, held);
      if (c.out.empty() && c.closing && !c.busy)
        return lose(c);
      if (c.out.empty() && std::exchange(c.stalled, false))
        ready_.push_back(&c);
    }
    if (!c.busy && !c.broken)
      take_request(c);
  }

  void take_request(connection& c) {
    auto end = c.in.find("\r\n\r\n");
    if (end == c.in.npos)
      return;
    auto head = std::string_view{c.in}.substr(0, end + 2);
    std::size_t length = 0;
    for (auto name : {"\r\nContent-Length: "sv, "\r\ncontent-length: "sv})
      if (auto at = head.find(name); at != head.npos)
        length = std::strtoul(head.data() + at + name.size(), nullptr, 10);
    if (c.in.size() < end + 4 + length)
      return;
    auto body = std::string_view{c.in}.substr(end + 4, length);
    std::string model{text_after(body, R"("model":")", "\"")};
    auto asked = parse_plan(model);
    auto mark = body.rfind(stream_mark);
    auto known = head.starts_with("POST /v1/chat/completions ") && asked && mark != body.npos;
    auto whole = body.find(R"("stream":true)") == body.npos;
    if (known)
      c.stream = std::strtoull(body.data() + mark + stream_mark.size(), nullptr, 10);
    c.closing = head.find("\r\nConnection: close\r\n") != head.npos;
    c.in.erase(0, end + 4 + length);
    if (!known)
      return write(c, "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n"
                      "Content-Length: 34\r\n\r\n{\"error\":{\"code\":\"no_bench_plan\"}}\n");
    if (whole)
      say_whole(c, *asked, model);
    else
      begin(c, *asked, model);
  }

  static std::string_view text_after(std::string_view in, std::string_view mark,
                                     std::string_view until) {
    auto at = in.find(mark);
    if (at == in.npos)
      return {};
    in.remove_prefix(at + mark.size());
    return in.substr(0, in.find(until));
  }

  // All tokens at once, in one document, whatever pace was asked for.
  void say_whole(connection& c, const plan& asked, const std::string& model) {
    std::string text;
    auto stamp = std::to_string(now_ns());
    for (std::uint32_t n = 0; n < asked.tokens; ++n)
      text += std::to_string(c.stream) + '.' + std::to_string(n) + '.' + stamp + ' ';
    auto n = std::to_string(asked.tokens);
    auto body =
        R"({"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":")" +
        model + R"(","choices":[{"index":0,"message":{"role":"assistant","content":")" + text +
        R"("},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":3,)"
        R"("completion_tokens":)" +
        n + R"(,"total_tokens":)" + std::to_string(asked.tokens + 3) + "}}\n";
    std::string out = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    if (c.closing)
      out += "Connection: close\r\n";
    write(c, out + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
    if (c.closing && c.out.empty())
      lose(c);
    else if (!c.broken && !c.in.empty())
      take_request(c);
  }

  void begin(connection& c, const plan& asked, const std::string& model) {
    c.busy = true;
    c.what = asked;
    c.sent = 0;
    c.started = now_ns();
    auto common = R"(data: {"id":"chatcmpl-bench","object":"chat.completion.chunk",)"
                  R"("created":1700000000,"model":")" +
                  model + R"(","system_fingerprint":"fp_bench","choices":[)";
    c.token_head = common + R"({"index":0,"delta":{"content":")";
    std::string out = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                      "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n";
    out += c.closing ? "Connection: close\r\n\r\n" : "\r\n";
    append_chunk(out, common + R"({"index":0,"delta":{"role":"assistant","content":""})"
                               R"(,"logprobs":null,"finish_reason":null}],"usage":null})"
                               "\n\n");
    c.head = std::move(common);
    write(c, out);
    if (asked.first_ms > 0)
      due_.push({c.started + asked.first_ms * std::int64_t{1'000'000}, &c});
    else
      ready_.push_back(&c);
  }

  // Writes what is due now, a burst a write.
  void speak(connection& c) {
    std::string out, event;
    auto first = c.started + c.what.first_ms * std::int64_t{1'000'000};
    for (std::uint32_t written = 0; c.sent < c.what.tokens;) {
      if (c.broken)
        return;
      if (!c.out.empty()) {
        c.stalled = true; // on_event() goes on when there is room
        return;
      }
      if (written >= tokens_a_turn) {
        ready_.push_back(&c);
        return;
      }
      if (c.what.per_second > 0) {
        auto at = first + std::int64_t{c.sent} * 1'000'000'000 / c.what.per_second;
        if (at > now_ns()) {
          due_.push({at, &c});
          return;
        }
      }
      out.clear();
      auto stamp = now_ns();
      for (std::uint32_t i = 0; i < c.what.burst && c.sent < c.what.tokens;
           ++i, ++c.sent, ++written) {
        event = c.token_head;
        char number[64];
        auto* end = std::to_chars(number, number + 20, c.stream).ptr;
        *end++ = '.';
        end = std::to_chars(end, end + 10, c.sent).ptr;
        *end++ = '.';
        end = std::to_chars(end, end + 20, stamp).ptr;
        *end++ = ' ';
        event.append(number, end);
        event += token_tail;
        append_chunk(out, event);
      }
      write(c, out);
    }
    finish(c);
  }

  void finish(connection& c) {
    auto n = std::to_string(c.what.tokens);
    std::string out;
    append_chunk(
        out, c.head +
                 R"({"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null})"
                 "\n\n");
    append_chunk(out, c.head + R"(],"usage":{"prompt_tokens":3,"completion_tokens":)" + n +
                          R"(,"total_tokens":)" + std::to_string(c.what.tokens + 3) + "}}\n\n");
    append_chunk(out, "data: [DONE]\n\n");
    out += "0\r\n\r\n";
    c.busy = false;
    write(c, out);
    if (c.closing && c.out.empty())
      lose(c);
    else if (!c.broken && !c.in.empty())
      take_request(c);
  }

  void write(connection& c, std::string_view bytes) {
    if (c.broken)
      return;
    if (c.out.empty()) {
      auto n = send(c.fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n < 0 && errno != EAGAIN)
        return lose(c);
      bytes.remove_prefix(n < 0 ? 0 : static_cast<std::size_t>(n));
    }
    c.out += bytes;
  }

  // The connection may still be in a queue or in the events at hand: bury() deletes it after these.
  void lose(connection& c) {
    if (!c.broken) {
      c.broken = true;
      ::close(c.fd);
      lost_.push_back(&c);
    }
  }

  void bury() {
    if (lost_.empty())
      return;
    std::vector<due> kept;
    for (; !due_.empty(); due_.pop())
      if (!due_.top().c->broken)
        kept.push_back(due_.top());
    for (auto& d : kept)
      due_.push(d);
    std::erase_if(ready_, [](auto* c) { return c->broken; });
    for (auto* c : lost_)
      delete c;
    lost_.clear();
  }

  poller poller_;
  int listener_;
  std::priority_queue<due> due_;
  std::vector<connection*> ready_;
  std::vector<connection*> turn_;
  std::vector<connection*> lost_;
};

} // namespace

int main(int argc, char** argv) try {
  upstream{static_cast<unsigned short>(argc > 1 ? std::atoi(argv[1]) : 0)}.run();
} catch (const std::exception& e) {
  std::fprintf(stderr, "upstream: %s\n", e.what());
  return 1;
}
