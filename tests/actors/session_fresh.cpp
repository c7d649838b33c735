// A session whose id the server has just made begins without a question to the store.

#include "actors/session.hpp"
#include "support/catch.hpp"
#include "virtual_time.hpp"

using namespace parlor;
using namespace std::chrono_literals;

namespace {

struct one_session : virtual_time {
  int asked = 0; // the archive
  session_actor it;
  caf::scoped_actor me{system};

  one_session() {
    auto world = std::make_shared<session_world>();
    world->archive =
        owned(system.spawn([this](archive_actor::pointer) -> archive_actor::behavior_type {
          return {[this](const store_query_ptr&) -> store_reply_ptr {
            ++asked;
            auto reply = std::make_shared<store_reply>();
            reply->value = store::session_image{};
            return reply;
          }};
        }));
    world->wall = [] { return std::int64_t{1'758'000'000'000}; };
    world->find_model = [](const std::string&) { return std::shared_ptr<const model_entry>{}; };
    it = owned(system.spawn(session, session_world_ptr{world}, session_key{"", "s"}, lobby_actor{},
                            session_past{}));
    settle();
  }

  /// What the session answers; it knows no model, so that a turn ends there.
  errc say(session_ask::kind what, bool fresh) {
    auto ask = std::make_shared<session_ask>();
    ask->what = what;
    ask->key = {"", "s"};
    ask->turn.session = ask->key;
    ask->turn.fresh = fresh;
    auto code = errc::internal;
    auto answer = me->request(it, caf::infinite, session_ask_ptr{ask});
    settle();
    answer.receive([&](const session_answer_ptr& a) { code = a->why.code; }, [](caf::error&) {});
    return code;
  }
};

} // namespace

TEST_CASE_METHOD(one_session, "a new session's first turn does not wait for the store") {
  CHECK(say(session_ask::kind::submit, true) == errc::unknown_model);
  CHECK(asked == 0);
  CHECK(say(session_ask::kind::submit, false) == errc::unknown_model); // it is there by now
  CHECK(asked == 0);
}

TEST_CASE_METHOD(one_session, "a session that somebody may have used is looked up") {
  CHECK(say(session_ask::kind::submit, false) == errc::unknown_model);
  CHECK(asked == 1);
}
