#pragma once
// libcurl's multi interface driven by Asio: sockets are watched and timers kept by the io_context,
// libcurl does the rest.
//
// Thread: everything happens on one strand, except where said otherwise. Lifetime: kept alive by
// its provider and calls; waits hold it weakly, so it ends with them. Must end before the
// io_context.

#include "llm/step_taker.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/intrusive/list.hpp>

#include <curl/curl.h>

#include <chrono>
#include <cstddef>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

namespace parlor::llm {

/// One request. Owned by the loop from add() until it is done or removed.
class transfer : public boost::intrusive::list_base_hook<
                     boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
public:
  virtual ~transfer() = default;
  /// The configured handle; the loop adds and removes it, and watches when it is sent.
  virtual CURL* easy() const noexcept = 0;
  /// It is over, on the strand; the handle is no longer in the loop.
  virtual void done(CURLcode result) = 0;
  /// All that could be read for now has been, on the strand; if settle_later() was called.
  virtual void settle() {}

private:
  friend class curl_loop;
  bool sent_ = false;
  // While it has no connection:
  bool dialled_ = false; // it has opened a socket
  int watched_ = 0;      // so many are watched for it
  std::chrono::steady_clock::time_point connect_by_;
};

class curl_loop : public std::enable_shared_from_this<curl_loop> {
public:
  using clock = std::chrono::steady_clock;
  using strand = boost::asio::strand<boost::asio::io_context::executor_type>;

  /// `one_by_one`: takes what has come on each connection where only few have something, so that it
  /// need not wait for what comes on the next one; may be empty. A crowd is served together, which
  /// costs less.
  curl_loop(boost::asio::io_context& io, std::size_t max_connections, step_taker one_by_one = {});
  ~curl_loop();
  curl_loop(const curl_loop&) = delete;
  curl_loop& operator=(const curl_loop&) = delete;

  /// Any thread.
  const strand& executor() const noexcept { return strand_; }

  /// On the strand. Its request is sent once: libcurl would send it again, unasked, when a kept
  /// connection turns out to be dead, and a service that had read it already would answer (and
  /// charge) twice, unannounced (RFC 9110 section 9.2.2). Instead it fails with
  /// CURLE_ABORTED_BY_CALLBACK; and with CURLE_OPERATION_TIMEDOUT if it has no connection in time.
  void add(std::shared_ptr<transfer> t, std::chrono::milliseconds connect_timeout);
  /// On the strand; closes the connection if the answer is not complete. `done` is not called.
  /// Nothing happens to a transfer that is over already.
  void remove(const transfer& t);
  /// From one of libcurl's callbacks.
  void settle_later(std::shared_ptr<transfer> t) { unsettled_.push_back(std::move(t)); }

private:
  static int on_socket(CURL*, curl_socket_t fd, int what, void* self, void*);
  static int on_timer(CURLM*, long timeout_ms, void* self);
  static int before_request(void* of, char*, char*, int, int);
  static int on_dial(void* of, curl_socket_t fd, curlsocktype);
  void dial_on();
  void wait();
  void serve();
  void act(curl_socket_t fd, int events);
  void act_on_all();
  void acted();
  void count(CURL* easy, int change);
  void collect();
  void connect_in_time(transfer& t, std::chrono::milliseconds timeout);
  void wait_for_connections();
  std::shared_ptr<transfer> take(CURL* easy);

  using loop_timer =
      boost::asio::basic_waitable_timer<clock, boost::asio::wait_traits<clock>, strand>;

  strand strand_;
  // An epoll with libcurl's sockets. Level-triggered and beside the reactor: a socket that is read
  // again and again is watched with one call of the kernel, not with one each time, and what is
  // ready at once is served at once. libcurl closes the sockets, here they are only watched.
  boost::asio::posix::basic_stream_descriptor<strand> sockets_;
  bool waiting_ = false; // for it
  loop_timer timer_;
  std::uint64_t timer_round_ = 0; // a wake-up of an earlier setting is ignored
  step_taker one_by_one_;
  CURLM* multi_ = nullptr;
  std::unordered_map<CURL*, std::shared_ptr<transfer>> transfers_;
  // Those without a connection, by deadline. libcurl's own way would be dear: what it was once told
  // to do by then stays in its tree, in which each read of a transfer moves it four times.
  boost::intrusive::list<transfer, boost::intrusive::constant_time_size<false>> connecting_;
  loop_timer connect_timer_;
  bool connect_timer_out_ = false;
  loop_timer dial_timer_;
  bool dial_timer_out_ = false;
  bool may_be_stuck_ = false; // one of those without a connection
  std::vector<std::shared_ptr<transfer>> unsettled_;
};

} // namespace parlor::llm
