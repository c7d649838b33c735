#include "actors/external_task.hpp"

#include <algorithm>

namespace parlor {

void external_task_state::report(decltype(task_report::what) what) {
  self->send(session, task_report{order->header, std::move(what)});
}

void external_task_state::begin_attempt() {
  ++tried;
  auto me = caf::actor_cast<external_actor>(self);
  llm::post_request r;
  r.url = service->url;
  r.body = service->request(*order, attempt);
  r.connect_timeout = service->connect;
  r.total_timeout = service->accept;
  post = service->poster->start(std::move(r), [me, n = attempt](llm::post_result result) {
    caf::anon_send(me, posted{n, std::move(result)});
  });
}

void external_task_state::answered(const posted& p) {
  if (p.attempt != attempt || !post)
    return;
  post.reset();
  if (p.result.ok()) {
    report(task_stage_done{called_stage(), "{}"});
    return await(service->result);
  }
  auto delay = p.result.can_pass
                   ? next_delay(service->backoff, tried, p.result.retry_after, random())
                   : std::nullopt;
  if (!delay)
    return over(task_status::failed, p.result.code, {}, p.result.detail);
  ++attempt;
  report(task_retrying{attempt, static_cast<std::uint32_t>(delay->count()), false, {}, {}});
  self->delayed_send(self, caf::timespan{*delay}, retry_now{attempt});
}

void external_task_state::await(std::chrono::milliseconds rest) {
  self->delayed_send(self, caf::timespan{rest}, task_alarm{++generation});
}

void external_task_state::heard(const outside_news& news) {
  // It may call back before it has answered the call: what counts is what it says.
  if (news.what == outside_news::kind::completed)
    over(task_status::completed, errc::none, news.text, {});
  else if (news.what == outside_news::kind::failed)
    over(task_status::failed, errc::generation_failed, news.text, "the service said so");
}

void external_task_state::over(task_status status, errc error, std::string content,
                               std::string detail) {
  post.reset();
  outcome end;
  end.status = status;
  end.error = error;
  end.content = std::move(content);
  end.detail = std::move(detail);
  end.attempts = attempt;
  if (status == task_status::completed || error == errc::generation_failed)
    end.finish_reason = by_callback;
  report(task_over{std::move(end), {}, {}});
  self->quit();
}

external_actor::behavior_type
external_task(external_actor::stateful_pointer<external_task_state> self, task_order_ptr order,
              external_service_ptr service, task_sink_actor session, std::function<double()> random,
              std::int64_t wall) {
  guard(actor_kind::external, self);
  auto& st = self->state;
  st.order = std::move(order);
  st.service = std::move(service);
  st.session = std::move(session);
  st.random = std::move(random);
  st.attempt = st.order->first_attempt;
  if (!st.order->done.empty()) { // before a restart
    auto gone =
        std::chrono::milliseconds{std::max<std::int64_t>(0, wall - st.order->done.back().at)};
    st.await(std::max(st.service->result - gone, std::chrono::milliseconds{0}));
  } else if (st.service->url.empty()) {
    st.over(task_status::failed, errc::not_configured, {}, "no external service is configured");
  } else {
    st.begin_attempt();
  }
  return {
      observed(actor_kind::external, self,
               [self](const stop_task&) {
                 self->state.over(task_status::cancelled, errc::cancelled, {}, {});
               }),
      observed(actor_kind::external, self, [self](const outside_news& n) { self->state.heard(n); }),
      observed(actor_kind::external, self, [self](const posted& p) { self->state.answered(p); }),
      observed(actor_kind::external, self,
               [self](const retry_now& r) {
                 if (r.attempt == self->state.attempt)
                   self->state.begin_attempt();
               }),
      observed(actor_kind::external, self,
               [self](const task_alarm& a) {
                 if (a.generation == self->state.generation)
                   self->state.over(task_status::failed, errc::generation_timeout, {},
                                    "no callback in time");
               }),
  };
}

} // namespace parlor
