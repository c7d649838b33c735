#include "fan_source.hpp"

#include <algorithm>
#include <charconv>
#include <deque>
#include <utility>

namespace bench {

namespace {

// Whether a message with its body is at the front of `in`, and how long it is.
bool whole_message(std::string_view in, std::size_t& size) {
  auto end = in.find("\r\n\r\n");
  if (end == in.npos)
    return false;
  std::size_t length = 0;
  auto head = in.substr(0, end + 2);
  for (std::string_view mark : {"\r\nContent-Length: ", "\r\ncontent-length: "})
    if (auto at = head.find(mark); at != head.npos)
      std::from_chars(head.data() + at + mark.size(), head.data() + head.size(), length);
  size = end + 4 + length;
  return in.size() >= size;
}

// Sends a request and waits for its answer, which must be a 2xx; then the next.
class client final : public kept_connection {
public:
  client(poller& p, unsigned short port) : kept_connection{p, connect_to(port)} {}
  void send(std::string request) {
    if (std::exchange(busy_, true))
      waiting_.push_back(std::move(request));
    else
      write(request);
  }
  bool idle() const { return !busy_; }

private:
  void on_bytes(std::string& in) override {
    std::size_t size = 0;
    if (!whole_message(in, size))
      return;
    if (!in.starts_with("HTTP/1.1 2"))
      throw std::runtime_error("refused: " + in.substr(0, 600));
    in.erase(0, size);
    busy_ = !waiting_.empty();
    if (busy_) {
      write(waiting_.front());
      waiting_.pop_front();
    }
  }
  void on_end() override { throw std::runtime_error("a publisher's connection was closed"); }
  bool busy_ = false;
  std::deque<std::string> waiting_;
};

class clients {
public:
  clients(poller& p, unsigned short port, std::size_t count) {
    while (all_.size() < count)
      all_.push_back(std::make_unique<client>(p, port));
  }
  /// What is sent for one room stays in order: it has one connection.
  void post(std::string_view path, std::string_view type, std::uint32_t room,
            std::string_view body) {
    std::string request = "POST ";
    request += path;
    request += " HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: ";
    request += type;
    request += "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n";
    request += body;
    all_[room % all_.size()]->send(std::move(request));
  }
  bool idle() const {
    return std::all_of(all_.begin(), all_.end(), [](auto& c) { return c->idle(); });
  }

private:
  std::vector<std::unique_ptr<client>> all_;
};

class posts final : public event_source {
public:
  posts(poller& p, unsigned short port, std::size_t connections) : clients_{p, port, connections} {}
  bool ready() const override { return true; }
  void publish(std::uint32_t room, std::string_view text) override {
    clients_.post("/pub/" + std::to_string(room), "text/plain", room, text);
  }
  void finish() override {}

private:
  clients clients_;
};

constexpr std::string_view chunk_head =
    R"(data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,)"
    R"("model":"fan","system_fingerprint":"fp_bench","choices":[)";
constexpr std::string_view room_mark = "bench room ";

void append_chunk(std::string& out, std::string_view choice, std::string_view text,
                  std::string_view rest) {
  char size[16];
  auto* end = std::to_chars(size, size + sizeof size,
                            chunk_head.size() + choice.size() + text.size() + rest.size(), 16)
                  .ptr;
  out.append(size, end);
  ((((out += "\r\n") += chunk_head) += choice) += text) += rest;
  out += "\r\n";
}

class turns final : public event_source {
public:
  turns(poller& p, unsigned short port, unsigned short model_port, std::uint32_t rooms,
        std::string prefix)
      : poller_{p}, clients_{p, port, std::min<std::size_t>(rooms, 64)}, door_{*this},
        listener_{socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)},
        speakers_(rooms, nullptr) {
    int one = 1;
    setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    auto a = loopback(model_port);
    if (bind(listener_, reinterpret_cast<sockaddr*>(&a), sizeof a) < 0 ||
        listen(listener_, 4096) < 0)
      fail("listen");
    poller_.add(listener_, static_cast<endpoint*>(&door_), EPOLLIN);
    for (std::uint32_t room = 0; room < rooms; ++room) {
      auto n = std::to_string(room);
      clients_.post("/api/generate-async", "application/json", room,
                    R"({"prompt":")" + std::string{room_mark} + n + R"(","conversationId":")" +
                        prefix + n + R"("})");
    }
  }

  bool ready() const override { return speaking_ == speakers_.size() && clients_.idle(); }

  void publish(std::uint32_t room, std::string_view text) override {
    out_.clear();
    append_chunk(out_, R"({"index":0,"delta":{"content":")", text,
                 R"("},"logprobs":null,"finish_reason":null}],"usage":null})"
                 "\n\n");
    speakers_[room]->write(out_);
  }

  void finish() override {
    std::string out;
    append_chunk(out, R"({"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],)", "",
                 "\"usage\":null}\n\n");
    append_chunk(out, R"(],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}})",
                 "", "\n\n");
    out += "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";
    for (auto* s : speakers_)
      s->write(out);
  }

