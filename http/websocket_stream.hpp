#pragma once
// A WebSocket on Beast: what a connection turns into when it is upgraded.
//
// Owner: its operations under way, and whoever upgraded; it keeps its connection, which counts it
// and asks it to look at the clock. Thread: its strand, except what the port promises for any.

#include "http/handshake.hpp"
#include "http/shared.hpp"
#include "http/websocket.hpp"

#include <deque>

namespace parlor::http {

class websocket_stream final : public websocket,
                               public std::enable_shared_from_this<websocket_stream> {
public:
  websocket_stream(tcp::socket::executor_type strand, std::shared_ptr<server::shared> server,
                   websocket_options options, message_sink sink, std::string remote);
  ~websocket_stream() override;

  void push(chunk piece) override;
  void close() override { close(close_code::normal, {}); }
  void close(close_code code, std::string reason) override;
  void abort() override;
  std::size_t backlog() const noexcept override { return backlog_.load(std::memory_order_relaxed); }
  void watch(std::function<void(signal)> f) override;

  /// On the strand, once: takes the socket and answers the handshake. `keeper` is let go at the
  /// end.
  void attach(tcp::socket socket, const handshake& h, std::string request_id,
              std::shared_ptr<void> keeper);
  /// On the strand, instead of attach(): there will be none.
  void cut();
  /// From the sweep, any thread: is something due? Then a look on the strand.
  void look_at_clock(clock::time_point now);

private:
  struct wire; // http/websocket_wire.hpp, for those who need to know Beast
  enum class phase : std::uint8_t { waiting, handshake, open, closing, closed };
  using error_code = boost::system::error_code;

  void opened();
  void read();
  void have_read(error_code e, std::size_t n);
  void deliver();
  void flush();
  void have_written(error_code e, std::size_t n, bool whole);
  void fail(close_code code, std::string_view reason);
  void begin_close(close_code code, std::string_view reason);
  void await_end();
  void look();
  void hear_ping();
  void soon(clock::time_point t);
  void tell(signal s);

  tcp::socket::executor_type strand_;
  std::shared_ptr<server::shared> server_;
  websocket_options options_;
  std::string remote_; // for the log
  std::string request_id_;

  // -- on the strand --
  phase phase_ = phase::waiting;
  std::unique_ptr<wire> wire_;
  std::shared_ptr<void> keeper_;
  message_sink sink_;
  std::function<void(signal)> watcher_;
  std::string in_;      // a message as far as it has come, and room for more
  std::size_t got_ = 0; // bytes of it
  std::size_t idle_reads_ = 0;
  bool reading_ = false;
  bool held_ = false; // whoever got the last message still has it
  bool writing_ = false;
  bool pinging_ = false;
  bool deflating_ = false; // or may be
  bool ending_ = false;
  bool counted_ = false;
  close_code end_code_ = close_code::normal;
  std::string end_reason_;
  std::deque<chunk> sending_;
  std::size_t offset_ = 0; // into the first of them
  clock::time_point heard_, pinged_, write_due_, close_due_, message_due_, pings_since_;
  std::size_t pings_ = 0;

  // -- any thread --
  std::mutex mutex_;
  std::vector<chunk> pending_;   // guarded
  bool flush_scheduled_ = false; // guarded
  bool above_high_ = false;      // guarded; since the backlog was last at low water
  std::atomic<std::size_t> backlog_{0};
  std::atomic<std::int64_t> due_{0}; // when to look next, steady ns; 0: never
};

} // namespace parlor::http
