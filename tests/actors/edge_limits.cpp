#include "protocol/dialects/chat_sessions.hpp"
#include "protocol/dialects/generate_async.hpp"
#include "protocol/dialects/plan_callback.hpp"
#include "sockets.hpp"

#include <set>

// S12: how many may watch one session, and all of them; and how they are sent away at the end.

using namespace parlor;
using namespace std::chrono_literals;
using http::signal;
using parlor::test::front;
using parlor::test::socket_house;
using kind = visit::kind;

namespace {

template <class Peer>
void refused(const Peer& p, unsigned status = 429, std::string_view code = "too_many_streams") {
  REQUIRE(p->answers.size() == 1);
  CHECK(p->answers[0].status == status);
  CHECK(p->answers[0].body.find(code) != std::string::npos);
  auto& headers = p->answers[0].headers;
  CHECK(std::any_of(headers.begin(), headers.end(), [](const http::header& h) {
    return h.name == "Retry-After" && h.value == "5";
  }));
}

visit generate_stream(const front& f, const std::string& task) {
  auto v = f.asking_for(kind::task_stream, task);
  v.shape = &generate_async::shape;
  return v;
}

} // namespace

TEST_CASE("S12 one session has only so many who watch, and another has as many") {
  socket_house f;
  f.edging.max_session_streams = 3;
  f.begin();
  auto asked = f.chat_stream("a");
  auto watched = f.task_stream("a");
  auto socket = f.connect();
  REQUIRE((asked->heads.size() == 1 && watched->heads.size() == 1 && f.watchers() == 3));

  refused(f.session_stream());
  refused(f.task_stream("a"));
  refused(f.serve(generate_stream(f, "a")));
  auto knocked = f.knock();
  CHECK_FALSE(knocked->socket);
  refused(knocked);
  auto page = f.asking_for(kind::plan_stream);
  static constexpr stream_shape plans{&plan_callback::encode, nullptr, nullptr};
  page.shape = &plans;
  refused(f.serve(page));
  auto tasks = f.disk.data.tasks.size();
  refused(f.chat_stream("b")); // and no turn is taken that nobody could be told of
  refused(f.serve(f.taking(kind::chat, "c")));
  f.time.advance(1s);
  CHECK(f.disk.data.tasks.size() == tasks);
  CHECK(f.watchers() == 3);

  // What takes no time is answered, and so is another session.
  CHECK(f.poll("a")->status() == 200);
  CHECK(f.serve(f.taking(kind::generate, "d"))->status() == 200);
  auto here = f.room;
  f.room.id = "another";
  CHECK(f.chat_stream("e")->heads.size() == 1);
  f.room = here;

  f.front::signal(watched, signal::gone); // room for one
  CHECK(f.session_stream()->heads.size() == 1);
  refused(f.session_stream());
  for (auto task : {"a", "d", "e"})
    f.finish(task);
  CHECK(asked->closed == 1);
  CHECK(f.session_stream()->heads.size() == 1);
}

TEST_CASE("S9 S12 there are only so many streams in all") {
  front f;
  f.edging.max_streams = static_cast<std::size_t>(f.watchers_before) + 2;
  f.begin();
  auto first = f.chat_stream("a");
  auto here = f.room;
  f.room.id = "another";
  auto second = f.chat_stream("b");
  f.room.id = "a third";
  refused(f.chat_stream("c"), 503, "out_of_streams");
  CHECK(f.watchers() == 2);
  f.room = here;
  refused(f.task_stream("a", 1), 503, "out_of_streams");
  f.room.id = "a third";
  f.finish("a");
  CHECK(f.chat_stream("d")->heads.size() == 1);
  f.room = here;
  // The record of what has ended is no stream that stays.
  CHECK(f.task_stream("a")->told("\"type\":\"done\""));
}

// -- the end of the server ---

TEST_CASE("when the server stops, streams end with the time to come back, and are spread") {
  socket_house f;
  f.begin();
  auto asked = f.chat_stream("a");
  std::vector<parlor::test::peer_ptr> many;
  for (int i = 0; i < 30; ++i)
    many.push_back(f.session_stream());
  auto whole = f.serve(f.taking(kind::chat, "b"));
  auto socket = f.connect();
  f.hold_keeper = true;
  auto early = f.chat_stream("c");
  caf::anon_send(f.desk, end_streams{});
  f.time.settle();

  std::set<int> times;
  many.push_back(asked);
  for (auto& p : many) {
    CHECK(p->closed == 1);
    CHECK(p->aborted == 0);
    auto t = p->text();
    auto at = t.find(": the server stops\nretry: ");
    REQUIRE(at != t.npos);
    CHECK((at == 0 || t.substr(at - 2, 2) == "\n\n")); // behind a whole event
    auto ms = t.substr(at + 26);
    CHECK(ms.find_first_not_of("0123456789") == ms.size() - 1);
    CHECK(ms.back() == '\n');
    times.insert(std::stoi(ms));
  }
  CHECK(times.size() > 25);
  CHECK(*times.begin() >= 1'000);
  CHECK(*times.begin() < 1'500);
  CHECK(*times.rbegin() < 4'000);
  CHECK(*times.rbegin() > 3'500);

  auto sent_away = [](const parlor::test::peer_ptr& p, const char* code) {
    CHECK(p->status() == 503);
    CHECK(p->answers[0].body.find(code) != std::string::npos);
    CHECK(p->answers[0].headers.size() == 2); // with Retry-After
  };
  sent_away(whole, "interrupted");
  sent_away(early, "draining");
  CHECK(socket->closed.empty()); // by the HTTP server
  CHECK(f.watchers() == 1);
  f.release_keeper();
  f.finish("a");
  CHECK_FALSE(asked->told("done"));
  CHECK(f.disk.data.tasks.at("a").view.status == task_status::completed);
}

TEST_CASE("a dialect whose clients take no retry just ends") {
  front f;
  f.begin();
  static constexpr stream_shape bare{chat_sessions::encode, nullptr, chat_sessions::reset, false};
  auto v = f.taking(kind::chat_stream, "a");
  v.shape = &bare;
  auto p = f.serve(v);
  auto before = p->text();
  caf::anon_send(f.desk, end_streams{});
  f.time.settle();
  CHECK(p->text() == before);
  CHECK(p->closed == 1);
}

TEST_CASE("a turn has left the gate when it is accepted, refused or lost, not at its end") {
  socket_house f;
  auto gate = f.edging.gate = std::make_shared<turn_gate>(1ms);
  f.begin();
  auto outside = gate.use_count();
  auto turn = [&](kind what, const std::string& task) {
    auto v = f.taking(what, task);
    v.inside = gate->enter(turn_gate::clock::now());
    REQUIRE(v.inside);
    return v;
  };
  auto whole = f.serve(turn(kind::chat, "a"));
  auto later = f.serve(turn(kind::generate, "b"));
  CHECK(later->status() == 200);
  CHECK(gate.use_count() == outside);
  f.disk.full = true;
  CHECK(f.serve(turn(kind::generate, "c"))->status() == 507);
  f.disk.full = false;
  f.draining = true;
  CHECK(f.serve(turn(kind::generate, "d"))->status() == 503);
  f.draining = false;
  CHECK(gate.use_count() == outside);
  f.finish("a");
  f.finish("b");
  CHECK(whole->status() == 200);
  CHECK(gate.use_count() == outside);
}
