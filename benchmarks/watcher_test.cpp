// The checker of the watchers must notice what it is there to notice.
#include "support/catch.hpp"

#include "watcher.hpp"

using bench::watcher;

namespace {

const std::string head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";

std::string text(std::uint32_t room, std::uint64_t number) {
  std::string out;
  bench::append_event_text(out, room, number, 1000 + static_cast<std::int64_t>(number), 60);
  return out;
}
std::string event(std::uint32_t room, std::uint64_t number) {
  return "id: x\ndata: " + text(room, number) + "\n\n";
}
std::string chunk(const std::string& data) {
  char size[20];
  std::snprintf(size, sizeof size, "%zx\r\n", data.size());
  return size + data + "\r\n";
}

struct result {
  bool proper = true;
  std::uint64_t told = 0;
  bench::watch_faults faults;
};

result after(const std::string& bytes, std::uint64_t published, std::size_t piece = 100'000) {
  result r;
  watcher w{7};
  for (std::size_t at = 0; at < bytes.size() && r.proper; at += piece)
    r.proper = w.feed(std::string_view{bytes}.substr(at, piece),
                      [&](std::uint64_t number, std::int64_t stamp) {
                        CHECK(stamp == 1000 + static_cast<std::int64_t>(number));
                        ++r.told;
                      });
  w.count(published, r.faults);
  return r;
}

} // namespace

TEST_CASE("a watcher reads every event, however the bytes are cut", "[watcher]") {
  auto plain = head + ": hi\n\n" + event(7, 0) + event(7, 1) + ": ka\n\n" + event(7, 2);
  auto start = std::string{"id: a-1\ndata: {\"type\":\"start\",\"session_id\":\"x\"}\n\n"};
  auto parlor = [](const std::string& t) {
    return "id: a-2\ndata: {\"type\":\"chunk\",\"content\":\"" + t + "\"}\n\n";
  };
  auto chunked = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
                 "Transfer-Encoding: chunked\r\n\r\n" +
                 chunk(start) + chunk(parlor(text(7, 0) + text(7, 1))) + chunk(": ka\n\n") +
                 chunk(parlor(text(7, 2)));
  for (auto& bytes : {plain, chunked})
    for (std::size_t piece = 1; piece < bytes.size(); ++piece) {
      auto r = after(bytes, 3, piece);
      CHECK(r.proper);
      CHECK(r.told == 3);
      CHECK(r.faults.total() == 0);
    }
}

TEST_CASE("a watcher notices what is lost, repeated, late and foreign", "[watcher]") {
  CHECK(after(head + event(7, 0) + event(7, 2), 3).faults.lost == 1);
  CHECK(after(head + event(7, 0), 3).faults.lost == 2);
  CHECK(after(head + event(7, 0) + event(7, 0), 1).faults.repeated == 1);
  auto late = after(head + event(7, 1) + event(7, 0), 2).faults;
  CHECK(late.lost == 1);
  CHECK(late.repeated == 1);
  CHECK(after(head + event(8, 0), 0).faults.foreign == 1);
  CHECK(after(head + event(7, 0), 0).faults.foreign == 1); // was never published
}

TEST_CASE("a watcher takes nothing that is no stream of its events", "[watcher]") {
  for (std::string bytes :
       {std::string{"HTTP/1.1 404 Not Found\r\nContent-Type: text/event-stream\r\n\r\n"},
        std::string{"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"},
        head + "data: {\"type\":\"error\"}\n\n", head + "data: words\n\n",
        head + "data: 7.0.1000.xx\n\n", head + "event: 7\n\n"}) {
    auto r = after(bytes, 0);
    CHECK_FALSE(r.proper);
    CHECK(r.faults.broken == 1);
  }
}
