#pragma once
// A WebSocket: what a connection turns into when it is upgraded, whose place it takes. Its life and
// its clock are in websocket.cpp, messages of the peer in websocket_read.cpp, ours in
// websocket_write.cpp.
//
// Owner: its operations under way, and whoever upgraded. Thread: its strand, except what the port
// promises for any.
//
// Most WebSockets say nothing for a long time: what only reading or writing needs exists only
// meanwhile.

#include "http/handshake.hpp"
#include "http/pushed_bytes.hpp"
#include "http/shared.hpp"
#include "http/websocket.hpp"
#include "http/write_progress.hpp"

namespace parlor::http {

class frame_writer;

class websocket_stream final : public websocket,
                               public listed,
                               public std::enable_shared_from_this<websocket_stream> {
public:
  websocket_stream(connection_strand strand, std::shared_ptr<server::shared> server,
                   const websocket_options& options, message_sink sink);
  ~websocket_stream();

  void push(chunk piece) override;
  void close() override { close(close_code::normal, {}); }
  void close(close_code code, std::string reason) override;
  void abort() override;
  std::size_t backlog() const noexcept override { return backlog_.bytes(); }
  void watch(std::function<void(signal)> f) override;

  void look_at_clock(clock::time_point now) override;
  void shut() override { close(close_code::restart, "the server stops; come back"); }
  void flush() override;
  const connection_strand& strand() override { return strand_; }
  std::shared_ptr<listed> hold() noexcept override { return weak_from_this().lock(); }

  /// On the strand, once: takes the socket and the place of `was`, and answers the handshake.
  /// `remote`, `request_id`: for the log.
  void attach(connection_socket socket, listed& was, const handshake& h, std::string remote,
              std::string request_id);
  /// On the strand: it is over. Also instead of attach().
  void cut();

private:
  struct incoming; // websocket_read.cpp
  enum class phase : std::uint8_t {
    waiting, // for attach()
    open,
    closing, // the last that it sends is a closing frame; waits for the peer's
    leaving, // nothing that comes matters any more; waits for the end of the connection
    closed,
  };
  using error_code = boost::system::error_code;

  // -- websocket_read.cpp
  void read();
  void readable();
  bool hear(char* bytes, std::size_t n);
  bool no_room();
  void deliver(std::string text, byte_room::part room);
  void hear_ping(std::string_view payload);
  void hear_close(close_code code);
  bool behind() const;
  // -- websocket_write.cpp
  frame_writer& out();
  void collect();
  bool write();
  void wrote(std::size_t n);
  // -- websocket.cpp
  void fail(close_code code, std::string_view reason);
  void begin_close(close_code code, std::string_view reason);
  void last_word_said();
  void look();
  void soon(clock::time_point t);
  void tell(signal s);

  const connection_strand strand_; // any thread; attach() writes the one in socket_, the same
  connection_socket socket_;
  std::shared_ptr<const websocket_options> options_;
  std::string remote_;
  std::string request_id_;

  // -- on the strand --
  message_sink sink_;
  std::function<void(signal)> watcher_;
  std::unique_ptr<incoming> in_;                            // null: nothing has begun to come
  std::unique_ptr<frame_writer> out_;                       // null: all has gone
  std::unique_ptr<std::pair<close_code, std::string>> end_; // asked for, after what is pushed
  clock::time_point heard_, pinged_, write_due_, close_due_, pings_since_;
  write_progress progress_;
  std::uint32_t pings_ = 0;
  phase phase_ = phase::waiting;
  std::uint8_t window_bits_ = 0; // of deflate_terms; 0: not agreed on
  bool reading_ = false;
  bool held_ = false;          // whoever got the last message still has it
  bool paused_ = false;        // it did not read when it could have
  bool waiting_write_ = false; // progress_ has begun
  bool answered_ = false;      // nothing is to be waited for after our closing frame
  bool counted_ = false;

  // -- any thread --
  bool flush_scheduled_ = false; // guarded
  std::mutex mutex_;
  std::vector<chunk> pending_; // guarded
  pushed_bytes backlog_;
  std::atomic<std::int64_t> due_{0}; // when to look next, steady ns; 0: never
};

} // namespace parlor::http
