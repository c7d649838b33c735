#include "llm/rehearsal.hpp"

#include "llm/rehearsal_answer.hpp"

#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <optional>
#include <utility>

namespace parlor::llm {

namespace {

namespace asio = boost::asio;
using clock = std::chrono::steady_clock;

enum class act { ok, slow, too_many, broken, refuse, auth, hang, stall, cut };

struct step {
  act what = act::ok;
  std::int64_t n = 0;
};

std::optional<step> parse_step(std::string_view text) {
  while (text.starts_with(' '))
    text.remove_prefix(1);
  while (text.ends_with(' '))
    text.remove_suffix(1);
  auto colon = text.find(':');
  auto name = text.substr(0, colon);
  step result;
  if (colon != text.npos) {
    auto digits = text.substr(colon + 1);
    auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), result.n);
    if (ec != std::errc{} || end != digits.data() + digits.size() || result.n < 0)
      return {};
  }
  constexpr std::pair<std::string_view, act> names[] = {
      {"ok", act::ok},      {"slow", act::slow},     {"429", act::too_many},
      {"500", act::broken}, {"refuse", act::refuse}, {"auth", act::auth},
      {"hang", act::hang},  {"stall", act::stall},   {"cut", act::cut}};
  for (auto& [known, what] : names)
    if (name == known) {
      result.what = what;
      return result;
    }
  return {};
}

step step_for(std::string_view script, std::uint32_t attempt) {
  step result;
  for (std::uint32_t i = 0; i < std::max(attempt, 1u); ++i) {
    auto comma = script.find(',');
    if (!script.empty())
      result = parse_step(script.substr(0, comma)).value_or(step{});
    if (comma == script.npos)
      break;
    script.remove_prefix(comma + 1);
  }
  return result;
}

// One answer under way. Everything but `cancelled_` is touched on the strand only.
class performance : public std::enable_shared_from_this<performance> {
public:
  performance(asio::io_context& io, call_request request, call_sink sink,
              const rehearsal_options& options)
      : timer_{asio::make_strand(io)}, request_{std::move(request)}, sink_{std::move(sink)},
        first_{options.first_token},
        interval_{options.tokens_per_second > 0
                      ? std::chrono::nanoseconds{static_cast<std::int64_t>(
                            1e9 / options.tokens_per_second)}
                      : std::chrono::nanoseconds{0}},
        step_{step_for(request_.settings.script.empty() ? options.script : request_.settings.script,
                       request_.attempt)} {}

  void start() {
    asio::post(timer_.get_executor(), [self = shared_from_this()] { self->open(); });
  }

  void cancel() {
    if (!cancelled_.exchange(true))
      asio::post(timer_.get_executor(), [self = shared_from_this()] {
        self->timer_.cancel();
        self->sink_ = nullptr;
      });
  }

private:
  void emit(call_event e) {
    if (sink_ && !cancelled_)
      sink_(std::move(e));
  }

  void end(call_event e) {
    emit(std::move(e));
    sink_ = nullptr;
  }

  void fail(errc code, bool can_pass, std::string detail,
            std::optional<std::chrono::milliseconds> retry_after = {}) {
    end(call_failed{code, can_pass, retry_after, std::move(detail), {}});
  }

  void open() {
    if (cancelled_)
      return;
    switch (step_.what) {
    case act::too_many:
      return fail(errc::upstream_rate_limited, true, "HTTP 429 (rehearsed)",
                  std::chrono::seconds{step_.n});
    case act::broken:
      return fail(errc::upstream_error, true, "HTTP 500 (rehearsed)");
    case act::refuse:
      return fail(errc::upstream_unreachable, true, "connection refused (rehearsed)");
    case act::auth:
      return fail(errc::upstream_auth, false, "HTTP 401 (rehearsed)");
    case act::hang:
      return; // until it is cancelled
    case act::slow:
      first_ = std::chrono::milliseconds{step_.n};
      break;
    default:
      break;
    }
    answer_ = rehearsal_answer(request_.messages, request_.settings);
    if (step_.what == act::cut || step_.what == act::stall)
      limit_ = static_cast<std::size_t>(step_.n);
    else if (request_.settings.max_tokens)
      limit_ = static_cast<std::size_t>(std::max<std::int64_t>(*request_.settings.max_tokens, 0));
    due_ = clock::now() + first_;
    if (first_.count() > 0)
      wait();
    else
      go_on();
  }

