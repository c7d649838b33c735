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
  auto image = r->load_session(pupil, 10);
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
  auto image = r->load_session(pupil, 10);
  REQUIRE(image.open_tasks.size() == 1);
  REQUIRE(image.history.size() == 1);
  CHECK(image.history[0].said.extra == a.said.extra);
}
