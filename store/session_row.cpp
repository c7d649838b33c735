#include "store/session_row.hpp"

namespace parlor::store {

session_row read_session_row(const sqlite::rows& r) {
  session_row s;
  s.key = {r.text(0), r.text(1)};
  s.number = r.integer(2);
  s.created_at = r.integer(3);
  s.last_accessed = r.integer(4);
  s.message_count = r.integer(5);
  s.total_tokens = r.integer(6);
  s.question_count = r.integer(7);
  s.first_seq = r.number(8);
  s.last_seq = r.number(9);
  s.lease = r.number(10);
  s.open_tasks = r.integer(11);
  s.last_task = r.integer(12);
  s.last_message = r.integer(13);
  return s;
}

std::optional<session_row> find_session_row(sqlite::connection& db, const session_key& key) {
  auto r = db.query("SELECT " PARLOR_SESSION_COLUMNS " FROM session WHERE tenant = ? AND name = ?",
                    key.tenant, key.id);
  return r.next() ? std::optional{read_session_row(r)} : std::nullopt;
}

} // namespace parlor::store
