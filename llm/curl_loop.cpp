#include "llm/curl_loop.hpp"

#include <boost/asio/post.hpp>

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <mutex>
#include <new>
#include <system_error>
#include <utility>

namespace parlor::llm {

namespace asio = boost::asio;

namespace {
constexpr std::size_t events_at_a_time = 128;
constexpr int few = 4;
constexpr auto until_next_address = std::chrono::milliseconds{1};
} // namespace

curl_loop::curl_loop(asio::io_context& io, std::size_t max_connections, step_taker one_by_one)
    : strand_{asio::make_strand(io)}, sockets_{strand_}, timer_{strand_},
      one_by_one_{std::move(one_by_one)}, connect_timer_{strand_}, dial_timer_{strand_} {
  auto fd = ::epoll_create1(EPOLL_CLOEXEC);
  if (fd < 0)
    throw std::system_error{errno, std::system_category(), "epoll_create1"};
  sockets_.assign(fd);
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
  curl_multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, nullptr);
  curl_multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, nullptr);
  for (auto& [easy, t] : transfers_)
    curl_multi_remove_handle(multi_, easy);
  connecting_.clear();
  transfers_.clear();
  curl_multi_cleanup(multi_);
}

void curl_loop::add(std::shared_ptr<transfer> t, std::chrono::milliseconds connect_timeout) {
  auto* easy = t->easy();
  curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, &curl_loop::before_request);
  curl_easy_setopt(easy, CURLOPT_PREREQDATA, static_cast<void*>(t.get()));
  curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, &curl_loop::on_dial);
  curl_easy_setopt(easy, CURLOPT_SOCKOPTDATA, static_cast<void*>(t.get()));
  transfers_.emplace(easy, t);
  connect_in_time(*t, connect_timeout);
  if (curl_multi_add_handle(multi_, easy) != CURLM_OK)
    take(easy)->done(CURLE_OUT_OF_MEMORY);
}

void curl_loop::remove(const transfer& t) {
  if (auto kept = take(t.easy()))
    curl_multi_remove_handle(multi_, kept->easy());
}

/// No longer the loop's; null if it was not.
std::shared_ptr<transfer> curl_loop::take(CURL* easy) {
  auto found = transfers_.find(easy);
  if (found == transfers_.end())
    return nullptr;
  auto t = std::move(found->second);
  transfers_.erase(found);
  t->unlink();
  may_be_stuck_ = !connecting_.empty(); // another may have its place
  return t;
}

// -- connections in time
// -------------------------------------------------------------------------------------------

void curl_loop::connect_in_time(transfer& t, std::chrono::milliseconds timeout) {
  t.connect_by_ = clock::now() + timeout;
  auto at = connecting_.end(); // where it belongs, as nearly all have the same timeout
  while (at != connecting_.begin() && std::prev(at)->connect_by_ > t.connect_by_)
    --at;
  auto first = at == connecting_.begin();
  connecting_.insert(at, t);
  may_be_stuck_ = true;
  if (first && (!connect_timer_out_ || connect_timer_.expiry() > t.connect_by_))
    wait_for_connections();
}

