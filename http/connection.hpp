#pragma once
// One client connection: reads requests through the framing gate, writes answers and streams.
//
// Owner: itself, by the operations under way; listed in the server's shared state. Thread: its
// strand, except what exchange.hpp promises for any thread. Its life and its clock are in
// connection.cpp, requests in connection_read.cpp, answers and streams in connection_write.cpp.
//
// Most connections are streams that say nothing for a long time: what only reading or writing
// needs exists only meanwhile.

#include "http/exchange.hpp"
#include "http/handshake.hpp"
#include "http/pushed_bytes.hpp"
#include "http/shared.hpp"
#include "http/write_progress.hpp"

namespace parlor::http {

class websocket_stream;

/// Points in time as atomics hold them, steady ns.
inline std::int64_t as_ticks(clock::time_point t) { return t.time_since_epoch().count(); }

class connection final : public listed, public std::enable_shared_from_this<connection> {
public:
  /// `client`: whose it is, and has been counted for.
  connection(connection_socket socket, std::string remote, counted_client client,
             std::shared_ptr<server::shared> server);
  ~connection();
  void start();
  void look_at_clock(clock::time_point now) override;
  void shut() override;
  void flush() override;
  const connection_strand& strand() override { return socket_.get_executor(); }
  std::shared_ptr<listed> hold() noexcept override { return weak_from_this().lock(); }

private:
  friend class answer; // the exchange of one request
  struct incoming;     // http/incoming.hpp, for those who need to know Beast
  enum class phase : std::uint8_t { idle, head, body, handling, streaming, upgraded, closing };

  void read();
  void took(std::string_view bytes);
  void consume();
  void begin(std::size_t head_length);
  void parse_body();
  void dispatch();
  void fail(errc code);
  void end_with(response last);
  bool one_too_many() const;

  void respond(response r, std::uint64_t turn);
  void open(response head, std::string keepalive, std::uint64_t turn);
  void upgrade(const std::shared_ptr<websocket_stream>& to, std::uint64_t turn);
  bool gather();
  bool write();
  void wrote(std::size_t n);
  void answered();
  void next_request();

  /// How often it is looked whether a peer that is not read from is still there.
  static constexpr auto glance_every = std::chrono::milliseconds{500};

  void late();
  void keep_alive();
  void close();
  void tell(signal s);
  void set_deadline(std::chrono::milliseconds from_now);
  bool answering() const { return phase_ == phase::handling || phase_ == phase::streaming; }

  connection_socket socket_;
  std::string remote_;

  // -- on the strand --
  std::string in_; // read and not yet understood
  std::unique_ptr<incoming> incoming_;
  std::unique_ptr<handshake> handshake_; // if the request asks for one
  std::string request_id_;               // of the request that is being answered
  clock::time_point since_ = clock::now();
  std::uint32_t requests_ = 0;
  std::uint64_t turn_ = 0; // which request is being answered; answers of earlier ones are ignored
  phase phase_ = phase::idle;
  bool http11_ = true;
  bool keep_alive_ = true;
  bool head_only_ = false;
  bool answered_ = false; // it has a head
  bool chunked_ = false;
  bool ending_ = false;        // nothing will be added to what is to be written
  bool waiting_write_ = false; // if answered_, progress_ has begun
  bool reading_ = false;
  bool ignoring_ = false; // what the peer sends
  bool closed_ = false;
  chunk keepalive_;            // empty pointer: none
  std::string out_;            // heads, whole answers and frames, not yet taken by the kernel
  std::vector<chunk> sending_; // pieces after out_
  std::size_t sent_ = 0;       // of them
  std::size_t offset_ = 0;     // into the first of what is to be written
  std::string_view tail_;      // after the pieces
  std::function<void(signal)> watcher_;
  byte_room::part body_room_{server_->bodies}; // of the body that comes or is not answered yet
  request_timer timer_;
  write_progress progress_;

  // -- any thread --
  std::mutex mutex_;
  std::vector<chunk> pending_;              // guarded
  bool flush_scheduled_ = false;            // guarded
  bool end_asked_ = false;                  // guarded; nothing is taken for this stream any more
  std::atomic<std::uint64_t> open_turn_{0}; // written under the mutex; whose pieces are taken
  pushed_bytes backlog_;
  std::atomic<std::int64_t> deadline_{0};     // steady ns; 0: none
  std::atomic<std::int64_t> keepalive_at_{0}; // steady ns; 0: none
};

} // namespace parlor::http