private:
  // One call of the server to its model.
  class speaker final : public kept_connection {
  public:
    speaker(turns& t, int fd) : kept_connection{t.poller_, fd}, owner_{t} {}

  private:
    void on_bytes(std::string& in) override {
      std::size_t size = 0;
      if (!whole_message(in, size))
        return;
      auto at = in.rfind(room_mark);
      std::uint32_t room = ~std::uint32_t{0};
      if (at != in.npos)
        std::from_chars(in.data() + at + room_mark.size(), in.data() + in.size(), room);
      in.erase(0, size);
      if (room >= owner_.speakers_.size() || owner_.speakers_[room] != nullptr)
        throw std::runtime_error("the model was asked for what nobody asked");
      std::string out = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                        "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";
      append_chunk(out, R"({"index":0,"delta":{"role":"assistant","content":""})", "",
                   R"(,"logprobs":null,"finish_reason":null}],"usage":null})"
                   "\n\n");
      write(out);
      owner_.speakers_[room] = this;
      ++owner_.speaking_;
    }
    void on_end() override {} // the server need not keep it
    turns& owner_;
  };

  struct door final : endpoint {
    explicit door(turns& t) : owner{t} {}
    void on_event(std::uint32_t) override {
      for (int fd;
           (fd = accept4(owner.listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;)
        owner.calls_.push_back(std::make_unique<speaker>(owner, fd));
    }
    turns& owner;
  };

  poller& poller_;
  clients clients_;
  door door_;
  int listener_;
  std::vector<std::unique_ptr<speaker>> calls_;
  std::vector<speaker*> speakers_; // by room
  std::size_t speaking_ = 0;
  std::string out_;
};

} // namespace

kept_connection::kept_connection(poller& p, int fd) : fd_{fd} {
  no_delay(fd);
  p.add(fd, static_cast<endpoint*>(this));
}

kept_connection::~kept_connection() { ::close(fd_); }

void kept_connection::write(std::string_view bytes) {
  if (out_.empty()) {
    auto n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != ENOTCONN)
      return; // reading tells
    bytes.remove_prefix(n < 0 ? 0 : static_cast<std::size_t>(n));
  }
  out_ += bytes;
}

void kept_connection::on_event(std::uint32_t events) {
  if ((events & EPOLLOUT) && !out_.empty()) {
    auto held = std::exchange(out_, {});
    write(held);
  }
  if (!(events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
    return;
  char buffer[16384];
  for (;;) {
    auto n = recv(fd_, buffer, sizeof buffer, 0);
    if (n < 0 && errno == EAGAIN)
      return;
    if (n <= 0) {
      on_end();
      return;
    }
    in_.append(buffer, static_cast<std::size_t>(n));
    on_bytes(in_);
  }
}

int connect_to(unsigned short port, int receive_buffer) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0)
    fail("socket");
  if (receive_buffer > 0)
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
  auto a = loopback(port);
  if (connect(fd, reinterpret_cast<sockaddr*>(&a), sizeof a) < 0 && errno != EINPROGRESS)
    fail("connect");
  return fd;
}

std::unique_ptr<event_source> make_posts(poller& p, unsigned short port, std::size_t connections) {
  return std::make_unique<posts>(p, port, connections);
}

std::unique_ptr<event_source> make_turns(poller& p, unsigned short port, unsigned short model_port,
                                         std::uint32_t rooms, std::string prefix) {
  return std::make_unique<turns>(p, port, model_port, rooms, std::move(prefix));
}

} // namespace bench
