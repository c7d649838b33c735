#include "house.hpp"

// How much of what was said is held for turns that are open, of all sessions together.

using namespace parlor;
using parlor::test::house;
using parlor::test::reply_ptr;

namespace {

/// With room for ten bytes: two of the house's questions, which have five each.
struct small_house : house {
  std::atomic<std::uint64_t> held{0};
  small_house() {
    world->turn_memory = std::make_shared<byte_room>(10, held);
    open();
  }
  reply_ptr submit_in(std::string session, std::string task) {
    room.id = std::move(session);
    return submit(task);
  }
};

} // namespace

TEST_CASE("beyond the memory for open turns one is refused, until another has ended") {
  small_house h;
  h.submit_in("one", "a");
  h.submit_in("two", "b");
  CHECK(h.held == 10);
  CHECK(h.code(h.submit_in("three", "c")) == errc::saturated);
  CHECK(h.call("c") == nullptr);
  h.finish("a");
  CHECK(h.held == 5);
  CHECK(h.yes(h.submit_in("three", "c")));
  CHECK(h.held == 10);
  h.finish("b");
  h.finish("c");
  CHECK(h.held == 0);
}

TEST_CASE("a turn that waits holds memory, too, and gives it back when it is cancelled") {
  small_house h;
  h.submit("a");
  h.submit("b");
  CHECK(h.held == 10);
  CHECK(h.yes(h.cancel("b")));
  CHECK(h.held == 5);
  h.fail("a", false);
  CHECK(h.held == 0);
}

TEST_CASE("a turn that is refused holds none") {
  small_house h;
  h.disk.full = true;
  CHECK(h.code(h.submit("a")) == errc::store_full);
  CHECK(h.held == 0);
  h.disk.full = false;
  h.submit("b");
  CHECK(h.code(h.ask(h.turn("c", nullptr, on_busy::reject))) == errc::session_busy);
  CHECK(h.held == 5);
  h.remove();
  CHECK(h.held == 0);
}

TEST_CASE("all that may be long in a turn counts") {
  turn_request t;
  t.said.content = "1";
  t.said.extra = std::string{"[2"};
  t.system_prompt = "4";
  t.metadata = "{5";
  t.settings.response_format = "{7";
  t.settings.passthrough = "{9";
  t.settings.script = "b";
  CHECK(bytes_of(t) == 11);
}
