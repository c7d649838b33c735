// The edge's answers that come from the store alone: lists, pages, health.

#include "actors/edge.hpp"

#include "actors/ask.hpp"
#include "actors/edge_answers.hpp"
#include "protocol/dialects/chat_sessions.hpp"

namespace parlor {

void edge_state::page(const visit_ptr& v) {
  auto query = std::make_shared<store_query>();
  query->ask = [v](store::reader& r) -> std::any {
    switch (v->what) {
    case visit::kind::sessions: {
      auto p = r.list_sessions(v->key.tenant, v->limit, v->page);
      return chat_sessions::session_page_json(p.sessions, p.total, p.next_cursor);
    }
    case visit::kind::messages: {
      auto p = r.list_messages(v->key, v->limit, v->page);
      return p ? chat_sessions::messages_json(v->key.id, p->messages, p->next_before)
               : std::string{};
    }
    default:
      return chat_sessions::health_json(true, r.count_sessions(), {});
    }
  };
  auto failed = [v] {
    if (v->what == visit::kind::health)
      respond_json(*v, 503, chat_sessions::health_json(false, 0, "the store cannot be read"));
    else
      respond_refusal(*v, {errc::store_failed});
  };
  parlor::ask(
      self, options.archive, std::chrono::seconds{30}, store_query_ptr{std::move(query)},
      [v, failed](const store_reply_ptr& reply) {
        auto* body = std::any_cast<std::string>(&reply->value);
        if (body == nullptr)
          failed();
        else if (body->empty())
          respond_refusal(*v, {errc::session_not_found});
        else
          respond_json(*v, 200, *body);
      },
      [failed](caf::error&) { failed(); });
}

} // namespace parlor
