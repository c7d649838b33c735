#pragma once
// The house of house.hpp with an edge before it, and connections that take what the test lets them.

#include "actors/edge.hpp"
#include "house.hpp"
#include "protocol/dialects/chat_sessions.hpp"
#include "protocol/dialects/generate_async.hpp"

namespace parlor::test {

struct peer final : http::exchange {
  std::vector<http::response> answers; // whole ones
  std::vector<http::response> heads;
  std::vector<http::chunk> body;
  int closed = 0;
  int aborted = 0;
  std::size_t unread = 0; // bytes
  bool slow = false;      // what it is sent stays unread
  std::size_t most = 0;   // that has ever been unread
  std::function<void(http::signal)> on_signal;

  void respond(http::response r) override { answers.push_back(std::move(r)); }
  void open(http::response head, std::string) override { heads.push_back(std::move(head)); }
  void push(http::chunk piece) override {
    if (slow)
      most = std::max(most, unread += piece->size());
    body.push_back(std::move(piece));
  }
  void close() override { ++closed; }
  void abort() override { ++aborted; }
  std::size_t backlog() const noexcept override { return unread; }
  void watch(std::function<void(http::signal)> f) override { on_signal = std::move(f); }

  std::string text() const {
    std::string all;
    for (auto& c : body)
      all += *c;
    return all;
  }
  bool told(std::string_view what) const { return text().find(what) != std::string::npos; }
  unsigned status() const {
    REQUIRE(answers.size() == 1);
    REQUIRE(heads.empty());
    return answers[0].status;
  }
  /// The numbers of the events, in the order in which they came.
  std::vector<std::uint64_t> ids() const {
    std::vector<std::uint64_t> all;
    auto t = text();
    for (auto at = t.find("id: "); at != std::string::npos; at = t.find("id: ", at + 1))
      all.push_back(std::stoull(t.substr(t.find('-', at) + 1)));
    return all;
  }
};
using peer_ptr = std::shared_ptr<peer>;

struct front : house {
  edge_options edging;
  edge_actor desk;
  bool draining = false;
  std::vector<peer_ptr> peers;
  std::int64_t watchers_before = stats_of_edges().watchers.load();

  front() {
    options.lost = [this](const session_key& k) {
      lost.push_back(k);
      caf::anon_send(desk, session_lost{std::make_shared<const session_key>(k)});
    };
  }
  ~front() {
    desk = nullptr;
    stop();
    for (auto& p : peers)
      p->on_signal = {};
  }
  void begin() {
    open();
    edging.epoch = world->epoch;
    edging.door = [this](const session_key&) { return door; };
    edging.archive = world->archive;
    edging.wall = world->wall;
    edging.draining = [this] { return draining; };
    desk = time.owned(time.system.spawn(edge, edging));
    edging.archive = nullptr;
    time.settle();
  }
  std::int64_t watchers() const { return stats_of_edges().watchers.load() - watchers_before; }

  peer_ptr send(visit v) { // without giving anybody time to act on it
    peers.push_back(std::make_shared<peer>());
    v.exchange = peers.back();
    caf::anon_send(desk, visit_ptr{std::make_shared<const visit>(std::move(v))});
    return peers.back();
  }
  peer_ptr serve(visit v) {
    auto p = send(std::move(v));
    time.settle();
    return p;
  }
  void signal(const peer_ptr& p, http::signal s) {
    REQUIRE(p->on_signal);
    p->on_signal(s);
    time.settle();
  }
  /// It reads all that it has been sent, and says so if that was a lot.
  bool drain(const peer_ptr& p) {
    if (std::exchange(p->unread, 0) <= http::exchange::high_water)
      return false;
    signal(p, http::signal::drained);
    return true;
  }
  visit asking_for(visit::kind what, std::string task = {}) const {
    visit v;
    v.what = what;
    v.key = room;
    v.task = std::move(task);
    if (what == visit::kind::chat_stream || what == visit::kind::session_stream ||
        what == visit::kind::task_stream || what == visit::kind::chat)
      v.shape = &chat_sessions::shape;
    return v;
  }
  visit taking(visit::kind what, const std::string& task) const {
    auto v = asking_for(what);
    v.turn = turn(task).turn;
    return v;
  }
  peer_ptr chat_stream(const std::string& task) {
    return serve(taking(visit::kind::chat_stream, task));
  }
  peer_ptr session_stream(std::optional<std::uint64_t> after = {}, language lang = language::en) {
    auto v = asking_for(visit::kind::session_stream);
    v.lang = lang;
    if (after)
      v.after = cursor{world->epoch, *after};
    return serve(std::move(v));
  }
  peer_ptr poll(const std::string& task) {
    return serve(asking_for(visit::kind::generate_poll, task));
  }
  peer_ptr task_stream(const std::string& task, std::optional<std::uint64_t> after = {}) {
    auto v = asking_for(visit::kind::task_stream, task);
    if (after)
      v.after = cursor{world->epoch, *after};
    return serve(std::move(v));
  }
};

} // namespace parlor::test
