// The checker of the load generator must notice what it is there to notice.

#include "answer.hpp"

#include "support/catch.hpp"

using namespace bench;

namespace {

std::string chunk(const std::string& event) {
  char size[20];
  std::snprintf(size, sizeof size, "%zx\r\n", event.size());
  return size + event + "\r\n";
}

std::string parlor_piece(const std::string& text) {
  return chunk("id: e-1\ndata: {\"type\":\"chunk\",\"content\":\"" + text + "\"}\n\n");
}

// The answer of Parlor to stream 7 with these pieces; `whole` is what done says.
std::string parlor_answer(const std::vector<std::string>& pieces, std::string whole = {},
                          int tokens = 3) {
  std::string out = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                    "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
  out += chunk("data: {\"type\":\"start\",\"session_id\":\"s\",\"task_id\":\"t\"}\n\n");
  bool sum = whole.empty();
  for (auto& p : pieces) {
    out += parlor_piece(p);
    if (sum)
      whole += p;
  }
  return out +
         chunk("data: {\"type\":\"done\",\"session_id\":\"s\",\"task_id\":\"t\",\"content\":\"" +
               whole + "\",\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":" +
               std::to_string(tokens) + ",\"total_tokens\":6},\"finish_reason\":\"stop\"}\n\n") +
         "0\r\n\r\n";
}

std::string openai_answer(bool chunked, bool stop, bool done) {
  auto piece = [](const std::string& choice) {
    return "data: {\"id\":\"c\",\"choices\":[" + choice + "],\"usage\":null}\n\n";
  };
  std::vector<std::string> events{
      piece(R"({"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null})")};
  for (auto t : {"7.0.10 ", "7.1.11 ", "7.2.12 "})
    events.push_back(piece(R"({"index":0,"delta":{"content":")" + std::string{t} +
                           R"("},"finish_reason":null})"));
  if (stop)
    events.push_back(piece(R"({"index":0,"delta":{},"finish_reason":"stop"})"));
  events.push_back("data: {\"choices\":[],\"usage\":{\"completion_tokens\":3,\"x\":1}}\n\n");
  if (done)
    events.push_back("data: [DONE]\n\n");
  std::string out = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";
  out += chunked ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n";
  for (auto& e : events)
    out += chunked ? chunk(e) : e;
  return chunked ? out + "0\r\n\r\n" : out;
}

struct result {
  answer::state state;
  faults wrong;
  std::vector<std::uint32_t> numbers;
  std::vector<std::int64_t> stamps;
};

result read(wire w, const std::string& bytes, std::size_t step, bool end = false) {
  answer a{w, 7, 3};
  result r{};
  for (std::size_t i = 0; i < bytes.size(); i += step)
    r.state =
        a.feed(std::string_view{bytes}.substr(i, step), [&](std::uint32_t n, std::int64_t stamp) {
          r.numbers.push_back(n);
          r.stamps.push_back(stamp);
        });
  if (end)
    r.state = a.end();
  a.count(r.wrong);
  return r;
}

} // namespace

TEST_CASE("a whole answer is complete, however it was cut", "[bench]") {
  auto parlor = parlor_answer({"7.0.10 ", "7.1.1", "1 7.2.12 "});
  for (std::size_t step : {std::size_t{1}, std::size_t{7}, parlor.size()}) {
    for (auto& r : {read(wire::parlor, parlor, step),
                    read(wire::openai, openai_answer(true, true, true), step),
                    read(wire::openai, openai_answer(false, true, true), step, true)}) {
      CHECK(r.state == answer::state::complete);
      CHECK(r.wrong.total() == 0);
      CHECK(r.numbers == std::vector<std::uint32_t>{0, 1, 2});
      CHECK(r.stamps == std::vector<std::int64_t>{10, 11, 12});
    }
  }
}

