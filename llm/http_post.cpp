#include "llm/http_post.hpp"

#include "llm/curl_easy.hpp"
#include "llm/curl_loop.hpp"
#include "llm/openai_codec.hpp"

#include <boost/asio/post.hpp>

#include <algorithm>
#include <atomic>
#include <ctime>
#include <utility>

namespace parlor::llm {

namespace {

namespace asio = boost::asio;
namespace ip = asio::ip;

constexpr std::size_t max_header_bytes = 64 << 10;
constexpr std::size_t max_body_bytes = 64 << 10;
constexpr std::chrono::seconds drain_time{1};

post_result result_of(call_failed f) {
  return {f.code, 0, f.can_pass, f.retry_after, std::move(f.detail)};
}

post_result failed(errc code, bool can_pass, std::string detail) {
  return {code, 0, can_pass, {}, std::move(detail)};
}

std::optional<ip::address> address_of(const curl_sockaddr& to) {
  if (to.family == AF_INET && to.addrlen >= sizeof(sockaddr_in)) {
    auto& in = reinterpret_cast<const sockaddr_in&>(to.addr);
    return ip::address_v4{ntohl(in.sin_addr.s_addr)};
  }
  if (to.family == AF_INET6 && to.addrlen >= sizeof(sockaddr_in6)) {
    auto& in = reinterpret_cast<const sockaddr_in6&>(to.addr);
    ip::address_v6::bytes_type bytes;
    std::copy_n(in.sin6_addr.s6_addr, bytes.size(), bytes.begin());
    return ip::address_v6{bytes, in.sin6_scope_id};
  }
  return std::nullopt;
}

// One request and its answer. Everything but `cancelled_` is touched on the strand only.
class exchange final : public transfer, public std::enable_shared_from_this<exchange> {
public:
  exchange(post_request request, post_sink sink, const std::string& authorities,
           const std::shared_ptr<curl_loop>& loop)
      : request_{std::move(request)}, sink_{std::move(sink)}, loop_{loop}, timer_{loop->executor()},
        easy_{curl_easy_init()} {
    if (!easy_)
      return;
    headers_.add("Content-Type: application/json");
    headers_.add("Accept: application/json");
    headers_.add("Expect:"); // never wait for 100-continue
    for (auto& line : request_.headers)
      headers_.add(line);
    set_outbound_defaults(easy_, authorities);
    set(CURLOPT_URL, request_.url.c_str());
    set(CURLOPT_HTTPHEADER, headers_.head);
    set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request_.body.size()));
    set(CURLOPT_POSTFIELDS, request_.body.data());
    set(CURLOPT_WRITEFUNCTION, &exchange::on_body);
    set(CURLOPT_WRITEDATA, static_cast<void*>(this));
    set(CURLOPT_HEADERFUNCTION, &exchange::on_header);
    set(CURLOPT_HEADERDATA, static_cast<void*>(this));
  }
  ~exchange() override {
    if (easy_)
      curl_easy_cleanup(easy_);
  }

  CURL* easy() const noexcept override { return easy_; }

  /// `dialer`: null for an operator's URL.
  void begin(const std::shared_ptr<curl_loop>& loop, const guarded_dialer_ptr& dialer) {
    if (cancelled_)
      return;
    if (!easy_)
      return end(result_of(failure_of_curl(CURLE_OUT_OF_MEMORY)));
    if (!std::all_of(request_.headers.begin(), request_.headers.end(), valid_header_line))
      return end(failed(errc::invalid_field, false, "a header is not valid"));
    limit(request_.total_timeout, [](exchange& e) {
      e.end(failed(errc::upstream_timeout, true, "no answer in time"));
      e.leave();
    });
    if (dialer == nullptr)
      return enter();
    dialer->find(request_.url, [self = shared_from_this(), loop](guarded_dialer::result found) {
      asio::post(loop->executor(), [self, loop, found = std::move(found)]() mutable {
        self->route(std::move(found));
      });
    });
  }

