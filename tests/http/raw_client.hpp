#pragma once
// A client made of one blocking socket, so that a test says every byte and sees every byte.
//
// Owner and thread: the test. Errors: a socket that cannot be made fails the test. Times are upper
// bounds: nothing waits longer than it must.

#include "support/catch.hpp"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

namespace parlor::testing {

enum class ending { open, closed, reset }; // of the server's side

class raw_client {
public:
  /// `receive_buffer` in bytes makes the client a slow reader for the server's kernel, too.
  explicit raw_client(unsigned short port, int receive_buffer = 0) : raw_client{} {
    if (receive_buffer != 0)
      setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    connect_to(port);
  }
  /// Has a socket, and no connection yet.
  raw_client() : fd_{socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)} {
    int on = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  /// Before connect_to: the client's own address, of those that this machine has ("127.0.0.2").
  void come_from(const char* address) {
    sockaddr_in own{};
    own.sin_family = AF_INET;
    REQUIRE(inet_pton(AF_INET, address, &own.sin_addr) == 1);
    REQUIRE(bind(fd_, reinterpret_cast<sockaddr*>(&own), sizeof own) == 0);
  }
  void connect_to(unsigned short port) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0);
  }
  ~raw_client() { leave(); }
  raw_client(const raw_client&) = delete;
  raw_client& operator=(const raw_client&) = delete;

  /// False once the server has cut the connection.
  bool send(std::string_view text) {
    while (!text.empty()) {
      auto n = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (n <= 0)
        return false;
      text.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }

  /// Says that nothing more will be sent; still reads.
  void half_close() { shutdown(fd_, SHUT_WR); }

  /// Ends the connection in the orderly way or, with `rst`, at once.
  void leave(bool rst = false) {
    if (fd_ < 0)
      return;
    linger now{1, 0};
    if (rst)
      setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    ::close(std::exchange(fd_, -1));
  }

  /// Reads until `wanted` has come (it stays in text()), the end, or the time is over. True if it
  /// has come.
  bool until(std::string_view wanted, std::chrono::milliseconds time = std::chrono::seconds{10}) {
    return until_true([&] { return text_.find(wanted) != std::string::npos; }, time);
  }

  /// Reads until the server ends the connection.
  ending until_end(std::chrono::milliseconds time = std::chrono::seconds{10}) {
    until_true([] { return false; }, time);
    return ending_;
  }

  /// Reads until the end of a chunked body, after which the connection goes on.
  bool until_terminator(std::chrono::milliseconds time = std::chrono::seconds{10}) {
    constexpr std::string_view end = "\r\n0\r\n\r\n";
    return until_true([&] { return std::string_view{text_}.ends_with(end); }, time);
  }

  /// Takes what there is, so many times with a pause between. False when nothing comes any more.
  bool dawdle(int times, std::chrono::milliseconds pause) {
    for (; times > 0; --times) {
      auto have = text_.size();
      if (!until_true([&] { return text_.size() > have; }, std::chrono::seconds{5}))
        return false;
      std::this_thread::sleep_for(pause);
    }
    return true;
  }

  template <class Done>
  bool until_true(Done done, std::chrono::milliseconds time) {
    auto due = std::chrono::steady_clock::now() + time;
    while (!done()) {
      auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          due - std::chrono::steady_clock::now());
      pollfd p{fd_, POLLIN, 0};
      if (ending_ != ending::open || left.count() <= 0 ||
          poll(&p, 1, static_cast<int>(left.count())) <= 0)
        return done();
      char buffer[64 * 1024];
      auto n = recv(fd_, buffer, sizeof buffer, 0);
      if (n == 0)
        ending_ = ending::closed;
      else if (n < 0)
        ending_ = errno == ECONNRESET ? ending::reset : ending::closed;
      else
        ++reads_, text_.append(buffer, static_cast<std::size_t>(n));
    }
    return true;
  }

  const std::string& text() const { return text_; }
  std::string take() {
    reads_ = 0;
    return std::exchange(text_, {});
  }
  /// How many times something was there to be read since the last take(). A reader that waits for
  /// each write sees each by itself.
  int reads() const { return reads_; }
  /// Its own.
  unsigned short port() const {
    sockaddr_in own{};
    socklen_t size = sizeof own;
    getsockname(fd_, reinterpret_cast<sockaddr*>(&own), &size);
    return ntohs(own.sin_port);
  }

private:
  int fd_;
  std::string text_;
  int reads_ = 0;
  ending ending_ = ending::open;
};

/// The body of a chunked answer, and whether it was whole.
struct unchunked {
  std::string body;
  bool terminated = false;
  bool valid = true; // as far as it came
};

inline unchunked dechunk(std::string_view answer) {
  unchunked out;
  auto head = answer.find("\r\n\r\n");
  if (head == std::string_view::npos)
    return out;
  auto rest = answer.substr(head + 4);
  for (;;) {
    auto line = rest.find("\r\n");
    if (line == std::string_view::npos)
      return out;
    std::size_t size = 0;
    for (char c : rest.substr(0, line)) {
      auto digit = std::string_view{"0123456789abcdef"}.find(c);
      if (digit == std::string_view::npos)
        return out.valid = false, out;
      size = size * 16 + digit;
    }
    rest.remove_prefix(line + 2);
    if (size == 0) {
      out.terminated = rest == "\r\n";
      return out;
    }
    out.body += rest.substr(0, size);
    if (rest.size() < size + 2)
      return out;
    if (rest.substr(size, 2) != "\r\n")
      return out.valid = false, out;
    rest.remove_prefix(size + 2);
  }
}

} // namespace parlor::testing
