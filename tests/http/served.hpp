#pragma once
// http::server with no actors behind it: each request it lets through is handed to the test, which
// answers it by the exchange whenever it likes.
//
// Owner and thread: the test; the server runs on threads of its own. Lifetime: the object outlives
// what next() gave.

#include "http/server.hpp"

#include "raw_client.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>

#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <thread>
#include <vector>

namespace parlor::testing {

/// One request that passed the gate, with the signals that came for it.
struct visitor {
  http::request request;
  http::exchange_ptr exchange;
};

class signals {
public:
  void watch(const std::shared_ptr<http::outbox>& e) {
    e->watch([s = state_](http::signal what) {
      std::lock_guard lock{s->mutex};
      ++(what == http::signal::gone ? s->gone : s->drained);
      s->told.notify_all();
    });
  }
  int gone() const { return read(&state::gone); }
  int drained() const { return read(&state::drained); }
  bool wait_gone(int n = 1) { return wait(&state::gone, n); }
  bool wait_drained(int n = 1) { return wait(&state::drained, n); }

private:
  struct state {
    std::mutex mutex;
    std::condition_variable told;
    int gone = 0;
    int drained = 0;
  };
  int read(int state::*which) const {
    std::lock_guard lock{state_->mutex};
    return (*state_).*which;
  }
  bool wait(int state::*which, int n) {
    std::unique_lock lock{state_->mutex};
    return state_->told.wait_for(lock, std::chrono::seconds{10},
                                 [&] { return (*state_).*which >= n; });
  }
  std::shared_ptr<state> state_ = std::make_shared<state>();
};

/// Options under which nothing happens by itself within a test; each test shortens its own.
inline http::server_options patient() {
  http::server_options o;
  o.port = 0;
  for (auto* t :
       {&o.header_timeout, &o.body_timeout, &o.idle_timeout, &o.write_timeout, &o.keepalive_every})
    *t = std::chrono::seconds{60};
  o.many_clients = http::networks_of("loopback");
  return o;
}

class served {
public:
  explicit served(http::server_options o = patient(), int threads = 2)
      : server_{io_, std::move(o),
                [this](http::request&& r, http::exchange_ptr e) {
                  std::lock_guard lock{mutex_};
                  visitors_.push_back({std::move(r), std::move(e)});
                  came_.notify_all();
                },
                [this](errc code, const http::request& seen) {
                  {
                    std::lock_guard lock{mutex_};
                    refused_ = seen;
                  }
                  http::response r;
                  r.status = static_cast<unsigned>(describe(code).http_status);
                  r.body = std::string{to_string(code)} + ' ' + seen.id;
                  return r;
                }} {
    server_.start();
    for (int i = 0; i < threads; ++i)
      threads_.emplace_back([this] { io_.run(); });
  }
  ~served() {
    work_.reset();
    server_.stop_accepting();
    {
      std::lock_guard lock{mutex_};
      visitors_.clear();
    }
    server_.close_all();
    io_.stop();
    for (auto& t : threads_)
      t.join();
  }

  /// The next request; the test fails if none comes.
  visitor next() {
    std::unique_lock lock{mutex_};
    REQUIRE(came_.wait_for(lock, std::chrono::seconds{10}, [&] { return !visitors_.empty(); }));
    auto v = std::move(visitors_.front());
    visitors_.pop_front();
    return v;
  }
  std::size_t waiting() {
    std::lock_guard lock{mutex_};
    return visitors_.size();
  }

  /// Runs `f` on a thread of the server, and waits for it.
  template <class F>
  void in_one_turn(F f) {
    std::promise<void> done;
    boost::asio::post(io_, [&] { f(), done.set_value(); });
    done.get_future().wait();
  }

  /// What was told of the last request that was refused.
  http::request take_refused() {
    std::lock_guard lock{mutex_};
    return std::exchange(refused_, {});
  }

  unsigned short port() const { return server_.port(); }
  http::server& server() { return server_; }

private:
  boost::asio::io_context io_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{
      io_.get_executor()};
  std::mutex mutex_;
  std::condition_variable came_;
  std::deque<visitor> visitors_;
  http::request refused_;
  http::server server_;
  std::vector<std::thread> threads_;
};

inline http::chunk piece(std::string text) {
  return std::make_shared<const std::string>(std::move(text));
}

inline http::response plain(std::string body, unsigned status = 200) {
  http::response r;
  r.status = status;
  r.body = std::move(body);
  return r;
}

template <class F>
bool eventually(F f, std::chrono::milliseconds time = std::chrono::seconds{10}) {
  auto due = std::chrono::steady_clock::now() + time;
  while (!f()) {
    if (std::chrono::steady_clock::now() > due)
      return false;
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
  return true;
}

inline std::string get(std::string_view path, std::string_view more = "") {
  return "GET " + std::string{path} + " HTTP/1.1\r\nHost: a\r\n" + std::string{more} + "\r\n";
}

} // namespace parlor::testing