TEST_CASE("tokens that are lost, repeated, late or foreign are counted", "[bench]") {
  CHECK(read(wire::parlor, parlor_answer({"7.0.10 ", "7.2.12 "}), 9).wrong.lost == 1);
  CHECK(read(wire::parlor, parlor_answer({"7.0.1 7.1.1 7.1.1 7.2.1 "}), 9).wrong.repeated == 1);
  auto late = read(wire::parlor, parlor_answer({"7.0.1 7.2.1 7.1.1 "}), 9).wrong;
  CHECK(late.late == 1);
  CHECK(late.lost == 0);
  CHECK(read(wire::parlor, parlor_answer({"7.0.1 8.1.1 7.1.1 7.2.1 "}), 9).wrong.foreign == 1);
}

TEST_CASE("an answer that does not end as it should is broken", "[bench]") {
  auto good = parlor_answer({"7.0.1 7.1.1 7.2.1 "});
  auto broken = [](wire w, const std::string& bytes) {
    auto r = read(w, bytes, 64, true);
    return r.state == answer::state::broken && r.wrong.broken_streams == 1;
  };
  CHECK(broken(wire::parlor, good.substr(0, good.size() - 5)));
  CHECK(broken(wire::parlor, good + "x"));
  CHECK(broken(wire::parlor, parlor_answer({"7.0.1 7.1.1 7.2.1 "}, "7.0.1 7.1.1 7.2.2 ")));
  CHECK(broken(wire::parlor, parlor_answer({"7.0.1 7.1.1 7.2.1 "}, {}, 30)));
  CHECK(broken(wire::parlor, parlor_answer({"7.0.1 7.1.1 7.2.1 7"})));
  CHECK(broken(wire::openai, openai_answer(true, false, true)));
  CHECK(broken(wire::openai, openai_answer(true, true, false)));
  CHECK(broken(wire::openai, "HTTP/1.1 429 Too Many Requests\r\n\r\n"));
}

namespace {

std::string whole(const std::string& body) {
  return "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\n\r\n" + body;
}

} // namespace

TEST_CASE("a whole answer is read from one document", "[answer]") {
  auto text =
      whole(R"({"response":"7.0.5 7.1.5 ","usage":{"prompt_tokens":3,"completion_tokens":2,)"
            R"("total_tokens":5},"finish_reason":"stop"})");
  for (std::size_t cut = 1; cut < text.size(); ++cut) {
    bench::answer a{bench::wire::parlor, 7, 2, true};
    int tokens = 0;
    auto count = [&](std::uint32_t, std::int64_t) { ++tokens; };
    CHECK(a.feed(text.substr(0, cut), count) == bench::answer::state::more);
    CHECK(a.feed(text.substr(cut), count) == bench::answer::state::complete);
    CHECK(tokens == 2);
    CHECK(a.reusable());
  }
}

TEST_CASE("a whole answer that lacks a token, or its end, is noticed", "[answer]") {
  auto ignore = [](std::uint32_t, std::int64_t) {};
  bench::faults f;
  bench::answer lacks{bench::wire::openai, 7, 2, true};
  lacks.feed(whole(R"({"content":"7.0.5 ","usage":{"completion_tokens":2,"x":1},)"
                   R"("finish_reason":"stop"})"),
             ignore);
  lacks.count(f);
  CHECK(f.lost == 1);
  bench::answer ends{bench::wire::openai, 7, 1, true};
  CHECK(ends.feed(whole(R"({"content":"7.0.5 "})"), ignore) == bench::answer::state::broken);
  bench::answer early{bench::wire::openai, 7, 1, true};
  auto text = whole("{}");
  CHECK(early.feed(text.substr(0, text.size() - 1), ignore) == bench::answer::state::more);
  CHECK(early.end() == bench::answer::state::broken);
}

TEST_CASE("a refusal is neither an answer nor a fault", "[answer]") {
  bench::answer a{bench::wire::parlor, 7, 2, true};
  CHECK(a.feed("HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\n\r\n{}",
               [](std::uint32_t, std::int64_t) {}) == bench::answer::state::refused);
  bench::faults f;
  a.count(f);
  CHECK(f.total() == 0);
  CHECK(a.reusable());
  bench::answer stream{bench::wire::parlor, 7, 2};
  CHECK(stream.feed("HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\n\r\n{}",
                    [](std::uint32_t, std::int64_t) {}) == bench::answer::state::broken);
}
