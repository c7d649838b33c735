#include "support/catch.hpp"
#include "talk.hpp"

// What of the photos of a conversation goes to the model again.

using namespace parlor;
using parlor::test::talk;
using names = std::vector<std::string>;

TEST_CASE("photos go along with later questions within a budget; a question's own always do") {
  session_limits l;
  l.image_bytes = 1000;
  talk t{l};
  auto ask = [&](const std::string& task, std::size_t photo) {
    auto q = t.turn(task, "about " + task);
    q.said.extra = "[" + std::string(photo - 2, 'x') + "]";
    t.submit(q);
    t.commit();
    t.say("I see");
    t.finish();
    t.commit();
  };
  // What the model was given of each question: the size of its photos, and its text if they are
  // out.
  auto given = [&] {
    names out;
    for (auto& m : t.orders.back()->messages)
      if (m.who == role::user)
        out.push_back(m.extra.empty() ? m.content : std::to_string(m.extra.size()));
    return out;
  };
  auto out = [](const std::string& task) { return "about " + task + "\n\n[images left out]"; };
  ask("a", 400);
  ask("b", 500);
  REQUIRE(given() == names{"400", "500"});
  auto held = std::string_view{t.orders.back()->messages.front().extra}.data();
  ask("c", 100);
  REQUIRE(given() == names{"400", "500", "100"}); // 900 of earlier ones
  REQUIRE(std::string_view{t.orders.back()->messages.front().extra}.data() == held); // not a copy
  ask("d", 5000);
  REQUIRE(given() == names{"400", "500", "100", "5000"});
  ask("e", 300); // the newest of the earlier ones is more than may go along, so none does
  REQUIRE(given() == names{out("a"), out("b"), out("c"), out("d"), "300"});
  ask("f", 600);
  ask("g", 200);
  REQUIRE(given() == names{out("a"), out("b"), out("c"), out("d"), "300", "600", "200"});
  auto again = t.turn("h", "and now?");
  again.said.extra = "[" + std::string(3000, 'x') + "]";
  t.submit(again);
  t.commit();
  t.crash(); // a question that is asked again is whole
  t.commit();
  REQUIRE(given() == names{out("a"), out("b"), out("c"), out("d"), out("e"), "600", "200", "3002"});
}