  /// Any thread.
  void cancel(const std::shared_ptr<curl_loop>& loop) {
    if (!cancelled_.exchange(true))
      asio::post(loop->executor(), [self = shared_from_this(), loop] {
        self->sink_ = nullptr;
        if (!self->draining_) { // an answer that has come may still put its connection back
          self->over_ = true;
          self->timer_.cancel();
          self->leave();
        }
      });
  }

  void done(CURLcode code) override {
    in_loop_ = false;
    if (over_) {
      timer_.cancel();
      return;
    }
    if (astray_)
      return end(failed(errc::url_not_allowed, false, "the connection led elsewhere"));
    if (code == CURLE_COULDNT_CONNECT && !cancelled_ && !addresses_.empty())
      return connect_to_next(); // as a name with several addresses means it
    end(result_of(failure_of_curl(code)));
  }

private:
  template <class T>
  void set(CURLoption option, T value) {
    curl_easy_setopt(easy_, option, value);
  }

  template <class F>
  void limit(std::chrono::milliseconds most, F act) {
    timer_.expires_after(most);
    timer_.async_wait([weak = weak_from_this(), act](boost::system::error_code ec) {
      if (auto self = weak.lock(); self && !ec)
        act(*self);
    });
  }

  void enter() {
    if (auto loop = loop_.lock()) {
      in_loop_ = true;
      loop->add(shared_from_this(), request_.connect_timeout);
    }
  }
  void leave() {
    if (auto loop = loop_.lock(); loop && std::exchange(in_loop_, false))
      loop->remove(*this);
  }

  void end(post_result r) {
    if (std::exchange(over_, true))
      return;
    if (!draining_)
      timer_.cancel();
    auto sink = std::exchange(sink_, nullptr);
    if (sink && !cancelled_)
      sink(std::move(r));
  }

  // -- the guarded way

  void route(guarded_dialer::result found) {
    if (over_)
      return;
    if (auto* code = std::get_if<errc>(&found))
      return end(failed(*code, *code != errc::url_not_allowed,
                        *code == errc::url_not_allowed ? "the address may not be called"
                                                       : "the name has no address"));
    auto& route = std::get<dial_route>(found);
    addresses_ = std::move(route.addresses);
    std::reverse(addresses_.begin(), addresses_.end()); // the next is the last
    port_ = route.to.port;
    set(CURLOPT_PROXY, ""); // a proxy would look the name up again
    set(CURLOPT_FRESH_CONNECT, 1L);
    set(CURLOPT_FORBID_REUSE, 1L);
    set(CURLOPT_OPENSOCKETFUNCTION, &exchange::on_socket);
    set(CURLOPT_OPENSOCKETDATA, static_cast<void*>(this));
    connect_to_next();
  }

  // To the address; name and certificate stay those of the URL.
  void connect_to_next() {
    pinned_ = addresses_.back();
    addresses_.pop_back();
    auto address = pinned_->to_string();
    connect_to_.clear();
    connect_to_.add("::" + (pinned_->is_v6() ? '[' + address + ']' : address) + ':' +
                    std::to_string(port_));
    set(CURLOPT_CONNECT_TO, connect_to_.head);
    enter();
  }

  static curl_socket_t on_socket(void* self, curlsocktype, curl_sockaddr* to) {
    auto& e = *static_cast<exchange*>(self);
    auto address = address_of(*to);
    if (!address || address != e.pinned_) {
      e.astray_ = true; // whatever led libcurl there
      return CURL_SOCKET_BAD;
    }
    return ::socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
  }

  // -- the answer

  static std::size_t on_header(char* data, std::size_t size, std::size_t n, void* self) try {
    return static_cast<exchange*>(self)->header({data, size * n}) ? size * n : 0;
  } catch (...) {
    return 0; // must not unwind through C
  }
  static std::size_t on_body(char*, std::size_t size, std::size_t n, void* self) {
    auto& e = *static_cast<exchange*>(self);
    e.body_bytes_ += size * n;
    return e.body_bytes_ <= max_body_bytes ? size * n : 0;
  }

