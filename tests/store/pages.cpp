// Lists come in pages that neither repeat nor miss.

#include "fixture.hpp"

using namespace parlor;
using namespace parlor::store;
using namespace parlor::store::test;

TEST_CASE_METHOD(fixture, "sessions are paged, most recently used first", "[store]") {
  std::vector<fact_group> groups;
  for (int i = 0; i < 25; ++i) { // several share a moment
    auto n = std::to_string(i);
    groups.push_back(turn({"a", "s" + n}, "t" + n, 1000 + i / 4, 1));
  }
  groups.push_back(turn({"b", "theirs"}, "tb", 5000, 1));
  apply(groups);
  std::vector<std::string> seen;
  std::string cursor;
  int pages = 0;
  do {
    auto page = r->list_sessions("a", 10, cursor);
    CHECK(page.total == 25);
    for (auto& s : page.sessions)
      seen.push_back(s.id);
    cursor = page.next_cursor;
  } while (!cursor.empty() && ++pages < 10);
  REQUIRE(seen.size() == 25);
  for (int i = 0; i < 25; ++i)
    CHECK(seen[static_cast<std::size_t>(i)] == "s" + std::to_string(24 - i));
  CHECK(r->count_sessions() == 26);
  CHECK(r->list_sessions("nobody", 10, "").sessions.empty());
  CHECK(r->list_sessions("a", 25, "").next_cursor.empty());
}

TEST_CASE_METHOD(fixture, "messages are paged from the newest", "[store]") {
  session_key key{"", "s"};
  std::vector<fact_group> groups;
  for (std::uint64_t i = 0; i < 6; ++i)
    groups.push_back(
        turn(key, "t" + std::to_string(i), static_cast<std::int64_t>(i) * 10, i * 3 + 1));
  apply(groups);
  CHECK_FALSE(r->list_messages({"", "none"}, 5, ""));
  auto newest = r->list_messages(key, 5, "");
  REQUIRE(newest);
  REQUIRE(newest->messages.size() == 5);
  CHECK(newest->messages.back().id == "msg_a_t5");
  CHECK(newest->messages.front().id == "msg_a_t3");
  REQUIRE_FALSE(newest->next_before.empty());
  auto older = r->list_messages(key, 5, newest->next_before);
  CHECK(older->messages.back().id == "msg_u_t3");
  CHECK(r->list_messages(key, 5, "msg_a_t3")->messages.back().id == "msg_u_t3");
  auto oldest = r->list_messages(key, 5, older->next_before);
  CHECK(oldest->messages.size() == 2);
  CHECK(oldest->next_before.empty());
  CHECK(r->list_messages(key, 5, "msg_unknown")->messages.empty());
  auto history = r->load_session(key, 3).history;
  REQUIRE(history.size() == 3);
  CHECK(history.front().id == "msg_a_t4");
}
