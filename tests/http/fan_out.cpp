// One piece pushed to many: put together, written by each connection, lost by none.

#include "http/chunk_frame.hpp"
#include "http/cork.hpp"
#include "served.hpp"

#include <memory>

using namespace parlor;
using namespace parlor::testing;
using namespace std::chrono_literals;

namespace {

struct crowd {
  crowd(served& s, std::size_t size) {
    for (std::size_t i = 0; i < size; ++i) {
      clients.push_back(std::make_unique<raw_client>(s.port()));
      clients.back()->send(get("/"));
      streams.push_back(s.next().exchange);
      streams.back()->open({}, {});
    }
  }
  void push(const http::chunk& p) {
    for (auto& e : streams)
      e->push(p);
  }
  std::vector<std::unique_ptr<raw_client>> clients;
  std::vector<http::exchange_ptr> streams;
};

} // namespace

TEST_CASE("what is pushed under a cork reaches each peer of a crowd, whole and in order") {
  served s;
  crowd c{s, 70}; // more than are flushed at once, and no multiple of it
  std::string all;
  for (int i = 0; i < 20; ++i) {
    auto text = "event " + std::to_string(i) + '\n';
    all += text;
    s.in_one_turn([&] {
      http::cork cork;
      c.push(piece(text));
      if (i % 3 == 0) { // two in one turn of the loop leave in one write
        c.push(piece(text));
        all += text;
      }
    });
  }
  auto large = piece(std::string(50'000, 'x'));
  all += *large;
  s.in_one_turn([&] {
    http::cork cork;
    c.push(large);
    for (auto& e : c.streams)
      e->close();
  });
  for (std::size_t i = 0; i < c.clients.size(); ++i) {
    INFO(i);
    REQUIRE(c.clients[i]->until_terminator());
    auto got = dechunk(c.clients[i]->text());
    CHECK(got.valid);
    CHECK(got.terminated);
    CHECK((got.body == all));
    CHECK(eventually([&] { return c.streams[i]->backlog() == 0; }));
  }
}

TEST_CASE("a shared piece leaves no backlog behind while the stream goes on") {
  served s;
  crowd c{s, 3};
  for (int i = 0; i < 100; ++i)
    s.in_one_turn([&] { c.push(piece("a piece")); });
  for (auto& e : c.streams)
    CHECK(eventually([&] { return e->backlog() == 0; }));
}

TEST_CASE("corks stand inside each other, and only for their own thread") {
  served s;
  crowd c{s, 2};
  http::cork outer; // of the test's thread: nothing of the server's waits for it
  s.in_one_turn([&] {
    http::cork cork;
    c.streams[0]->push(piece("one,"));
    {
      http::cork inner;
      c.streams[1]->push(piece("two,"));
    }
    c.streams[1]->push(piece("three"));
  });
  for (auto& e : c.streams)
    e->close();
  { http::cork gone; }
  CHECK(eventually([&] { return c.streams[0]->backlog() == 0 && c.streams[1]->backlog() == 0; }));
  CHECK(c.clients[0]->until("one,"));
  CHECK(c.clients[1]->until("three"));
}

TEST_CASE("a cork that writes has written when it is gone") {
  served s{patient(), 1}; // no other thread is at work on a connection
  crowd c{s, 2};
  for (auto& client : c.clients)
    REQUIRE(client->until("\r\n\r\n")); // what else is to be written has been
  std::size_t before = 0, within = 0, after = 1;
  s.in_one_turn([&] {
    auto left = [&] { return c.streams[0]->backlog() + c.streams[1]->backlog(); };
    {
      http::cork cork{http::cork::last::written};
      {
        http::cork inner;
        for (auto& e : c.streams)
          e->push(piece("now"));
        before = left();
      }
      within = left();
    }
    after = left();
  });
  CHECK(before == 6);
  CHECK(within == 6); // one inside another leaves it to that
  CHECK(after == 0);
  for (auto& client : c.clients)
    CHECK(client->until("now"));
}

TEST_CASE("the frame of a piece that many get is made once") {
  auto shared = piece("data: 0123456789\n\n");
  auto other = shared;
  auto frame = http::framed_for_many(shared);
  REQUIRE(frame);
  CHECK(*frame == "12\r\ndata: 0123456789\n\n\r\n");
  CHECK(http::framed_for_many(other) == frame);
  auto next = piece("next"), also_next = next;
  CHECK(*http::framed_for_many(next) == "4\r\nnext\r\n");
  CHECK(*http::framed_for_many(shared) == *frame);

  auto lone = piece("lone");
  CHECK(http::framed_for_many(lone) == nullptr);
  auto large = piece(std::string(5000, 'x')), also_large = large;
  CHECK(http::framed_for_many(large) == nullptr);
}

TEST_CASE("a new piece in an old one's place is not taken for it") {
  std::string said;
  for (int i = 0; i < 1000; ++i) { // the allocator gives the same address again and again
    auto p = piece(std::to_string(i)), q = p;
    said = *http::framed_for_many(p);
    REQUIRE(said == (i < 10 ? "1\r\n" : i < 100 ? "2\r\n" : "3\r\n") + std::to_string(i) + "\r\n");
  }
}
