#include "support/faulty_upstream.hpp"

#include <boost/asio.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

namespace parlor::testing {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;
using std::chrono::milliseconds;

struct faulty_upstream::server {
  explicit server(unsigned short port)
      : acceptor{io, tcp::endpoint{asio::ip::address_v4::loopback(), port}} {
    accept();
    thread = std::thread{[this] { io.run(); }};
  }
  ~server() {
    io.stop();
    thread.join();
  }
  void accept();
  // One line a request: how it was played, when it came and when it ended, and who ended it.
  struct line {
    std::string script;
    std::int64_t began = 0; // microseconds since 1970
    std::int64_t ended = 0;
    const char* by = "";
  };
  std::string log() const;

  std::atomic<int> requests{0};
  std::atomic<int> aborted{0};
  std::atomic<int> connections{0};
  mutable std::mutex mutex;
  std::string body;
  std::string header;
  std::vector<line> lines; // guarded
  std::map<std::string, std::size_t>
      turns; // guarded; of scripts that change from request to request
  asio::io_context io{1};
  tcp::acceptor acceptor;
  std::thread thread;
};

namespace {

std::string chunk(std::string_view data) {
  std::array<char, 20> size{};
  std::snprintf(size.data(), size.size(), "%zx\r\n", data.size());
  return size.data() + std::string{data} + "\r\n";
}

std::string event(std::string_view data) { return chunk("data: " + std::string{data} + "\n\n"); }

std::string piece(int n) {
  return event(R"({"id":"c","object":"chat.completion.chunk","model":"upstream-1","choices":[)"
               R"({"index":0,"delta":{"content":")" +
               std::string{n > 1 ? " " : ""} + "word" + std::to_string(n) +
               R"("},"finish_reason":null}]})");
}

std::string pieces(int n) {
  std::string out;
  for (int i = 1; i <= n; ++i)
    out += piece(i);
  return out;
}

const std::string finish = event(R"({"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]})");
const std::string used =
    event(R"({"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}})");
const std::string done = event("[DONE]");
const std::string last_chunk = "0\r\n\r\n";
const std::string stream_header =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    "Transfer-Encoding: chunked\r\n\r\n";

std::string plain(std::string_view status, std::string_view type, std::string_view body,
                  std::string_view more = "") {
  return "HTTP/1.1 " + std::string{status} + "\r\nContent-Type: " + std::string{type} +
         "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + std::string{more} +
         "\r\n" + std::string{body};
}

std::int64_t now_us() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

} // namespace

std::string faulty_upstream::server::log() const {
  std::lock_guard lock{mutex};
  std::string out = "[";
  for (auto& l : lines)
    out += std::string{out.size() > 1 ? "," : ""} + "{\"script\":\"" + l.script +
           "\",\"began\":" + std::to_string(l.began) + ",\"ended\":" + std::to_string(l.ended) +
           ",\"by\":\"" + l.by + "\"}";
  return out + "]";
}

class faulty_upstream::session : public std::enable_shared_from_this<session> {
public:
  session(tcp::socket s, server& of)
      : socket_{std::move(s)}, timer_{socket_.get_executor()}, server_{of} {}

  void start() {
    boost::system::error_code ec;
    socket_.set_option(tcp::no_delay{true}, ec);
    read_header();
  }

private:
  void read_header() {
    asio::async_read_until(socket_, asio::dynamic_buffer(in_, 8 << 20), "\r\n\r\n",
                           [self = shared_from_this()](auto ec, std::size_t n) {
                             if (!ec)
                               self->read_body(n);
                           });
  }

  void read_body(std::size_t header_size) {
    auto header = in_.substr(0, header_size);
    std::string low = header;
    for (auto& c : low)
      c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    std::size_t length = 0;
    if (auto at = low.find("content-length:"); at != low.npos)
      length = std::strtoul(low.c_str() + at + 15, nullptr, 10);
    auto want = header_size + length;
    auto have = in_.size();
    asio::async_read(
        socket_, asio::dynamic_buffer(in_, 64 << 20),
        asio::transfer_exactly(want > have ? want - have : 0),
        [self = shared_from_this(), header, header_size, length](auto ec, std::size_t) {
          if (ec)
            return;
          auto body = self->in_.substr(header_size, length);
          self->in_.erase(0, header_size + length);
          self->answer(header, body);
        });
  }

