#include "llm/openai.hpp"

#include "llm/curl_easy.hpp"
#include "llm/curl_loops.hpp"
#include "llm/easy_handles.hpp"
#include "llm/openai_codec.hpp"

#include <boost/asio/post.hpp>

#include <atomic>
#include <ctime>
#include <utility>

namespace parlor::llm {

namespace {

namespace asio = boost::asio;

constexpr std::size_t max_header_bytes = 64 << 10;
constexpr std::size_t max_drain_bytes = 64 << 10;
constexpr std::chrono::seconds drain_time{1};
constexpr long dns_cache_seconds = 60;

struct service {
  std::string key;
  easy_handles handles;

  explicit service(const openai_options& o)
      : key{o.api_key}, handles{address(o), headers(o), certificate_authorities()} {}

private:
  static std::string address(const openai_options& o) {
    auto url = o.base_url;
    while (url.ends_with('/'))
      url.pop_back();
    return url + "/chat/completions";
  }
  static std::vector<std::string> headers(const openai_options& o) {
    std::vector<std::string> lines{"Content-Type: application/json", "Accept: text/event-stream",
                                   "Expect:"}; // never wait for 100-continue
    if (!o.api_key.empty())
      lines.push_back("Authorization: Bearer " + o.api_key);
    return lines;
  }
};

// One request and its answer. Everything but `cancelled_` is touched on the strand only.
class exchange final : public transfer, public std::enable_shared_from_this<exchange> {
public:
  exchange(std::shared_ptr<service> of, const call_request& request, call_sink sink,
           const std::shared_ptr<curl_loop>& loop, std::shared_ptr<const void> seat)
      : sink_{std::move(sink)}, loop_{loop}, service_{std::move(of)},
        body_{chat_request_body(request)}, connect_timeout_{request.connect_timeout},
        drain_{loop->executor()}, seat_{std::move(seat)}, easy_{service_->handles.take()} {
    if (!easy_)
      return;
    set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body_.size()));
    set(CURLOPT_POSTFIELDS, body_.data());
    set(CURLOPT_WRITEFUNCTION, &exchange::on_body);
    set(CURLOPT_WRITEDATA, static_cast<void*>(this));
    set(CURLOPT_HEADERFUNCTION, &exchange::on_header);
    set(CURLOPT_HEADERDATA, static_cast<void*>(this));
    // An address that does not answer may take all the time of a first attempt, which is not told
    // to share it out, as each later read of its answer would pay for that. The others look the
    // name up anew, and leave time for its other addresses.
    auto again = request.attempt > 1;
    set(CURLOPT_CONNECTTIMEOUT_MS, again ? static_cast<long>(connect_timeout_.count()) : 0L);
    set(CURLOPT_DNS_CACHE_TIMEOUT, again ? 0L : dns_cache_seconds);
  }
  ~exchange() override { service_->handles.put_back(easy_); }

  CURL* easy() const noexcept override { return easy_; }

  void settle() override {
    unsettled_ = false;
    pass_on(events_);
  }

  void begin(const std::shared_ptr<curl_loop>& loop) {
    if (cancelled_)
      return;
    if (!easy_)
      return end(failure_of_curl(CURLE_OUT_OF_MEMORY));
    loop->add(shared_from_this(), connect_timeout_);
  }

  /// Any thread.
  void cancel(const std::shared_ptr<curl_loop>& loop) {
    if (!cancelled_.exchange(true))
      asio::post(loop->executor(), [self = shared_from_this(), loop] {
        self->sink_ = nullptr;
        if (!self->draining_) // an answer that is complete may still put its connection back
          loop->remove(*self);
      });
  }

  void done(CURLcode result) override {
    drain_.cancel();
    if (over_)
      return;
    if (status() < 200)
      return end(failure_of_curl(result));
    if (status() != 200) // whether or not its body came whole
      return end(
          failure_of_status(static_cast<int>(status()), retry_after_, held_, std::time(nullptr)));
    if (!head_ended_) // for libcurl that is an answer without a body
      return end({errc::upstream_truncated, true, {}, "cut off in its header", {}});
    if (!opened_)
      return end(result == CURLE_OK || too_long_ ? failure_of_body(content_type(), held_)
                                                 : failure_of_curl(result));
    if (result == CURLE_BAD_CONTENT_ENCODING || result == CURLE_WEIRD_SERVER_REPLY)
      return end(failure_of_curl(result));
    std::vector<call_event> events;
    decoder_.end(events); // however it ended: only a finish_reason makes it complete
    pass_on(events);
  }

private:
  template <class T>
  void set(CURLoption option, T value) {
    curl_easy_setopt(easy_, option, value);
  }

