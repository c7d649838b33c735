// Lists come in pages that neither repeat nor miss.

#include "fixture.hpp"

#include <set>

using namespace parlor;
using namespace parlor::store;
using namespace parlor::store::test;

TEST_CASE_METHOD(fixture, "sessions are paged, most recently used first", "[store]") {
  std::vector<fact_group> groups;
  for (int i = 0; i < 25; ++i) { // several share a moment
    auto n = std::to_string(i);
    groups.push_back(turn({"a", "s" + n}, "t" + n, 1000 + i / 4, 1));
  }
  const auto moment = [](const std::string& name) { return std::stoi(name.substr(1)) / 4; };
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
    CHECK(moment(seen[static_cast<std::size_t>(i)]) == (24 - i) / 4);
  CHECK(std::set(seen.begin(), seen.end()).size() == 25);
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
  auto image = r->load_session(key, {3}); // whole turns
  REQUIRE(image.history.size() == 4);
  CHECK(image.history.front().id == "msg_u_t4");
  CHECK(image.older == 8);
}

TEST_CASE_METHOD(fixture, "a page of long messages ends early", "[store]") {
  session_key key{"", "s"};
  for (std::uint64_t i = 0; i < 5; ++i)
    apply({turn(key, "t" + std::to_string(i), 1, i * 10 + 1, std::string(3'000'000, 'x'))});
  std::vector<std::size_t> sizes;
  std::string before;
  do {
    auto page = r->list_messages(key, 1000, before);
    sizes.push_back(page->messages.size());
    before = page->next_before;
  } while (!before.empty());
  CHECK(sizes == std::vector<std::size_t>{4, 4, 2}); // two questions and their answers
}

TEST_CASE_METHOD(fixture, "of a long history no more is loaded than may be sent", "[store]") {
  session_key key{"", "s"};
  auto unanswered = ended(key, "t1", 40, 12, "", task_status::failed);
  change_end(unanswered, [](outcome& end) { end.message_id.clear(); });
  apply({turn(key, "t0", 1, 1, std::string(100, 'a')),
         {accepted(key, "t1", 20, 10, std::string(5000, 'q'))},
         {unanswered},
         turn(key, "t2", 50, 20, std::string(100, 'b')),
         turn(key, "t3", 70, 30, std::string(100, 'c'))});
  auto loaded = [&](std::size_t bytes) {
    auto image = r->load_session(key, {.text_bytes = bytes});
    return std::pair{image.history.size(), image.older};
  };
  using found = std::pair<std::size_t, std::int64_t>;
  CHECK(loaded(0) == found{2, 5});
  CHECK(loaded(150) == found{4, 3});
  CHECK(loaded(250) == found{6, 0}); // what got no answer is not sent, and does not count
}

TEST_CASE_METHOD(fixture, "questions of open tasks are the newest messages", "[store]") {
  session_key key{"", "s"};
  apply({turn(key, "t1", 10, 1)});
  apply({{accepted(key, "t2", 20, 10, "second"), task_started{"t2", 21, 11}},
         {accepted(key, "t3", 30, 12, "third")},
         {accepted(key, "t4", 40, 13, "fourth")}});
  const auto ids = [](const message_page& p) {
    std::vector<std::string> out;
    for (auto& m : p.messages)
      out.push_back(m.id);
    return out;
  };
  using strings = std::vector<std::string>;
  auto all = r->list_messages(key, 10, "");
  REQUIRE(all);
  CHECK(ids(*all) == strings{"msg_u_t1", "msg_a_t1", "msg_u_t2", "msg_u_t3", "msg_u_t4"});
  CHECK(all->messages[3].said.content == "third");
  CHECK(all->messages[3].task == "t3");
  CHECK(all->messages[3].at == 30);
  CHECK(all->next_before.empty());
  // One at a time, from the newest.
  strings seen;
  std::string before;
  do {
    auto page = r->list_messages(key, 1, before);
    REQUIRE(page->messages.size() == 1);
    seen.insert(seen.begin(), page->messages[0].id);
    before = page->next_before;
  } while (!before.empty() && seen.size() < 10);
  CHECK(seen == ids(*all));
  CHECK(ids(*r->list_messages(key, 10, "msg_u_t3")) == strings{"msg_u_t1", "msg_a_t1", "msg_u_t2"});
  // A turn that is run again needs its question, however short the history is to be.
  auto image = r->load_session(key, {1});
  REQUIRE(image.open_tasks.size() == 3);
  CHECK(image.open_tasks[0].view.id == "t2");
  CHECK(image.open_tasks[2].view.id == "t4");
  CHECK(image.open_tasks[0].said.content == "second");
  CHECK(image.history.size() == 2);
  CHECK(r->find_session(key)->view.active_task == "t2");

  // The cursor of a question that is answered meanwhile neither repeats nor misses.
  auto page = r->list_messages(key, 2, "");
  CHECK(ids(*page) == strings{"msg_u_t3", "msg_u_t4"});
  apply({{ended(key, "t3", 50, 20, "", task_status::cancelled)}, {ended(key, "t2", 60, 21)}});
  CHECK(ids(*r->list_messages(key, 10, "")) == strings{"msg_u_t1", "msg_a_t1", "msg_u_t3",
                                                       "msg_a_t3", "msg_u_t2", "msg_a_t2",
                                                       "msg_u_t4"});
  CHECK(ids(*r->list_messages(key, 10, page->next_before)) == strings{"msg_u_t1", "msg_a_t1"});
  CHECK(r->find_session(key)->view.active_task == "t4");
}

TEST_CASE_METHOD(fixture, "the cursor of another session's message shows nothing", "[store]") {
  apply({turn({"a", "mine"}, "t1", 1, 1), turn({"b", "theirs"}, "t2", 2, 1),
         turn({"b", "theirs"}, "t3", 3, 10)});
  auto page = r->list_messages({"b", "theirs"}, 2, "");
  REQUIRE_FALSE(page->next_before.empty());
  CHECK(r->list_messages({"b", "theirs"}, 9, page->next_before)->messages.size() == 2);
  CHECK(r->list_messages({"a", "mine"}, 9, page->next_before)->messages.empty());
}

TEST_CASE_METHOD(fixture, "idle sessions come by age, whoever they belong to", "[store]") {
  apply({turn({"a", "a1"}, "t1", 100, 1), turn({"b", "b1"}, "t2", 90, 1),
         turn({"", "n1"}, "t3", 110, 1), turn({"b", "b2"}, "t4", 500, 1),
         turn({"a", "busy"}, "t5", 10, 1)});
  apply({{accepted({"a", "busy"}, "t6", 20, 10)}});
  CHECK(r->idle_sessions(400, 10).sessions ==
        std::vector<session_key>{{"b", "b1"}, {"a", "a1"}, {"", "n1"}});
  auto first = r->idle_sessions(400, 2);
  CHECK(first.sessions == std::vector<session_key>{{"b", "b1"}, {"a", "a1"}});
  CHECK(first.more);
  auto second = r->idle_sessions(400, 2, first.last);
  CHECK(second.sessions == std::vector<session_key>{{"", "n1"}});
  CHECK_FALSE(second.more);
  CHECK(r->unfinished_sessions() == std::vector<session_key>{{"a", "busy"}});
}
