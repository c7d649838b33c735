#include "llm/curl_loop.hpp"

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/post.hpp>

#include <mutex>
#include <new>
#include <utility>

namespace parlor::llm {

namespace asio = boost::asio;

// A socket of libcurl's while libcurl wants to hear of it. The socket stays libcurl's: it is always
// given back with release(), never closed here.
struct curl_loop::watch {
  watch(const strand& s, curl_socket_t f) : descriptor{s}, fd{f} {}
  ~watch() { let_go(); }
  void let_go() {
    wanted = 0;
    if (descriptor.is_open())
      descriptor.release(); // also ends its waits
  }
  asio::posix::basic_stream_descriptor<strand> descriptor;
  curl_socket_t fd;
  int wanted = 0;       // CURL_POLL_IN, _OUT, _INOUT
  bool reading = false; // a wait is under way
  bool writing = false;
};

curl_loop::curl_loop(asio::io_context& io, std::size_t max_connections)
    : strand_{asio::make_strand(io)}, timer_{strand_} {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  multi_ = curl_multi_init();
  if (!multi_)
    throw std::bad_alloc{};
  curl_multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, &curl_loop::on_socket);
  curl_multi_setopt(multi_, CURLMOPT_SOCKETDATA, this);
  curl_multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, &curl_loop::on_timer);
  curl_multi_setopt(multi_, CURLMOPT_TIMERDATA, this);
  curl_multi_setopt(multi_, CURLMOPT_PIPELINING, static_cast<long>(CURLPIPE_MULTIPLEX));
  curl_multi_setopt(multi_, CURLMOPT_MAX_TOTAL_CONNECTIONS, static_cast<long>(max_connections));
  curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS, static_cast<long>(max_connections));
}

curl_loop::~curl_loop() {
  // Sockets leave the reactor before libcurl closes them: their numbers may be in use elsewhere a
  // moment later.
  for (auto& [fd, w] : watches_)
    w->let_go();
  curl_multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, nullptr);
  curl_multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, nullptr);
  for (auto& [easy, t] : transfers_)
    curl_multi_remove_handle(multi_, easy);
  transfers_.clear();
  curl_multi_cleanup(multi_);
}

void curl_loop::add(std::shared_ptr<transfer> t) {
  auto* easy = t->easy();
  transfers_.emplace(easy, t);
  if (curl_multi_add_handle(multi_, easy) != CURLM_OK) {
    transfers_.erase(easy);
    t->done(CURLE_OUT_OF_MEMORY);
  }
}

void curl_loop::remove(const transfer& t) {
  auto found = transfers_.find(t.easy());
  if (found == transfers_.end())
    return;
  auto kept = std::move(found->second);
  transfers_.erase(found);
  curl_multi_remove_handle(multi_, kept->easy());
}

int curl_loop::on_socket(CURL*, curl_socket_t fd, int what, void* self, void*) {
  auto& loop = *static_cast<curl_loop*>(self);
  auto found = loop.watches_.find(fd);
  if (what == CURL_POLL_REMOVE) {
    if (found != loop.watches_.end()) {
      found->second->let_go();
      loop.watches_.erase(found);
    }
    return 0;
  }
  try {
    if (found == loop.watches_.end()) {
      auto w = std::make_shared<watch>(loop.strand_, fd);
      boost::system::error_code ec;
      w->descriptor.assign(fd, ec);
      if (ec)
        return -1;
      found = loop.watches_.emplace(fd, std::move(w)).first;
    }
    found->second->wanted = what;
    loop.arm(found->second);
  } catch (const std::exception&) {
    return -1;
  }
  return 0;
}

int curl_loop::on_timer(CURLM*, long timeout_ms, void* self) {
  auto& loop = *static_cast<curl_loop*>(self);
  auto round = ++loop.timer_round_;
  loop.timer_.cancel();
  if (timeout_ms < 0)
    return 0;
  if (timeout_ms == 0) { // as after every add_handle: not worth a timer
    asio::post(loop.strand_, [weak = loop.weak_from_this(), round] {
      if (auto l = weak.lock(); l && l->timer_round_ == round)
        l->act(CURL_SOCKET_TIMEOUT, 0);
    });
    return 0;
  }
  loop.timer_.expires_after(std::chrono::milliseconds{timeout_ms});
  loop.timer_.async_wait([weak = loop.weak_from_this(), round](boost::system::error_code ec) {
    if (ec)
      return;
    if (auto l = weak.lock(); l && l->timer_round_ == round)
      l->act(CURL_SOCKET_TIMEOUT, 0);
  });
  return 0;
}

void curl_loop::arm(const std::shared_ptr<watch>& w) {
  if ((w->wanted & CURL_POLL_IN) && !w->reading)
    wait(w, true);
  if ((w->wanted & CURL_POLL_OUT) && !w->writing)
    wait(w, false);
}

void curl_loop::wait(const std::shared_ptr<watch>& w, bool reading) {
  (reading ? w->reading : w->writing) = true;
  w->descriptor.async_wait(
      reading ? asio::posix::descriptor_base::wait_read : asio::posix::descriptor_base::wait_write,
      [weak = weak_from_this(), w, reading](boost::system::error_code ec) {
        (reading ? w->reading : w->writing) = false;
        auto loop = weak.lock();
        if (!loop || ec == asio::error::operation_aborted || !w->descriptor.is_open())
          return;
        if (!(w->wanted & (reading ? CURL_POLL_IN : CURL_POLL_OUT)))
          return; // libcurl has changed its mind meanwhile
        loop->act(w->fd, ec ? CURL_CSELECT_ERR : reading ? CURL_CSELECT_IN : CURL_CSELECT_OUT);
        if (w->descriptor.is_open())
          loop->arm(w);
      });
}

void curl_loop::act(curl_socket_t fd, int events) {
  int running = 0;
  curl_multi_socket_action(multi_, fd, events, &running);
  for (auto& t : unsettled_)
    t->settle();
  unsettled_.clear();
  collect();
}

void curl_loop::collect() {
  int left = 0;
  while (auto* m = curl_multi_info_read(multi_, &left)) {
    if (m->msg != CURLMSG_DONE)
      continue;
    auto* easy = m->easy_handle;
    auto result = m->data.result; // the message is gone once the handle is removed
    auto found = transfers_.find(easy);
    std::shared_ptr<transfer> t;
    if (found != transfers_.end()) {
      t = std::move(found->second);
      transfers_.erase(found);
    }
    curl_multi_remove_handle(multi_, easy);
    if (t)
      t->done(result);
  }
}

} // namespace parlor::llm
