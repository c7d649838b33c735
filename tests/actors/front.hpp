#pragma once
// The house of house.hpp with an edge before it, and connections that take what the test lets them.

#include "actors/edge.hpp"
#include "house.hpp"

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
  void push(http::chunk piece) override;
  void close() override { ++closed; }
  void abort() override { ++aborted; }
  std::size_t backlog() const noexcept override { return unread; }
  void watch(std::function<void(http::signal)> f) override { on_signal = std::move(f); }

  std::string text() const;
  bool told(std::string_view what) const { return text().find(what) != std::string::npos; }
  unsigned status() const;
  /// The numbers of the events, in the order in which they came.
  std::vector<std::uint64_t> ids() const;
};
using peer_ptr = std::shared_ptr<peer>;

struct front : house {
  edge_options edging;
  edge_actor desk;
  bool draining = false;
  std::vector<peer_ptr> peers;
  std::int64_t watchers_before = stats_of_edges().watchers.load();

  front();
  ~front();
  void begin();
  std::int64_t watchers() const { return stats_of_edges().watchers.load() - watchers_before; }

  peer_ptr send(visit v); // without giving anybody time to act on it
  peer_ptr serve(visit v);
  void signal(const peer_ptr& p, http::signal s);
  /// It reads all that it has been sent, and says so if that was a lot.
  bool drain(const peer_ptr& p);
  visit asking_for(visit::kind what, std::string task = {}) const;
  visit taking(visit::kind what, const std::string& task) const;
  peer_ptr chat_stream(const std::string& task);
  peer_ptr session_stream(std::optional<std::uint64_t> after = {}, language lang = language::en);
  peer_ptr poll(const std::string& task);
  peer_ptr task_stream(const std::string& task, std::optional<std::uint64_t> after = {});
};

} // namespace parlor::test
