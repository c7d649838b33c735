#include "actors/task.hpp"

#include <algorithm>

namespace parlor {

void task_state::report(decltype(task_report::what) what) {
  self->send(session, task_report{order->header, std::move(what)});
}

bool pieces_heard::note(time_point now, std::int64_t tokens) noexcept {
  auto n = count_.load(std::memory_order_relaxed);
  if (n == 0)
    first_.store(now, std::memory_order_relaxed);
  last_.store(now, std::memory_order_relaxed);
  tokens_.store(tokens_.load(std::memory_order_relaxed) + tokens, std::memory_order_relaxed);
  count_.store(n + 1, std::memory_order_release);
  return n == 0;
}

/// A piece goes to the session without waking the task, which would be a third of its way. What the
/// task says when it has heard of the end still comes behind all pieces, as they are in the
/// session's mailbox before the task is told.
llm::call_sink task_state::make_sink() {
  return [me = caf::actor_cast<task_actor>(self), to = session, header = order->header,
          clock = &self->clock(), into = heard, n = attempt](llm::call_event e) {
    auto* piece = std::get_if<llm::call_delta>(&e);
    if (piece == nullptr)
      return caf::anon_send(me, call_news{n, std::move(e)});
    auto first = into->note(clock->now(), estimate_tokens(piece->text));
    caf::anon_send(to, task_report{header, task_delta{std::move(piece->text)}});
    if (first)
      caf::anon_send(me, call_news{n, llm::call_delta{}});
  };
}

void task_state::begin_attempt() {
  ++tried;
  heard = std::make_shared<pieces_heard>();
  upstream_status = 0;
  waiting_for_slot = true;
  auto me = caf::actor_cast<task_actor>(self);
  ticket->acquire([me, n = attempt] { caf::anon_send(me, call_granted{n}); });
}

void task_state::granted() {
  waiting_for_slot = false;
  auto now = self->clock().now();
  if (tried > 1 && now >= total_due)
    return; // the alarm is on its way
  llm::call_request request;
  request.messages = order->messages;
  request.settings = order->settings;
  if (!model->upstream_name.empty())
    request.settings.model = model->upstream_name;
  request.connect_timeout = model->connect;
  request.attempt = attempt;
  if (tried == 1)
    total_due = now + model->total;
  call_from = now;
  phase_due = now + model->first_token;
  call = model->provider->start(std::move(request), make_sink());
  arm();
}

void task_state::arm() {
  armed_for = std::min(total_due, phase_due);
  self->delayed_send(self,
                     std::max(caf::timespan{0}, caf::timespan{armed_for - self->clock().now()}),
                     task_alarm{++generation});
}

void task_state::on_alarm(std::uint64_t gen) {
  if (gen != generation)
    return;
  if (!call) // it waits for the next attempt, or for a place to make it
    return over(task_status::failed, errc::upstream_timeout, "total deadline", {});
  auto now = self->clock().now();
  auto some = shown();
  if (some) // one alarm is out, whatever the number of pieces: it finds out how long the last one
            // is ago
    phase_due = heard->last() + model->between_tokens;
  if (now < total_due && now < phase_due)
    return arm();
  call.reset();
  auto error = now >= total_due || !some ? errc::upstream_timeout : errc::upstream_stalled;
  over(task_status::failed, error,
       now >= total_due ? "total deadline"
       : some           ? "silence between pieces"
                        : "no first piece",
       account(std::nullopt, error));
}

void task_state::measure(const std::optional<usage>& told, errc error) {
  auto seconds = [](caf::timespan t) { return std::chrono::duration<double>{t}.count(); };
  auto& s = *model->seen;
  s.duration.observe(seconds(self->clock().now() - call_from));
  if (auto n = heard->count(); n > 1)
    s.per_chunk.observe(seconds(heard->last() - heard->first()) / static_cast<double>(n - 1),
                        n - 1);
  if (told && told->exact) { // what is only estimated is not measured
    s.input_tokens.observe(static_cast<double>(told->prompt_tokens));
    s.output_tokens.observe(static_cast<double>(told->completion_tokens));
  }
  call_stats::count(s.failures, error);
}

task_attempt_ended task_state::account(const std::optional<usage>& told, errc error) {
  auto used = told.value_or(usage{});
  if (used.prompt_tokens == 0) {
    used.exact = false;
    for (auto& m : order->messages)
      used.prompt_tokens += estimate_tokens(m);
  }
  // Some tell it with each piece: then that of an answer that was cut is of what had come by then.
  auto tokens = heard->tokens();
  if (error != errc::none || (used.completion_tokens == 0 && tokens != 0)) {
    used.exact = false;
    used.completion_tokens = std::max(used.completion_tokens, tokens);
  }
  measure(used, error);
  total_used += used;
  return {attempt, used, error};
}

void task_state::over(task_status status, errc error, std::string detail,
                      std::optional<task_attempt_ended> last, std::string finish_reason,
                      std::string extra) {
  call.reset();
  ticket.reset();
  outcome end;
  end.status = status;
  end.error = error;
  end.detail = std::move(detail);
  end.upstream_status = upstream_status;
  end.finish_reason = std::move(finish_reason);
  end.used = total_used;
  end.attempts = attempt;
  report(task_over{std::move(end), std::move(extra), last});
  self->quit();
}

void task_state::attempt_failed(llm::call_failed& f) {
  call.reset();
  upstream_status = f.status;
  model->seen->ignored += f.ignored;
  auto ended = account(f.used, f.code);
  auto delay =
      f.can_pass ? next_delay(model->backoff, tried, f.retry_after, random()) : std::nullopt;
  if (!delay || self->clock().now() + *delay >= total_due)
    return over(task_status::failed, f.code, std::move(f.detail), ended);
  call_stats::count(model->seen->retries, f.code);
  notice(log_level::debug, "attempt_failed",
         {{"code", to_string(f.code)},
          {"detail", f.detail},
          {"model", order->header->model},
          {"provider", model->provider_name},
          {"attempt", std::to_string(attempt)},
          {"session", order->header->session},
          {"task", order->header->id},
          {"request_id", order->header->request_id}});
  ticket->release(); // others may go while this one waits
  phase_due = total_due;
  arm();
  report(ended);
  report(task_retrying{attempt + 1, static_cast<std::uint32_t>(delay->count()), shown(), {}, {}});
  ++attempt;
  self->delayed_send(self, caf::timespan{*delay}, retry_now{attempt});
}

void task_state::on_news(call_news& news) {
  if (news.attempt != attempt || !call)
    return;                                                 // of an attempt that is over
  if (std::holds_alternative<llm::call_delta>(news.what)) { // the first
    model->seen->first_chunk.observe(
        std::chrono::duration<double>{heard->first() - call_from}.count());
    phase_due = heard->last() + model->between_tokens;
    if (phase_due < armed_for)
      arm();
  } else if (auto* done = std::get_if<llm::call_finished>(&news.what)) {
    model->seen->ignored += done->ignored;
    auto last = account(done->used, errc::none);
    std::string extra;
    if (!done->tool_calls.empty())
      extra = "{\"tool_calls\":" + done->tool_calls + "}";
    over(task_status::completed, errc::none, {}, last, std::move(done->finish_reason),
         std::move(extra));
  } else if (auto* failed = std::get_if<llm::call_failed>(&news.what)) {
    attempt_failed(*failed);
  }
}

task_actor::behavior_type task(task_actor::stateful_pointer<task_state> self, task_order_ptr order,
                               std::shared_ptr<const model_entry> model,
                               std::shared_ptr<llm::limiter::ticket> ticket,
                               task_sink_actor session, random_source random) {
  guard(actor_kind::task, self);
  auto& st = self->state;
  st.order = std::move(order);
  st.model = std::move(model);
  st.ticket = std::move(ticket);
  st.session = std::move(session);
  st.random = std::move(random);
  st.attempt = st.order->first_attempt;
  st.total_due = self->clock().now() + st.model->total;
  st.begin_attempt();
  return {
      observed(actor_kind::task, self,
               [self](const stop_task&) {
                 auto& s = self->state;
                 std::optional<task_attempt_ended> last;
                 if (s.call) {
                   s.call.reset();
                   last = s.account(std::nullopt, errc::cancelled);
                 }
                 s.over(task_status::cancelled, errc::cancelled, {}, last);
               }),
      observed(actor_kind::task, self, [](const outside_news&) { /* models do not call back */ }),
      observed(actor_kind::task, self, [self](call_news& news) { self->state.on_news(news); }),
      observed(actor_kind::task, self,
               [self](const call_granted& g) {
                 if (g.attempt == self->state.attempt && self->state.waiting_for_slot)
                   self->state.granted();
               }),
      observed(actor_kind::task, self,
               [self](const task_alarm& a) { self->state.on_alarm(a.generation); }),
      observed(actor_kind::task, self,
               [self](const retry_now& r) {
                 if (r.attempt == self->state.attempt)
                   self->state.begin_attempt();
               }),
  };
}

} // namespace parlor
