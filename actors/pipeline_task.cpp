#include "actors/pipeline_task.hpp"

#include <algorithm>
#include <utility>

namespace parlor {

namespace {

constexpr std::chrono::milliseconds progress_every{100}; // at most ten a second

/// For people: the first few.
std::string in_words(const std::vector<json::violation>& list) {
  constexpr std::size_t most = 3;
  std::string out;
  for (std::size_t i = 0; i < std::min(most, list.size()); ++i)
    out += (i == 0 ? "" : "; ") + json::to_string(list[i]);
  return out;
}

std::shared_ptr<const model_entry> with_deadlines(std::shared_ptr<const model_entry> model,
                                                  const pipeline_agent& agent) {
  if (!agent.first_token_timeout && !agent.token_timeout && !agent.total_timeout)
    return model;
  auto own = std::make_shared<model_entry>(*model);
  own->first_token = agent.first_token_timeout.value_or(own->first_token);
  own->between_tokens = agent.token_timeout.value_or(own->between_tokens);
  own->total = agent.total_timeout.value_or(own->total);
  return own;
}

} // namespace

void pipeline_task_state::report(decltype(task_report::what) what) {
  self->send(session, task_report{order->header, std::move(what)});
}

/// What its agents have come to before a restart, as far as the pipeline is still the same.
void pipeline_task_state::recall() {
  for (auto& past : order->done) {
    auto& agents = with.pipeline->agents;
    auto i = done.size();
    if (i == agents.size() || agents[i].name != past.name)
      return;
    auto result = read_stage_result(past.name, past.result);
    if (!result || !agents[i].output->check_text(result->data).empty())
      return;
    attempt = std::max(attempt, result->attempts + 1);
    done.push_back(std::move(*result));
  }
}

void pipeline_task_state::begin_agent() {
  if (done.size() == with.pipeline->agents.size())
    return over(task_status::completed, errc::none, {}, {});
  stage = std::make_shared<const std::string>(agent().name);
  answers = 0;
  used = {};
  began = self->clock().now();
  ask(first_messages());
}

std::vector<message> pipeline_task_state::first_messages() const {
  std::vector<std::string> data;
  for (auto& r : done)
    data.push_back(r.data);
  return agent_messages(*with.pipeline, done.size(), order->messages.back().content, data);
}

void pipeline_task_state::ask(std::vector<message> messages) {
  ++answers;
  answer.clear();
  tokens = 0;
  wrong.reset();
  watch = std::make_unique<json::watcher>(agent().output);
  auto& model = with.models[done.size()];
  auto header = std::make_shared<task_header>(*order->header);
  header->model = agent().model.empty() ? model->name : agent().model;
  auto one = std::make_shared<task_order>();
  one->messages = std::move(messages);
  one->settings.model = header->model;
  one->settings.temperature = agent().temperature;
  one->settings.max_tokens = agent().max_tokens;
  one->settings.response_format = agent().response_format;
  one->settings.script = order->settings.script;
  one->first_attempt = attempt;
  one->header = asked = std::move(header);
  running = self->spawn<caf::linked>(
      task, task_order_ptr{std::move(one)}, with_deadlines(model, agent()),
      with.tickets[done.size()], caf::actor_cast<task_sink_actor>(pipeline_actor{self}), random);
}

void pipeline_task_state::on_report(task_report& r) {
  if (auto* d = std::get_if<task_delta>(&r.what)) {
    if (r.task == asked) // else of an answer that has been stopped
      delta(*d);
  } else if (auto* w = std::get_if<task_retrying>(&r.what)) {
    retrying(*w);
  } else if (auto* a = std::get_if<task_attempt_ended>(&r.what)) {
    count(*a);
    report(std::move(*a));
  } else if (auto* o = std::get_if<task_over>(&r.what)) {
    answered(*o);
  }
}

void pipeline_task_state::delta(task_delta& d) {
  if (wrong || stopping)
    return; // what was on its way
  answer += d.text;
  tokens += estimate_tokens(d.text);
  wrong = watch->feed(d.text);
  report(task_delta{std::move(d.text), stage});
  report_progress();
  if (wrong)
    self->send(running, stop_task{}); // no need to pay for the rest
}

void pipeline_task_state::retrying(task_retrying& r) {
  attempt = r.attempt;
  if (wrong || stopping)
    return;
  if (r.discard) {
    answer.clear();
    tokens = 0;
    watch = std::make_unique<json::watcher>(agent().output);
  }
  r.stage = stage;
  report(std::move(r));
}

void pipeline_task_state::count(task_attempt_ended& a) {
  used += a.used;
  a.model = agent().model.empty() ? with.models[done.size()]->name : agent().model;
}

void pipeline_task_state::answered(task_over& o) {
  running = nullptr;
  with.tickets[done.size()]->release(); // it stays admitted: for the next answer, the next agent
  attempt = o.end.attempts;
  if (o.last)
    count(*o.last);
  if (stopping)
    return over(task_status::cancelled, errc::cancelled, {}, std::move(o.last));
  if (wrong) {
    if (o.last && (o.last->error == errc::cancelled || o.last->error == errc::none))
      o.last->error = errc::schema_violation;
    return violated({*wrong}, std::move(o.last));
  }
  if (o.end.status != task_status::completed)
    return over(o.end.status, o.end.error, std::move(o.end.detail), std::move(o.last));
  auto checked = check_answer(agent(), answer);
  if (checked.wrong.empty())
    return accept(checked.document, std::move(o.last));
  if (o.last)
    o.last->error = errc::schema_violation;
  violated(checked.wrong, std::move(o.last));
}

void pipeline_task_state::violated(const std::vector<json::violation>& list,
                                   std::optional<task_attempt_ended> last) {
  notice(log_level::debug, "answer_refused",
         {{"agent", *stage},
          {"violations", std::to_string(list.size())}, // which quote it
          {"attempt", std::to_string(attempt)},
          {"session", order->header->session},
          {"task", order->header->id},
          {"request_id", order->header->request_id}});
  if (answers >= agent().attempts)
    return over(task_status::failed, errc::schema_violation, *stage + ": " + in_words(list),
                std::move(last));
  if (last)
    report(std::move(*last));
  ++attempt;
  report(task_retrying{attempt, 0, !answer.empty(), stage, in_words(list)});
  auto messages = first_messages();
  ask_again(messages, answer, list); // of several wrong answers only the last: it costs tokens
  ask(std::move(messages));
}

void pipeline_task_state::accept(std::string_view document,
                                 std::optional<task_attempt_ended> last) {
  stage_result r;
  r.agent = *stage;
  r.data = document;
  for (auto& c : r.data) // on one line, for streams; within strings line breaks are escaped
    if (c == '\n' || c == '\r')
      c = ' ';
  r.attempts = attempt;
  r.used = used;
  r.duration_ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(self->clock().now() - began).count();
  auto result = to_json(r);
  auto end = done.size() + 1 == with.pipeline->agents.size();
  if (!end && last)
    report(*last);
  report(task_stage_done{stage, std::move(result)});
  used = {};
  done.push_back(std::move(r));
  if (end)
    return over(task_status::completed, errc::none, {}, std::move(last));
  ++attempt;
  begin_agent();
}

void pipeline_task_state::report_progress() {
  auto now = self->clock().now();
  if (percent != 0 && now - percent_at < progress_every)
    return;
  std::int64_t all = 0, before = 0;
  for (std::size_t i = 0; i < with.pipeline->agents.size(); ++i) {
    auto weight = with.pipeline->agents[i].expected_tokens;
    all += weight;
    before += i < done.size() ? weight : 0;
  }
  // An answer that is longer than expected is nearly done for as long as it goes on.
  auto here = std::min(tokens, agent().expected_tokens * 95 / 100);
  auto share = static_cast<std::uint32_t>(
      std::clamp<std::int64_t>((before + here) * 100 / std::max<std::int64_t>(all, 1), 1, 99));
  if (share <= percent)
    return;
  percent = share;
  percent_at = now;
  report(task_progress{percent, {}, stage});
}

void pipeline_task_state::over(task_status status, errc error, std::string detail,
                               std::optional<task_attempt_ended> last) {
  with.tickets.clear();
  outcome end;
  end.status = status;
  end.error = error;
  end.detail = std::move(detail);
  end.attempts = attempt;
  if (status == task_status::completed)
    end.finish_reason = "stop";
  for (auto& r : done)
    end.used += r.used;
  if (used.total() > 0)
    end.used += used;
  end.content =
      pipeline_result(done, status == task_status::completed || !stage ? std::string{} : *stage);
  if (last && last->model != order->header->model) { // with the end goes what is of its own model
    report(std::move(*last));
    last.reset();
  }
  report(task_over{std::move(end), {}, std::move(last)});
  self->quit();
}

pipeline_actor::behavior_type
pipeline_task(pipeline_actor::stateful_pointer<pipeline_task_state> self, task_order_ptr order,
              admission with, task_sink_actor session, random_source random) {
  guard(actor_kind::task, self);
  auto& st = self->state;
  st.order = std::move(order);
  st.with = std::move(with);
  st.session = std::move(session);
  st.random = std::move(random);
  st.attempt = st.order->first_attempt;
  st.recall();
  st.begin_agent();
  return {
      observed(actor_kind::task, self,
               [self](const stop_task&) {
                 auto& s = self->state;
                 s.stopping = true;
                 if (s.running)
                   self->send(s.running, stop_task{});
               }),
      observed(actor_kind::task, self, [](const outside_news&) { /* agents do not call back */ }),
      observed(actor_kind::task, self, [self](task_report& r) { self->state.on_report(r); }),
  };
}

} // namespace parlor
