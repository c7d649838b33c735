#include "protocol/task_log.hpp"
#include "support/catch.hpp"

#include <limits>

using namespace parlor;

namespace {

event made(event_kind kind, std::uint64_t seq, std::string text = {}, const char* stage = nullptr) {
  event e;
  e.kind = kind;
  e.seq = seq;
  e.at = 1000 + static_cast<std::int64_t>(seq) * 7;
  e.text = std::move(text);
  if (stage != nullptr)
    e.stage = std::make_shared<const std::string>(stage);
  return e;
}

} // namespace

TEST_CASE("a log tells stages, reasons and texts again as they were") {
  std::vector<event> said;
  said.push_back(made(event_kind::progress, 11, "asking the first agent", "first"));
  said.back().number = 5;
  said.push_back(made(event_kind::delta, 12, "{\"a\":", "first"));
  said.push_back(made(event_kind::retry, 14, "a must be a number", "first"));
  said.back().number = 2;
  said.back().delay_ms = 1200;
  said.back().discard = true;
  said.push_back(made(event_kind::delta, 15, "{\"a\":1}", "first"));
  said.push_back(made(event_kind::progress, 16, {}, "first"));
  said.back().number = 40;
  said.push_back(made(event_kind::stage_done, 17, "{\"a\":1}", "first"));
  said.push_back(made(event_kind::retry, 300, {}, "second"));
  said.back().number = 1;
  said.push_back(made(event_kind::delta, 301, "x", "second"));
  said.push_back(made(event_kind::text_done, 302, "x", "second"));

  task_log log{10, 1000};
  task_log::pieces all;
  for (auto& e : said) {
    log.note(e);
    if (e.seq == 15) { // a checkpoint in the middle
      all = log.take();
    }
  }
  auto rest = log.take();
  auto whole = false;
  auto again = replay(10, 1000, nullptr, all.text + rest.text, all.entries + rest.entries, &whole);
  REQUIRE(whole);
  REQUIRE(again.size() == said.size());
  for (std::size_t i = 0; i < said.size(); ++i) {
    INFO(i);
    CHECK(again[i]->kind == said[i].kind);
    CHECK(again[i]->seq == said[i].seq);
    CHECK(again[i]->at == said[i].at);
    CHECK(again[i]->text == said[i].text);
    CHECK(again[i]->number == said[i].number);
    CHECK(again[i]->delay_ms == said[i].delay_ms);
    CHECK(again[i]->discard == said[i].discard);
    REQUIRE(again[i]->stage);
    CHECK(*again[i]->stage == *said[i].stage);
  }
}

TEST_CASE("a log whose numbers cannot be is replayed up to there") {
  auto events = [](std::string entries, std::uint64_t seq = 10, std::int64_t at = 1000) {
    auto whole = true;
    auto out = replay(seq, at, nullptr, "", "\x05\x01\x07" + entries, &whole);
    REQUIRE_FALSE(whole);
    return out.size();
  };
  const std::string most = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"; // 2^64 - 1
  CHECK(events("\x05" + most + "\x07") == 1);                          // a time before time
  CHECK(events("\x05\x01" + most) == 1);                               // so much per cent
  CHECK(events("\x05\x01\x65") == 1);
  CHECK(events("\x06\x01" + most + "\x01") == 1);   // so many attempts
  CHECK(events("\x06\x01\x05" + most) == 1);        // so long a wait
  CHECK(events("\x04\x01" + most) == 1);            // so long a piece
  CHECK(events("\x07\x01\x03\x65\x01x") == 1);      // the same, in words
  CHECK(events("\x07\x01\x01" + most) == 1);        // so long a result
  CHECK(events("\x07\x01\x05") == 1);               // of no kind
  CHECK(events("\x05\x01\x07" + most, 10, 1) == 2); // cut
  CHECK(events(most + "\x01\x07", std::numeric_limits<std::uint64_t>::max() - 5) == 1);
}

TEST_CASE("a log that is cut anywhere is replayed up to there") {
  task_log log{0, 0};
  log.note(made(event_kind::stage_done, 1, "result", "name"));
  log.note(made(event_kind::retry, 2, "why", "other"));
  auto all = log.take();
  for (std::size_t n = 0; n < all.entries.size(); ++n) {
    auto some = replay(0, 0, nullptr, all.text, std::string_view{all.entries}.substr(0, n));
    CHECK(some.size() <= 1);
  }
}
