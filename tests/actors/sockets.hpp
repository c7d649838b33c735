#pragma once
// WebSockets before the edge of front.hpp: what a test sends is read at once, and what comes is
// kept with its time.

#include "front.hpp"
#include "support/mute_exchange.hpp"

#include <boost/json.hpp>

namespace parlor::test {

namespace bj = boost::json;

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

  void push(http::chunk piece) override {
    unread += slow ? piece->size() : 0;
    log.push_back({time.now_ms(), *piece});
  }
  void close() override { close(http::close_code::normal, {}); }
  void close(http::close_code code, std::string reason) override {
    closed.emplace_back(code, std::move(reason));
  }
  void abort() override { ++aborted; }
  std::size_t backlog() const noexcept override { return unread; }
  void watch(std::function<void(http::signal)> f) override { on_signal = std::move(f); }

  /// `type`, with the request in brackets and what matters of the rest: "content[r1] hi".
  std::vector<std::string> words() const {
    std::vector<std::string> out;
    for (auto& t : log) {
      auto o = bj::parse(t.text).as_object();
      auto text = [&](const char* name) {
        auto* v = o.if_contains(name);
        return v == nullptr ? std::string{} : std::string{v->as_string()};
      };
      auto line = text("type");
      if (o.contains("request_id"))
        line += "[" + text("request_id") + "]";
      if (line.starts_with("error"))
        line += " " + text("code");
      else if (line.starts_with("content_finished"))
        line += " " + text("full_content");
      else if (line.starts_with("content"))
        line +=
            " " + text("content") + (o.contains("full_content") ? "|" + text("full_content") : "");
      out.push_back(line);
    }
    return out;
  }
  std::vector<std::string> words_from(std::size_t n) const {
    auto all = words();
    return {all.begin() + static_cast<std::ptrdiff_t>(std::min(n, all.size())), all.end()};
  }
  /// When messages of that kind came.
  std::vector<std::int64_t> times(const std::string& type) const {
    std::vector<std::int64_t> out;
    for (auto& t : log)
      if (bj::parse(t.text).at("type").as_string() == type)
        out.push_back(t.at);
    return out;
  }
  std::vector<std::uint64_t> seqs() const {
    std::vector<std::uint64_t> out;
    for (auto& t : log) {
      auto said = bj::parse(t.text);
      if (auto* v = said.as_object().if_contains("seq"))
        out.push_back(v->to_number<std::uint64_t>());
    }
    return out;
  }
};
using fake_socket_ptr = std::shared_ptr<fake_socket>;

struct upgrading_peer final : mute_exchange {
  explicit upgrading_peer(virtual_time& t) : time{t} {}
  virtual_time& time;
  fake_socket_ptr socket;

  http::websocket_ptr upgrade(const http::websocket_options&, http::message_sink sink) override {
    socket = std::make_shared<fake_socket>(time, std::move(sink));
    return socket;
  }
};

struct socket_house : front {
  std::vector<fake_socket_ptr> sockets;

  ~socket_house() {
    desk = nullptr;
    stop();
    for (auto& s : sockets) {
      s->on_signal = {};
      s->sink = {};
    }
  }
  std::shared_ptr<upgrading_peer> knock(language lang = language::en) {
    auto p = std::make_shared<upgrading_peer>(time);
    auto v = asking_for(visit::kind::socket);
    v.exchange = p;
    v.lang = lang;
    caf::anon_send(desk, visit_ptr{std::make_shared<const visit>(std::move(v))});
    time.settle();
    return p;
  }
  fake_socket_ptr connect(language lang = language::en) {
    auto p = knock(lang);
    REQUIRE(p->socket);
    sockets.push_back(p->socket);
    return p->socket;
  }
  void send(const fake_socket_ptr& s, std::string text) { // gives nobody time to act on it
    s->sink(std::make_shared<const std::string>(std::move(text)));
  }
  void tell(const fake_socket_ptr& s, std::string text) {
    send(s, std::move(text));
    time.settle();
  }
  static std::string question(const std::string& task, const std::string& request_id,
                              const std::string& more = {}) {
    return R"({"type":"question","content":"say )" + task + R"(","request_id":")" + request_id +
           "\"" + more + "}";
  }
  /// The task is known to the model by its name, and to this socket by its request.
  void ask_on(const fake_socket_ptr& s, const std::string& task, const std::string& request_id,
              const std::string& more = {}) {
    tell(s, question(task, request_id, more));
  }
  void signal(const fake_socket_ptr& s, http::signal what) {
    REQUIRE(s->on_signal);
    s->on_signal(what);
    time.settle();
  }
  std::size_t refusals(const fake_socket_ptr& s, const std::string& code) {
    std::size_t n = 0;
    for (auto& w : s->words())
      n += w.starts_with("error") && w.ends_with(" " + code);
    return n;
  }
};

using strings = std::vector<std::string>;

} // namespace parlor::test
