// A question with images is kept with them.

#include "fixture.hpp"

using namespace parlor;
using namespace parlor::store;
using namespace parlor::store::test;

TEST_CASE_METHOD(fixture, "the parts of a message come back as they were", "[store]") {
  const session_key pupil{"", "pupil"};
  auto parts = R"([{"type":"text","text":"Explain"},{"type":"image_url","image_url":{"url":)"
               R"("data:image/jpeg;base64,)" +
               std::string(3 << 20, 'A') + R"("}}])";
  auto a = accepted(pupil, "t1", 1000, 1, "Explain");
  a.said.extra = parts;
  apply({{session_opened{pupil, 1000, "", ""}, a},
         {task_started{"t1", 1001, 2}},
         {ended(pupil, "t1", 1002, 3)}});
  reopen();
  auto image = r->load_session(pupil, {10});
  REQUIRE(image.history.size() == 2);
  CHECK(image.history[0].said.content == "Explain");
  auto same = image.history[0].said.extra == parts;
  CHECK(same);
}

TEST_CASE_METHOD(fixture, "an unanswered question is found again with its images", "[store]") {
  const session_key pupil{"", "pupil"};
  auto a = accepted(pupil, "t1", 1000, 1, "");
  a.said.extra = R"([{"type":"image_url","image_url":{"url":"https://example.org/a.png"}}])";
  apply({{session_opened{pupil, 1000, "", ""}, a}});
  reopen();
  auto image = r->load_session(pupil, {10});
  REQUIRE(image.open_tasks.size() == 1);
  CHECK(image.open_tasks[0].said.extra == a.said.extra);
  CHECK(image.history.empty());
}

TEST_CASE_METHOD(fixture, "images beyond a budget are not read, nor are those of a page",
                 "[store]") {
  const session_key pupil{"", "pupil"};
  auto ask = [&](int n, std::size_t photo) {
    auto name = "t" + std::to_string(n);
    auto seq = static_cast<std::uint64_t>(n) * 10;
    auto a = accepted(pupil, name, n, seq, "about " + name);
    a.said.extra = "[" + std::string(photo, 'x') + "]";
    return a;
  };
  auto tools = ended(pupil, "t3", 4, 32);
  tools.answer_extra = R"({"tool_calls":[]})";
  apply({{session_opened{pupil, 1, "", ""}, ask(1, 100)},
         {ended(pupil, "t1", 2, 12)},
         {ask(2, 5000)},
         {ended(pupil, "t2", 3, 22)},
         {ask(3, 300)},
         {tools},
         {ask(4, 9000)}});
  auto read = [&](std::size_t images) {
    std::vector<std::size_t> out;
    auto image = r->load_session(pupil, {.image_bytes = images});
    for (auto& m : image.history)
      if (m.said.who == role::user)
        out.push_back(m.said.extra.size());
    out.push_back(image.open_tasks.at(0).said.extra.size());
    return out;
  };
  CHECK(read(SIZE_MAX) == std::vector<std::size_t>{102, 5002, 302, 9002});
  CHECK(read(5000) == std::vector<std::size_t>{0, 0, 302, 9002}); // what is asked is whole
  CHECK(read(0) == std::vector<std::size_t>{0, 0, 0, 9002});
  auto image = r->load_session(pupil, {.image_bytes = 5000});
  CHECK(image.history[0].said.content == "about t1\n\n[images left out]");
  CHECK(image.history[5].said.extra == R"({"tool_calls":[]})");
  auto page = r->list_messages(pupil, 10, "").value();
  REQUIRE(page.messages.size() == 7);
  for (auto& m : page.messages) {
    CHECK(m.said.extra.empty());
    CHECK(m.said.content.find("left out") == std::string::npos);
  }
}
