#include "actors/session.hpp"

// Who does the work of a turn: found when the turn is taken, spawned when its time has come.

namespace parlor {

errc session_state::admit(task_kind kind, const std::string& ref, const std::string& model,
                          bool in_any_case, admission& out) const {
  if (kind == task_kind::external)
    return errc::none;
  std::vector<std::string> wanted{model};
  if (kind == task_kind::pipeline) {
    out.pipeline = world->find_pipeline ? world->find_pipeline(ref) : nullptr;
    if (!out.pipeline)
      return errc::not_configured; // it was, when the turn was taken
    wanted.clear();
    for (auto& agent : out.pipeline->agents)
      wanted.push_back(agent.model);
  }
  for (auto& model_name : wanted) {
    auto entry = world->find_model(model_name);
    if (!entry)
      return errc::unknown_model;
    // Agents that ask the same provider share a place there: they run one after another.
    std::shared_ptr<llm::limiter::ticket> ticket;
    for (std::size_t i = 0; i < out.models.size(); ++i)
      if (out.models[i]->limit == entry->limit)
        ticket = out.tickets[i];
    if (!ticket)
      ticket = entry->limit->admit(in_any_case);
    if (!ticket)
      return errc::saturated;
    out.models.push_back(std::move(entry));
    out.tickets.push_back(std::move(ticket));
  }
  return errc::none;
}

void session_state::submit(const session_ask& ask,
                           caf::typed_response_promise<session_answer_ptr> promise) {
  auto turn = ask.turn;
  admission a;
  auto why = admit(turn.kind, turn.ref, turn.settings.model, false, a);
  if (world->turn_memory && why == errc::none) {
    turn.memory = world->turn_memory->hold(bytes_of(turn));
    if (!turn.memory)
      why = errc::saturated;
  }
  if (why != errc::none) {
    promise.deliver(refusal_answer(why));
    return;
  }
  if (turn.settings.model.empty() && a.pipeline)
    turn.settings.model = a.pipeline->agents.front().model;
  if (turn.settings.model.empty() && !a.models.empty())
    turn.settings.model = a.models.front()->name;
  if (!a.models.empty())
    admitted.emplace(turn.task_id, std::move(a));
  if (ask.listener)
    listen(ask.listener);
  auto id = keep(std::move(promise), ask.listener, turn.task_id);
  perform(talk->submit(std::move(turn), id, world->wall()));
}

worker_actor session_state::spawn_worker(task_order_ptr order, errc& why) {
  auto me = caf::actor_cast<task_sink_actor>(session_actor{self});
  auto& header = *order->header;
  if (header.kind == task_kind::external) {
    static const auto none = std::make_shared<const external_service>();
    return self->spawn<caf::linked>(external_task, std::move(order),
                                    world->external ? world->external : none, me, world->random,
                                    world->wall());
  }
  admission a;
  if (auto i = admitted.find(running_id); i != admitted.end()) {
    a = std::move(i->second);
    admitted.erase(i);
  } else { // a task found after a restart: accepted long ago
    why = admit(header.kind, header.ref, order->settings.model, true, a);
    if (why != errc::none)
      return {};
  }
  if (a.pipeline)
    return self->spawn<caf::linked>(pipeline_task, std::move(order), std::move(a), me,
                                    world->random);
  return self->spawn<caf::linked>(task, std::move(order), std::move(a.models.front()),
                                  std::move(a.tickets.front()), me, world->random);
}

} // namespace parlor
