// Bytes on a connection, through the gate, Beast and the server's own handling, over a real socket.
// Which requests come out, and whether the rest is refused, does not depend on how the bytes were
// split; nothing is handled after a refusal; each request has one answer.

#include "http/router.hpp"
#include "http/server.hpp"

#include "fuzz.hpp"

#include <boost/asio/io_context.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <vector>

using namespace parlor;

namespace {

constexpr std::size_t longest = 12 * 1024; // below the buffer, whose limit depends on the split

struct bench {
  std::vector<std::string> handled; // and a last entry for a refusal
  http::router routes;
  boost::asio::io_context io{1};
  http::server server{io, options(),
                      [this](http::request&& r, const http::exchange_ptr& e) {
                        handled.push_back(r.method + ' ' + r.target + '\n' + r.body);
                        for (auto& h : r.headers)
                          handled.back() += '\n' + h.name + ": " + h.value;
                        auto m = routes.find(r.method, r.path);
                        for (auto& [name, value] : m.params)
                          fuzz::must(value.find('\0') == value.npos &&
                                         value.find('/') == value.npos,
                                     "a name is one segment");
                        http::response answer;
                        answer.body = "fine";
                        e->respond(std::move(answer));
                      },
                      [this](errc code, const http::request&) {
                        handled.push_back("refused " + std::string{to_string(code)});
                        http::response answer;
                        answer.status = static_cast<unsigned>(describe(code).http_status);
                        return answer;
                      }};

  bench() {
    routes.add("GET", "/a/{id}", 1);
    routes.add("POST", "/a/{id}/b", 2);
    server.start();
    io.poll();
  }
  static http::server_options options() {
    http::server_options o;
    o.port = 0;
    o.max_body = 4096;
    return o;
  }

  /// What came out of these pieces, and the answers.
  std::vector<std::string> run(std::initializer_list<std::string_view> pieces, std::string& said) {
    handled.clear();
    said.clear();
    auto fd = connected();
    for (auto p : pieces) {
      if (!p.empty())
        send(fd, p.data(), p.size(), MSG_NOSIGNAL);
      settle(fd, said);
    }
    close(fd);
    while (server.stats().connections_open > 0)
      io.run_one();
    return handled;
  }

private:
  int connected() {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(server.port());
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int tried = 0; tried < 1000; ++tried) { // so many come that a port may not be free yet
      auto fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      int on = 1;
      linger now{1, 0}; // leaves no port waiting behind
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
      if (connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0)
        return fd;
      std::perror("connect");
      close(fd);
      usleep(1000);
    }
    fuzz::must(false, "it listens");
    return -1;
  }

  void settle(int fd, std::string& said) {
    for (int idle = 0; idle < 3;) {
      idle = io.poll() > 0 ? 0 : idle + 1;
      char buffer[4096];
      ssize_t n = 0;
      while ((n = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT)) > 0)
        said.append(buffer, static_cast<std::size_t>(n)), idle = 0;
    }
  }
};

std::size_t count(std::string_view text, std::string_view what) {
  std::size_t n = 0;
  for (auto at = text.find(what); at != text.npos; at = text.find(what, at + 1))
    ++n;
  return n;
}

} // namespace

PARLOR_FUZZ(input) {
  static bench b;
  if (input.size() > longest)
    return;
  std::string said, said_split;
  auto whole = b.run({input}, said);
  auto at = fuzz::split_of(input);
  auto split = b.run({input.substr(0, at), input.substr(at)}, said_split);
  // Said only to a client that waits with its body.
  fuzz::must(whole == split, "a split changes nothing");
  auto answers = count(said, "HTTP/1.1 ") - count(said, "HTTP/1.1 100 Continue");
  fuzz::must(answers == whole.size(), "one answer each");
  for (std::size_t i = 0; i + 1 < whole.size(); ++i)
    fuzz::must(!whole[i].starts_with("refused "), "nothing is handled after a refusal");
}