  long status() const {
    long code = 0;
    curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &code);
    return code;
  }

  std::string_view content_type() const {
    char* type = nullptr;
    curl_easy_getinfo(easy_, CURLINFO_CONTENT_TYPE, &type);
    return type ? type : "";
  }

  /// A provider's word for what went wrong may be one of the prompt's or the key: then it is not
  /// passed on.
  void hush(call_failed& f) const {
    auto colon = f.detail.rfind(": ");
    if (colon == std::string::npos)
      return;
    auto word = std::string_view{f.detail}.substr(colon + 2);
    if (body_.find(word) != std::string::npos || service_->key.find(word) != std::string::npos ||
        (!service_->key.empty() && word.find(service_->key) != word.npos))
      f.detail.resize(colon);
  }

  void emit(call_event e) {
    if (auto* failed = std::get_if<call_failed>(&e))
      hush(*failed);
    if (sink_ && !cancelled_)
      sink_(std::move(e));
  }

  void end(call_failed f) {
    over_ = true;
    if (f.detail.size() > 200)
      f.detail.resize(200);
    emit(std::move(f));
    sink_ = nullptr;
  }

  /// What came in one read is one piece: nobody could have shown it earlier, and everything behind
  /// costs by the piece.
  void pass_on(std::vector<call_event>& events) {
    call_delta* open = nullptr;
    std::size_t kept = 0;
    for (auto& e : events) {
      auto* delta = std::get_if<call_delta>(&e);
      if (delta != nullptr && open != nullptr) {
        open->text += delta->text;
        continue;
      }
      if (&events[kept] != &e)
        events[kept] = std::move(e);
      open = std::get_if<call_delta>(&events[kept++]);
    }
    events.resize(kept);
    for (auto& e : events)
      emit(std::move(e));
    events.clear();
    if (!decoder_.over())
      return;
    over_ = true;
    sink_ = nullptr;
  }

  static std::size_t on_header(char* data, std::size_t size, std::size_t n, void* self) try {
    return static_cast<exchange*>(self)->header({data, size * n}) ? size * n : 0;
  } catch (...) {
    return 0; // must not unwind through C
  }

  static std::size_t on_body(char* data, std::size_t size, std::size_t n, void* self) try {
    return static_cast<exchange*>(self)->body({data, size * n}) ? size * n : 0;
  } catch (...) {
    return 0;
  }

  bool header(std::string_view line) {
    header_bytes_ += line.size();
    if (header_bytes_ > max_header_bytes) {
      end({errc::upstream_too_large, false, {}, "header larger than 64 KiB", {}});
      return false;
    }
    if (line.starts_with("HTTP/")) { // maybe after an interim answer
      retry_after_.clear();
      head_ended_ = false;
    }
    auto blank = line == "\r\n" || line == "\n";
    head_ended_ = head_ended_ || blank;
    if (std::string_view value; header_value(line, "retry-after:", value))
      retry_after_ = value;
    if (blank && status() == 200 && !opened_ &&
        starts_with_nocase(content_type(), "text/event-stream"))
      opened_ = true;
    return true;
  }

  bool body(std::string_view bytes) {
    if (draining_) {
      drained_ += bytes.size();
      return drained_ <= max_drain_bytes;
    }
    if (over_)
      return false;
    if (!opened_) {
      held_ += bytes.substr(0, max_error_body_bytes - held_.size());
      too_long_ = held_.size() >= max_error_body_bytes;
      return !too_long_;
    }
    decoder_.feed(bytes, events_);
    if (!decoder_.over()) { // libcurl gives each HTTP chunk alone
      auto loop = unsettled_ ? nullptr : loop_.lock();
      if (loop) {
        unsettled_ = true;
        loop->settle_later(shared_from_this());
      }
      return true;
    }
    bool complete = std::holds_alternative<call_finished>(events_.back());
    if (complete)
      drain();
    pass_on(events_);
    return complete;
  }

  // The answer is there; the end of its HTTP message usually follows at once, and then the
  // connection can be used again. A service that leaves it open is cut.
  void drain() {
    draining_ = true;
    drain_.expires_after(drain_time);
    drain_.async_wait([weak = weak_from_this()](boost::system::error_code ec) {
      if (ec)
        return;
      auto self = weak.lock();
      if (auto loop = self ? self->loop_.lock() : nullptr)
        loop->remove(*self);
    });
  }

  // What each piece looks at lies together.
  bool draining_ = false;
  bool over_ = false;
  bool opened_ = false;
  bool unsettled_ = false; // events_ waits for the end of what can be read now
  std::atomic<bool> cancelled_{false};
  call_sink sink_;
  std::weak_ptr<curl_loop> loop_; // which owns this while it is in it
  std::vector<call_event> events_;
  stream_decoder decoder_;

  std::shared_ptr<service> service_;
  std::string body_; // libcurl reads it while sending
  std::chrono::milliseconds connect_timeout_;
  asio::basic_waitable_timer<std::chrono::steady_clock,
                             asio::wait_traits<std::chrono::steady_clock>, curl_loop::strand>
      drain_;
  std::shared_ptr<const void> seat_;
  CURL* easy_;
  std::string held_; // the beginning of a body that is no event stream
  std::string retry_after_;
  std::size_t header_bytes_ = 0;
  std::size_t drained_ = 0;
  bool head_ended_ = false;
  bool too_long_ = false;
};

class handle final : public call {
public:
  handle(std::shared_ptr<curl_loop> loop, std::shared_ptr<exchange> e)
      : loop_{std::move(loop)}, exchange_{std::move(e)} {}
  ~handle() override { exchange_->cancel(loop_); }
  void cancel() override { exchange_->cancel(loop_); }

private:
  std::shared_ptr<curl_loop> loop_;
  std::shared_ptr<exchange> exchange_;
};

class openai final : public provider {
public:
  openai(asio::io_context& io, const openai_options& o)
      : loops_{io, o.max_connections, o.one_by_one}, service_{std::make_shared<service>(o)} {}

  std::unique_ptr<call> start(call_request request, call_sink sink) override {
    auto [loop, seat] = loops_.take();
    auto e = std::make_shared<exchange>(service_, request, std::move(sink), loop, std::move(seat));
    asio::post(loop->executor(), [loop = loop, e] { e->begin(loop); });
    return std::make_unique<handle>(std::move(loop), std::move(e));
  }

private:
  curl_loops loops_;
  std::shared_ptr<service> service_;
};

} // namespace

provider_ptr make_openai(boost::asio::io_context& io, openai_options options) {
  return std::make_shared<openai>(io, options);
}

} // namespace parlor::llm