  void answer(const std::string& header, const std::string& body) {
    auto from = header.find(" /") + 2;
    auto path = header.substr(from, header.find(' ', from) - from);
    if (path == "_stats")
      return write(plain("200 OK", "application/json",
                         "{\"requests\":" + std::to_string(server_.requests) +
                             ",\"aborted\":" + std::to_string(server_.aborted) +
                             ",\"connections\":" + std::to_string(server_.connections) +
                             ",\"log\":" + server_.log() + "}"),
                   [this] { read_header(); });
    if (path == "_last") {
      std::unique_lock lock{server_.mutex};
      auto last = server_.header + server_.body;
      lock.unlock();
      return write(plain("200 OK", "text/plain", last), [this] { read_header(); });
    }
    auto script = path.substr(0, path.find('/'));
    {
      std::lock_guard lock{server_.mutex};
      server_.header = header;
      server_.body = body;
      if (auto comma = script.find(','); comma != script.npos) {
        auto turn = server_.turns[script]++;
        for (; turn > 0 && comma != script.npos; --turn) {
          script.erase(0, comma + 1);
          comma = script.find(',');
        }
        script.resize(std::min(script.find(','), script.size()));
      }
      line_ = server_.lines.size();
      server_.lines.push_back({script, now_us(), 0, ""});
    }
    ++server_.requests;
    int n = 0;
    auto dash = script.find('-');
    bool numbered =
        dash != script.npos && std::isdigit(static_cast<unsigned char>(script[dash + 1]));
    if (numbered) {
      n = std::atoi(script.c_str() + dash + 1);
      script.resize(dash);
    }
    watch();
    play(script, numbered, n);
  }

  void play(const std::string& script, bool numbered, int n) {
    auto again = [this] { next_request(); };
    auto close = [this] { close_now(); };
    if (script == "ok" || script == "usage")
      write(stream_header + pieces(numbered ? n : 3) + finish + (script == "usage" ? used : "") +
                done + last_chunk,
            again);
    else if (script == "slow")
      later(milliseconds{n},
            [=, this] { write(stream_header + pieces(3) + finish + done + last_chunk, again); });
    else if (script == "pace")
      write(stream_header, [this, n] { pace(1, milliseconds{n}); });
    else if (script == "hang")
      return;
    else if (script == "drip")
      write(stream_header, [this] { drip(); });
    else if (script == "stall")
      write(stream_header + pieces(n), [] {});
    else if (script == "cut")
      write(stream_header + pieces(n) + last_chunk, again);
    else if (script == "eof")
      write(stream_header + pieces(2), close);
    else if (script == "done-only")
      write(stream_header + pieces(2) + done + last_chunk, again);
    else if (script == "rst")
      write(stream_header + pieces(2), [this] {
        later(milliseconds{20}, [this] {
          boost::system::error_code ec;
          socket_.set_option(asio::socket_base::linger{true, 0}, ec);
          close_now();
        });
      });
    else if (script == "garbage")
      write(stream_header + pieces(1) + event("{\"choices\":[{") + finish + done + last_chunk,
            again);
    else if (script == "error")
      write(
          stream_header + pieces(1) +
              event(
                  R"({"error":{"message":"secret prompt","type":"server_error","code":"overloaded"}})") +
              last_chunk,
          again);
    else if (script == "refuse")
      close_now();
    else if (script == "html")
      write(plain("200 OK", "text/html", "<html>portal</html>"), again);
    else if (script == "json-error")
      write(plain("200 OK", "application/json", R"({"error":{"message":"x","code":"quota"}})"),
            again);
    else if (script == "redirect")
      write(plain("302 Found", "text/plain", "", "Location: /ok/v1/chat/completions\r\n"), again);
    else if (script == "huge")
      write(stream_header + chunk("data: " + std::string(2 << 20, 'x')), [] {});
    else if (script == "split")
      split(std::make_shared<std::string>(stream_header + pieces(3) + finish + done + last_chunk),
            0);
    else
      error_status(script, numbered, n);
  }