  void wait() {
    timer_.expires_at(due_);
    timer_.async_wait([self = shared_from_this()](const boost::system::error_code& ec) {
      if (!ec)
        self->go_on();
    });
  }

  bool over() const { return at_ >= answer_.size() || said_ >= limit_; }

  void say_one() {
    auto piece = next_piece(answer_, at_);
    at_ += piece.size();
    ++said_;
    emit(call_delta{std::string{piece}});
  }

  // Says what is due. Deadlines are absolute: a late wake-up does not slow the stream down.
  void go_on() {
    constexpr int batch = 64; // so that one long answer does not hold up the thread
    auto now = clock::now();
    for (int i = 0; i < batch && !over() && !cancelled_; ++i) {
      if (interval_.count() > 0 && due_ > now)
        return wait();
      say_one();
      due_ += interval_;
    }
    if (cancelled_)
      return;
    if (over())
      return finish();
    asio::post(timer_.get_executor(), [self = shared_from_this()] { self->go_on(); });
  }

  void finish() {
    auto used = count();
    if (step_.what == act::stall)
      return; // silence until it is cancelled
    if (step_.what == act::cut)
      return end(call_failed{errc::upstream_truncated, true, {}, "stream cut (rehearsed)", {}});
    auto reason = at_ < answer_.size() ? "length" : "stop";
    end(call_finished{reason, request_.settings.model, used, {}});
  }

  usage count() const {
    usage used;
    for (auto& m : request_.messages)
      used.prompt_tokens += estimate_tokens(m);
    used.completion_tokens = estimate_tokens(std::string_view{answer_}.substr(0, at_));
    used.exact = true;
    return used;
  }

  asio::basic_waitable_timer<clock, asio::wait_traits<clock>,
                             asio::strand<asio::io_context::executor_type>>
      timer_;
  call_request request_;
  call_sink sink_;
  std::chrono::milliseconds first_;
  std::chrono::nanoseconds interval_;
  step step_;
  std::string answer_;
  std::size_t at_ = 0;
  std::size_t said_ = 0;
  std::size_t limit_ = SIZE_MAX;
  clock::time_point due_;
  std::atomic<bool> cancelled_{false};
};

class handle final : public call {
public:
  explicit handle(std::shared_ptr<performance> p) : performance_{std::move(p)} {}
  ~handle() override { performance_->cancel(); }
  void cancel() override { performance_->cancel(); }

private:
  std::shared_ptr<performance> performance_;
};

class rehearsal final : public provider {
public:
  rehearsal(asio::io_context& io, rehearsal_options options)
      : io_{io}, options_{std::move(options)} {}

  std::unique_ptr<call> start(call_request request, call_sink sink) override {
    auto p = std::make_shared<performance>(io_, std::move(request), std::move(sink), options_);
    p->start();
    return std::make_unique<handle>(std::move(p));
  }

private:
  asio::io_context& io_;
  rehearsal_options options_;
};

} // namespace

provider_ptr make_rehearsal(boost::asio::io_context& io, rehearsal_options options) {
  return std::make_shared<rehearsal>(io, std::move(options));
}

bool valid_rehearsal_script(std::string_view script) {
  if (script.empty())
    return true;
  for (;;) {
    auto comma = script.find(',');
    if (!parse_step(script.substr(0, comma)))
      return false;
    if (comma == script.npos)
      return true;
    script.remove_prefix(comma + 1);
  }
}

} // namespace parlor::llm