  bool header(std::string_view line) {
    header_bytes_ += line.size();
    if (header_bytes_ > max_header_bytes) {
      end(failed(errc::upstream_too_large, false, "header larger than 64 KiB"));
      return false;
    }
    if (over_)
      return true; // trailers
    if (line.starts_with("HTTP/"))
      retry_after_.clear(); // of an interim answer
    if (std::string_view value; header_value(line, "retry-after:", value))
      retry_after_ = value;
    long status = 0;
    curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &status);
    if ((line == "\r\n" || line == "\n") && status >= 200)
      answered(static_cast<int>(status));
    return true;
  }

  // The status is all that counts. What follows is read for the connection's sake, a little and not
  // for long.
  void answered(int status) {
    draining_ = true;
    limit(drain_time, [](exchange& e) { e.leave(); });
    post_result r;
    if (status >= 300)
      r = result_of(failure_of_status(status, retry_after_, {}, std::time(nullptr)));
    r.status = status;
    end(std::move(r));
  }

  post_request request_; // libcurl reads the body while sending
  post_sink sink_;
  std::weak_ptr<curl_loop> loop_; // which owns this while it is in it
  asio::basic_waitable_timer<std::chrono::steady_clock,
                             asio::wait_traits<std::chrono::steady_clock>, curl_loop::strand>
      timer_; // for the answer, then for the rest of it
  string_list headers_;
  string_list connect_to_;
  CURL* easy_;
  std::vector<ip::address> addresses_; // not tried yet, the next at the end
  std::optional<ip::address> pinned_;
  unsigned short port_ = 0;
  std::string retry_after_;
  std::size_t header_bytes_ = 0;
  std::size_t body_bytes_ = 0;
  bool in_loop_ = false;
  bool draining_ = false;
  bool over_ = false;
  bool astray_ = false;
  std::atomic<bool> cancelled_{false};
};

class handle final : public post {
public:
  handle(std::shared_ptr<curl_loop> loop, std::shared_ptr<exchange> e)
      : loop_{std::move(loop)}, exchange_{std::move(e)} {}
  ~handle() override { exchange_->cancel(loop_); }
  void cancel() override { exchange_->cancel(loop_); }

private:
  std::shared_ptr<curl_loop> loop_;
  std::shared_ptr<exchange> exchange_;
};

class curl_poster final : public poster {
public:
  curl_poster(asio::io_context& io, guarded_dialer_ptr dialer, post_options options)
      : loop_{std::make_shared<curl_loop>(io, options.max_connections)}, dialer_{std::move(dialer)},
        authorities_{certificate_authorities()} {}

  std::unique_ptr<post> start(post_request request, post_sink sink) override {
    auto e = std::make_shared<exchange>(std::move(request), std::move(sink), authorities_, loop_);
    asio::post(loop_->executor(), [loop = loop_, e, dialer = dialer_] { e->begin(loop, dialer); });
    return std::make_unique<handle>(loop_, std::move(e));
  }

private:
  std::shared_ptr<curl_loop> loop_;
  guarded_dialer_ptr dialer_; // null: the operator's URLs
  std::string authorities_;
};

} // namespace

bool valid_header_line(std::string_view line) noexcept {
  auto colon = line.find(':');
  if (colon == std::string_view::npos || colon == 0)
    return false;
  for (char c : line.substr(0, colon))
    if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
          std::string_view{"!#$%&'*+-.^_`|~"}.find(c) != std::string_view::npos))
      return false;
  for (auto taken : {"host:", "content-length:", "transfer-encoding:", "connection:", "te:",
                     "trailer:", "upgrade:", "expect:", "content-type:"})
    if (starts_with_nocase(line, taken))
      return false;
  return std::none_of(line.begin(), line.end(), [](char c) {
    return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f;
  });
}

poster_ptr make_poster(asio::io_context& io, post_options options) {
  return std::make_shared<curl_poster>(io, nullptr, options);
}

poster_ptr make_guarded_poster(asio::io_context& io, guarded_dialer_ptr dialer,
                               post_options options) {
  return std::make_shared<curl_poster>(io, std::move(dialer), options);
}

} // namespace parlor::llm