int curl_loop::before_request(void* of, char*, char*, int, int) {
  auto& t = *static_cast<transfer*>(of);
  t.unlink(); // its connection is there
  return std::exchange(t.sent_, true) ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

void curl_loop::wait_for_connections() {
  connect_timer_out_ = !connecting_.empty();
  if (!connect_timer_out_)
    return;
  connect_timer_.expires_at(connecting_.front().connect_by_);
  connect_timer_.async_wait([weak = weak_from_this()](boost::system::error_code ec) {
    auto loop = weak.lock();
    if (!loop || ec)
      return;
    auto now = clock::now();
    while (!loop->connecting_.empty() && loop->connecting_.front().connect_by_ <= now) {
      auto t = loop->take(loop->connecting_.front().easy());
      curl_multi_remove_handle(loop->multi_, t->easy());
      t->done(CURLE_OPERATION_TIMEDOUT);
    }
    loop->wait_for_connections();
  });
}

int curl_loop::on_dial(void* of, curl_socket_t, curlsocktype) {
  static_cast<transfer*>(of)->dialled_ = true;
  return CURL_SOCKOPT_OK;
}

/// libcurl 7.88 goes on to a name's next address when one refuses, but opens the socket only when
/// it is called the next time, and asks for no such call. Whoever is connecting and has nothing to
/// wait for is given one. It costs a look at all transfers; names with dead addresses are rare.
void curl_loop::dial_on() {
  auto stuck = [](const transfer& t) { return t.dialled_ && t.watched_ == 0; };
  if (dial_timer_out_ || !may_be_stuck_)
    return;
  may_be_stuck_ = dial_timer_out_ = std::any_of(connecting_.begin(), connecting_.end(), stuck);
  if (!dial_timer_out_)
    return;
  dial_timer_.expires_after(until_next_address);
  dial_timer_.async_wait([weak = weak_from_this()](boost::system::error_code ec) {
    auto loop = weak.lock();
    if (!loop || ec)
      return;
    loop->dial_timer_out_ = false;
    loop->act_on_all();
  });
}

int curl_loop::on_socket(CURL* easy, curl_socket_t fd, int what, void* self, void* known) {
  auto& loop = *static_cast<curl_loop*>(self);
  auto epoll = loop.sockets_.native_handle();
  auto gone = what == CURL_POLL_REMOVE || what == CURL_POLL_NONE;
  if (gone == (known != nullptr)) // else it is only watched for something else
    loop.count(easy, gone ? -1 : 1);
  if (gone) {
    ::epoll_ctl(epoll, EPOLL_CTL_DEL, fd, nullptr);
    if (known)
      curl_multi_assign(loop.multi_, fd, nullptr);
    return 0;
  }
  epoll_event e{};
  e.events = ((what & CURL_POLL_IN) ? EPOLLIN : 0U) | ((what & CURL_POLL_OUT) ? EPOLLOUT : 0U);
  e.data.fd = fd;
  if (::epoll_ctl(epoll, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &e) != 0)
    return -1;
  curl_multi_assign(loop.multi_, fd, self); // known from here on, until it is removed
  try {
    loop.wait();
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

void curl_loop::wait() {
  if (waiting_)
    return;
  waiting_ = true;
  sockets_.async_wait(asio::posix::descriptor_base::wait_read,
                      [weak = weak_from_this()](boost::system::error_code ec) {
                        auto loop = weak.lock();
                        if (!loop || ec)
                          return;
                        loop->waiting_ = false;
                        loop->serve();
                        loop->wait();
                      });
}

void curl_loop::serve() {
  std::array<epoll_event, events_at_a_time> ready;
  auto n = ::epoll_wait(sockets_.native_handle(), ready.data(), static_cast<int>(ready.size()), 0);
  // Should one of them be closed meanwhile and its number be another's: libcurl tries, and finds
  // nothing there.
  for (int i = 0; i < n; ++i) {
    const auto& e = ready[static_cast<std::size_t>(i)];
    auto broken = (e.events & (EPOLLERR | EPOLLHUP)) != 0; // libcurl sees how when it tries
    auto step = [&] {
      act(e.data.fd, (broken || (e.events & EPOLLIN) ? CURL_CSELECT_IN : 0) |
                         (broken || (e.events & EPOLLOUT) ? CURL_CSELECT_OUT : 0));
    };
    if (one_by_one_ && n <= few)
      one_by_one_(std::ref(step));
    else
      step();
  }
}

void curl_loop::act(curl_socket_t fd, int events) {
  int running = 0;
  curl_multi_socket_action(multi_, fd, events, &running);
  acted();
}

void curl_loop::act_on_all() {
  int running = 0;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations" // there is no other way to it
  curl_multi_socket_all(multi_, &running);
#pragma GCC diagnostic pop
  acted();
}

void curl_loop::acted() {
  for (auto& t : unsettled_)
    t->settle();
  unsettled_.clear();
  collect();
  dial_on();
}

void curl_loop::count(CURL* easy, int change) {
  if (connecting_.empty())
    return;
  may_be_stuck_ = may_be_stuck_ || change < 0;
  if (auto found = transfers_.find(easy); found != transfers_.end())
    found->second->watched_ += change;
}

void curl_loop::collect() {
  int left = 0;
  while (auto* m = curl_multi_info_read(multi_, &left)) {
    if (m->msg != CURLMSG_DONE)
      continue;
    auto* easy = m->easy_handle;
    auto result = m->data.result; // the message is gone once the handle is removed
    auto t = take(easy);
    curl_multi_remove_handle(multi_, easy);
    if (t)
      t->done(result);
  }
}

} // namespace parlor::llm
