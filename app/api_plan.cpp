// The routes of docs/clients/plan-callback.md.

#include "app/api.hpp"

#include "app/api_context.hpp"
#include "app/routes.hpp"
#include "protocol/dialects/plan_callback.hpp"

namespace parlor {

namespace {

constexpr stream_shape shape{&plan_callback::encode, nullptr, nullptr};

} // namespace

void api::plan(context& c, int route) const {
  auto session = query_value(c.request.query, "sessionId");
  visit v;
  switch (route) {
  case plan_stream:
    if (!valid_session_id(session))
      return refuse(c, {errc::invalid_field, "sessionId", session_id_rule});
    if (!read_cursor(c, v))
      return;
    v.what = visit::kind::plan_stream;
    v.key.id = std::move(session);
    v.shape = &shape;
    return send(c, std::move(v));
  case plan_generate: {
    if (!gate_open(c) || !json_body(c))
      return;
    auto read = plan_callback::parse_generate(c.request.body);
    if (auto* why = std::get_if<refusal>(&read))
      return refuse(c, std::move(*why));
    if (!options_.plans)
      return refuse(c, {errc::not_configured, {}, "no external service is configured"});
    v.what = visit::kind::plan_generate;
    v.turn = std::move(std::get<turn_request>(read));
    v.turn.kind = task_kind::external;
    v.key = v.turn.session;
    return take(c, std::move(v));
  }
  case plan_update: {
    // Without tokens nothing else tells a page of a stranger from the service: pages cannot send
    // JSON across origins unasked.
    if (!json_body(c, options_.signer != nullptr))
      return;
    auto read = plan_callback::parse_callback(session, c.request.body);
    if (auto* why = std::get_if<refusal>(&read))
      return refuse(c, std::move(*why));
    auto& callback = std::get<plan_callback::callback>(read);
    v.what = visit::kind::plan_update;
    v.key.id = std::move(callback.session);
    v.news = std::move(callback.what);
    if (options_.signer) {
      auto claim = options_.signer->verify(v.key, query_value(c.request.query, "token"));
      if (claim)
        v.task = std::move(claim->task);
      else
        v.because = errc::bad_token;
    }
    return send(c, std::move(v));
  }
  default:
    v.what = visit::kind::plan_stats;
    return send(c, std::move(v));
  }
}

} // namespace parlor