  void error_status(const std::string& status, bool numbered, int n) {
    std::string more = numbered ? "Retry-After: " + std::to_string(n) + "\r\n" : "";
    write(plain(status + " Rehearsed", "application/json",
                R"({"error":{"message":"secret prompt","type":"rehearsed","code":"on_request"}})",
                more),
          [this] { next_request(); });
  }

  void pace(int n, milliseconds each) {
    write(piece(n), [=, this] { later(each, [=, this] { pace(n + 1, each); }); });
  }
  void drip() {
    write(chunk(": still there\n"), [this] { later(milliseconds{100}, [this] { drip(); }); });
  }
  void split(std::shared_ptr<std::string> text, std::size_t at) {
    if (at == text->size())
      return next_request();
    write(text->substr(at, 1), [=, this] { split(text, at + 1); });
  }

  template <class F>
  void write(std::string text, F then) {
    auto kept = std::make_shared<std::string>(std::move(text));
    asio::async_write(socket_, asio::buffer(*kept),
                      [self = shared_from_this(), kept, then](auto ec, std::size_t) {
                        if (!ec && self->socket_.is_open())
                          then();
                      });
  }
  template <class F>
  void later(milliseconds delay, F then) {
    timer_.expires_after(delay);
    timer_.async_wait([self = shared_from_this(), then](auto ec) {
      if (!ec && self->socket_.is_open())
        then();
    });
  }

  // While an answer is under way, whatever ends the connection is the client's doing.
  void watch() {
    busy_ = true;
    socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this()](auto ec) {
      if (ec || !self->busy_)
        return;
      char c;
      boost::system::error_code peek;
      self->socket_.non_blocking(true, peek);
      auto n = self->socket_.receive(asio::buffer(&c, 1), tcp::socket::message_peek, peek);
      if (n > 0 || peek == asio::error::would_block)
        return;
      ++self->server_.aborted;
      self->over("client");
      self->close_now();
    });
  }
  void over(const char* by) {
    std::lock_guard lock{server_.mutex};
    if (auto& l = server_.lines[line_]; busy_ && l.ended == 0) {
      l.ended = now_us();
      l.by = by;
    }
  }
  void next_request() {
    over("server");
    busy_ = false;
    boost::system::error_code ec;
    socket_.cancel(ec);
    read_header();
  }
  void close_now() {
    over("server");
    busy_ = false;
    boost::system::error_code ec;
    timer_.cancel();
    socket_.close(ec);
  }

  tcp::socket socket_;
  asio::steady_timer timer_;
  server& server_;
  std::string in_;
  std::size_t line_ = 0; // of the server's log
  bool busy_ = false;
};

void faulty_upstream::server::accept() {
  acceptor.async_accept([this](boost::system::error_code ec, tcp::socket socket) {
    if (!ec) {
      ++connections;
      std::make_shared<session>(std::move(socket), *this)->start();
    }
    if (ec != asio::error::operation_aborted)
      accept();
  });
}

faulty_upstream::faulty_upstream(unsigned short port) : server_{std::make_unique<server>(port)} {}
faulty_upstream::~faulty_upstream() = default;

unsigned short faulty_upstream::port() const { return server_->acceptor.local_endpoint().port(); }
std::string faulty_upstream::base_url(const std::string& script) const {
  return "http://127.0.0.1:" + std::to_string(port()) + "/" + script + "/v1";
}
int faulty_upstream::requests() const { return server_->requests; }
int faulty_upstream::aborted() const { return server_->aborted; }
int faulty_upstream::connections() const { return server_->connections; }
std::string faulty_upstream::last_body() const {
  std::lock_guard lock{server_->mutex};
  return server_->body;
}
std::string faulty_upstream::last_header() const {
  std::lock_guard lock{server_->mutex};
  return server_->header;
}

} // namespace parlor::testing
