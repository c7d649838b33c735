// What pages ask for plans, and what the service that makes them calls back with. The first line of
// the input is the session of the query.

#include "protocol/dialects/plan_callback.hpp"

#include "turn.hpp"

using namespace parlor;
namespace pc = parlor::plan_callback;

PARLOR_FUZZ(input) {
  auto asked = pc::parse_generate(input);
  if (auto* turn = std::get_if<turn_request>(&asked)) {
    fuzz::must(valid_session_id(turn->session.id) || turn->fresh, "a session has a name");
    fuzz::must_be_json(turn->said.content);
    fuzz::must_be_json(pc::outbound_json(turn->session.id, turn->said.content, "http://a/b"));
  } else
    fuzz::must_be_sound(std::get<refusal>(asked));

  auto line = input.find('\n');
  auto session = line == input.npos ? std::string_view{} : input.substr(0, line);
  auto body = line == input.npos ? input : input.substr(line + 1);
  auto read = pc::parse_callback(session, body);
  if (auto* refused = std::get_if<refusal>(&read))
    return fuzz::must_be_sound(*refused);
  auto& c = std::get<pc::callback>(read);
  fuzz::must(!c.session.empty() && valid_session_id(c.session), "a session has a name");
  if (!session.empty())
    fuzz::must(c.session == session, "the query's session comes first");
  fuzz::must_be_json(pc::received_json(c.session, c.what.what, 1));
  outcome end;
  event e;
  auto header = std::make_shared<task_header>();
  header->session = c.session;
  header->kind = task_kind::external;
  e.task = header;
  using news = outside_news::kind;
  switch (c.what.what) {
  case news::completed:
    fuzz::must_be_json(c.what.text);
    end.content = c.what.text;
    e.kind = event_kind::completed;
    break;
  case news::failed:
    fuzz::must(json::valid_utf8(c.what.text), "a message is text");
    end.status = task_status::failed;
    end.error = errc::generation_failed;
    end.content = c.what.text;
    e.kind = event_kind::failed;
    break;
  case news::progress:
    fuzz::must(c.what.percent <= 100 && json::valid_utf8(c.what.text), "a report is one");
    e.kind = event_kind::progress;
    e.number = c.what.percent;
    e.text = c.what.text;
    break;
  }
  pc::repeats(c.what, end);
  if (ends_task(e.kind))
    e.end = std::make_shared<outcome>(end);
  fuzz::must_be_blocks(pc::encode("4gg8fj31", language::en, e));
}
