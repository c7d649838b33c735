#pragma once
// WebSockets before the edge of front.hpp: what a test sends is read at once, and what comes is
// kept with its time.

#include "front.hpp"
#include "support/mute_exchange.hpp"

namespace parlor::test {

struct fake_socket final : http::websocket {
  struct told {
    std::int64_t at;
    std::string text;
  };
  explicit fake_socket(virtual_time& t, http::message_sink s) : time{t}, sink{std::move(s)} {}
  virtual_time& time;
  http::message_sink sink;
  std::vector<told> log;
  std::size_t unread = 0;
  bool slow = false; // what it is sent stays unread
  int aborted = 0;
  std::vector<std::pair<http::close_code, std::string>> closed;
  std::function<void(http::signal)> on_signal;

  void push(http::chunk piece) override;
  void close() override { close(http::close_code::normal, {}); }
  void close(http::close_code code, std::string reason) override;
  void abort() override { ++aborted; }
  std::size_t backlog() const noexcept override { return unread; }
  void watch(std::function<void(http::signal)> f) override { on_signal = std::move(f); }

  /// `type`, with the request in brackets and what matters of the rest: "content[r1] hi".
  std::vector<std::string> words() const;
  std::vector<std::string> words_from(std::size_t n) const;
  /// When messages of that kind came.
  std::vector<std::int64_t> times(const std::string& type) const;
  std::vector<std::uint64_t> seqs() const;
};
using fake_socket_ptr = std::shared_ptr<fake_socket>;

struct upgrading_peer final : mute_exchange {
  explicit upgrading_peer(virtual_time& t) : time{t} {}
  virtual_time& time;
  fake_socket_ptr socket;

  http::websocket_ptr upgrade(const http::websocket_options&, http::message_sink sink) override;
};

struct socket_house : front {
  std::vector<fake_socket_ptr> sockets;

  socket_house();
  ~socket_house();
  std::shared_ptr<upgrading_peer> knock(language lang = language::en);
  fake_socket_ptr connect(language lang = language::en);
  void send(const fake_socket_ptr& s, std::string text); // gives nobody time to act on it
  void tell(const fake_socket_ptr& s, std::string text);
  static std::string question(const std::string& task, const std::string& request_id,
                              const std::string& more = {});
  /// The task is known to the model by its name, and to this socket by its request.
  void ask_on(const fake_socket_ptr& s, const std::string& task, const std::string& request_id,
              const std::string& more = {});
  void signal(const fake_socket_ptr& s, http::signal what);
  std::size_t refusals(const fake_socket_ptr& s, const std::string& code);
};

using strings = std::vector<std::string>;

} // namespace parlor::test
