#include "protocol/dialects/chat_sessions.hpp"
#include "protocol/dialects/generate_async.hpp"
#include "protocol/ids.hpp"
#include "protocol/json.hpp"
#include "protocol/task_log.hpp"
#include "protocol/window.hpp"

#include "support/catch.hpp"

#include <boost/json.hpp>

using namespace parlor;

TEST_CASE("S2 a cursor is read as it was written, and nothing else is") {
  auto c = parse_cursor(format_cursor("abc1", 42));
  REQUIRE(c);
  CHECK(c->epoch == "abc1");
  CHECK(c->seq == 42);
  for (auto bad : {"", "abc", "abc-", "-1", "Abc-1", "a<-1", "a-18446744073709551616", "a-1 ",
                   "a--x", "a-01", "a-00", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-1"})
    CHECK_FALSE(parse_cursor(bad));
}

TEST_CASE("J6 a message in which nothing can be seen is blank") {
  auto blank = [](std::string text) {
    auto read = chat_sessions::parse_chat(R"({"message":")" + text + R"("})");
    auto* why = std::get_if<refusal>(&read);
    return why != nullptr && why->field == "message";
  };
  for (auto nothing : {"", " ", "\\t\\r\\n", "\\u0000", "\\u3000", "\\u00a0", "\\u2003\\u2028",
                       "\\u200b", "\\ufeff", " \\u3000 \\u200d"})
    CHECK(blank(nothing));
  for (auto something : {"a", "\\u3000a", "\\u00a1", "\\u3001", "\\u2010", "\\ud83d\\ude00", "0"})
    CHECK_FALSE(blank(something));
}

TEST_CASE("J2 a document of very many values is refused before it takes memory for them") {
  json::fault why{};
  auto list = [](std::size_t n) {
    std::string text = "[0";
    for (std::size_t i = 1; i < n; ++i)
      text += ",0";
    return text + "]";
  };
  CHECK(json::parse(list(json::max_values - 1), why).is_array());
  CHECK(why == json::fault::none);
  json::parse(list(json::max_values + 1), why);
  CHECK(why == json::fault::too_many_values);
  // What looks like them in a text is none.
  auto prose = R"({"a":"\"\\","b":")" + list(300'000) + R"(","c":"\\\"[,"})";
  json::parse(prose, why);
  CHECK(why == json::fault::none);
  json::parse(R"({"a":"\\",)" + list(300'000).substr(1), why); // a text that has ended
  CHECK(why == json::fault::too_many_values);
  json::parse("[\"" + std::string(300'000, ','), why); // one that has not
  CHECK(why == json::fault::syntax);
}

TEST_CASE("J2 J3 J4 documents that two readers would read differently are refused") {
  json::fault why{};
  json::parse(std::string(100'000, '['), why);
  CHECK(why == json::fault::depth);
  json::parse(R"({"a":1,"\u0061":2})", why);
  CHECK(why == json::fault::duplicate_key);
  json::parse(R"({"m":{"a":1,"a":2}})", why);
  CHECK(why == json::fault::duplicate_key);
  json::parse("{\"a\":\"\xff\"}", why);
  CHECK(why == json::fault::syntax);
  json::parse(R"({"a":{"b":1},"b":[{"a":1},{"a":2}]})", why);
  CHECK(why == json::fault::none);
}

TEST_CASE("text is quoted without losing or forging anything") {
  CHECK(json::quoted("a\"\\\n\x01 你\xff") == "\"a\\\"\\\\\\n\\u0001 你\xef\xbf\xbd\"");
  CHECK(json::quoted("run ~\x7f\x1f\t end") == "\"run ~\\u007f\\u001f\\t end\"");
  CHECK(json::raw_member(R"({"a":"x,}\"","t":1E-1 ,"o":{"t":2}})", "t") == "1E-1");
  constexpr std::string_view document = R"({"a": [1, {"b/~": "}"}], "c": {"d" : 2}})";
  auto from = [&](std::string_view pointer) {
    return document.substr(json::offset_of(document, pointer), 5);
  };
  CHECK(from("") == "{\"a\":");
  CHECK(from("/a/1/b~1~0") == "\"b/~\"");
  CHECK(from("/a/0") == "1, {\"");
  CHECK(from("/c/d") == "\"d\" :");
  CHECK(from("/c/e/f") == "\"c\": "); // the nearest
  CHECK(json::iso8601(1'759'485'600'000) == "2025-10-03T10:00:00Z");
  CHECK(json::only_document("```json\n{\"a\":1}\n```") == "{\"a\":1}");
  CHECK_FALSE(json::only_document("see {\"a\":1}"));
}

TEST_CASE("every byte is quoted the same at every place of a text") {
  const std::string around = "abcdefghijklmnopqrstuvwxy你";
  for (int c = 0; c < 256; ++c) {
    std::string one(1, static_cast<char>(c));
    auto alone = json::quoted(one);
    for (std::size_t at = 0; at <= 25; ++at) {
      auto expected = json::quoted(around.substr(0, at));
      expected.pop_back();
      expected += alone.substr(1, alone.size() - 2) + around.substr(at) + '"';
      auto text = around.substr(0, at) + one + around.substr(at);
      CHECK(json::quoted(text) == expected);
      CHECK(json::is_plain(text) == (expected == '"' + text + '"'));
    }
  }
}

TEST_CASE("four ASCII characters are a token, others one each, wherever they stand") {
  for (std::size_t before = 0; before <= 17; ++before)
    for (std::size_t after = 0; after <= 9; ++after) {
      auto text = std::string(before, 'a') + "é你好😀\x7f" + std::string(after, '~');
      CHECK(estimate_tokens(text) == static_cast<std::int64_t>((before + 1 + after + 3) / 4 + 4));
    }
}

TEST_CASE("a task's log gives its events back") {
  auto header = std::make_shared<task_header>(task_header{"t", "s", "m", 1000});
  task_log log{5, 1000};
  std::vector<event> events;
  auto add = [&](std::uint64_t seq, event_kind kind, std::string text, std::uint32_t number) {
    event e;
    e.seq = seq;
    e.kind = kind;
    e.at = 1000 + static_cast<std::int64_t>(seq);
    e.task = header;
    e.text = std::move(text);
    e.number = number;
    e.discard = kind == event_kind::retry;
    e.delay_ms = kind == event_kind::retry ? 1000 : 0;
    log.note(e);
    events.push_back(e);
  };
  add(7, event_kind::delta, "你好", 0);
  add(8, event_kind::progress, "", 12);
  add(300, event_kind::retry, "", 2);
  add(301, event_kind::delta, std::string(500, 'x'), 0);
  auto [text, entries] = log.take();
  bool whole = false;
  auto again = replay(5, 1000, header, text, entries, &whole);
  REQUIRE(whole);
  REQUIRE(again.size() == events.size());
  for (std::size_t i = 0; i < events.size(); ++i) {
    CHECK(again[i]->seq == events[i].seq);
    CHECK(again[i]->kind == events[i].kind);
    CHECK(again[i]->at == events[i].at);
    CHECK(again[i]->text == events[i].text);
    CHECK(again[i]->number == events[i].number);
    CHECK(again[i]->discard == events[i].discard);
    CHECK(again[i]->delay_ms == events[i].delay_ms);
  }
  CHECK(replay(5, 1000, header, text, entries.substr(0, entries.size() - 1), &whole).size() == 3);
  CHECK_FALSE(whole);
}

TEST_CASE("what is sent to a model is valid, whatever became of the turns before") {
  auto say = [](role who, std::string text) { return message{who, std::move(text), {}}; };
  std::vector<message> history{say(role::user, std::string(400, 'a')), say(role::assistant, "b"),
                               say(role::user, "failed"), say(role::user, "c"),
                               say(role::assistant, "d")};
  auto all = fit_window("be kind", history, {role::user, "now", {}}, 10'000);
  REQUIRE(all.messages.size() == 6);
  CHECK(all.dropped == 0);
  auto less = fit_window("be kind", history, {role::user, "now", {}}, 60);
  REQUIRE(less.messages.size() == 4);
  CHECK(less.dropped == 2);
  CHECK(less.messages[0].who == role::system);
  CHECK(less.messages[1].content == "c");
  CHECK(fit_window("", history, {role::user, "now", {}}, 0).messages.size() == 1);
  for (auto* window : {&all, &less}) {
    std::int64_t tokens = 0;
    for (auto& m : window->messages)
      tokens += estimate_tokens(m);
    CHECK(window->tokens == tokens);
  }
}

TEST_CASE("what no window can reach any more is told apart from what does not fit this time") {
  std::vector<message> history;
  for (int i = 0; i < 4; ++i) // 100 tokens each turn
    for (auto who : {role::user, role::assistant})
      history.push_back({who, std::string(184, 'x'), {}});
  message brief{role::user, "now", {}}, lengthy{role::user, std::string(600, 'n'), {}};
  CHECK(fit_window("", history, brief, 1000).beyond == 0);
  auto large = fit_window("", history, lengthy, 300);
  CHECK(large.dropped == 6); // two could be sent with a shorter one
  CHECK(large.beyond == 2);
  CHECK(large.messages.size() == 3);
  auto later = fit_window("", {history.begin() + large.beyond, history.end()}, brief, 300);
  CHECK(later.messages.size() == 5);
  CHECK(fit_window("", history, brief, 50).beyond == 8);
  CHECK(estimate_tokens(std::string(window_bytes(50) + 1, 'x')) > 50);
  std::string wide; // four bytes each
  while (wide.size() <= window_bytes(50))
    wide += "😀";
  CHECK(estimate_tokens(wide) > 50);
}

TEST_CASE("of a history only the newest images stay, and what is left out says so") {
  auto with = [](std::string text, std::string extra) {
    return message{role::user, std::move(text), std::move(extra)};
  };
  auto tools = R"({"tool_calls":[]})";
  std::vector<message> all{with("one", "[1]"), with("", "[12345]"), with("two", tools),
                           with("three", "[12]"), with("four", "")};
  auto same = all;
  fit_images(same, 14);
  for (std::size_t i = 0; i < all.size(); ++i)
    CHECK(same[i].extra == all[i].extra);
  fit_images(all, 10); // the second does not fit, and so the first does not count, which would
  CHECK(all[0].extra.empty());
  CHECK(all[0].content == "one\n\n[images left out]");
  CHECK(all[1].content == "[images left out]");
  CHECK(all[2].extra == tools);
  CHECK(all[3].extra == "[12]");
  CHECK(all[4].content == "four");
  fit_images(all, 0);
  CHECK(all[3].content == "three\n\n[images left out]");
  CHECK(all[0].content == "one\n\n[images left out]"); // said once
}

TEST_CASE("dialects say what the contracts say") {
  auto header = std::make_shared<task_header>(task_header{"task_1", "user_001", "m", 1});
  event e;
  e.seq = 3;
  e.kind = event_kind::delta;
  e.task = header;
  e.text = "Hello\n";
  CHECK(chat_sessions::encode("ep", language::en, e) ==
        "id: ep-3\ndata: {\"type\":\"chunk\",\"content\":\"Hello\\n\"}\n\n");
  CHECK(generate_async::encode("ep", language::en, e).empty());
  e.kind = event_kind::progress;
  e.number = 75;
  CHECK(generate_async::encode("ep", language::en, e) ==
        "id: ep-3\ndata: {\"type\":\"progress_update\",\"progress\":75,\"message\":\"Generating: "
        "75%\"}\n\n");
  CHECK(chat_sessions::encode("ep", language::en, e).empty());
  CHECK(generate_async::created_json("t") == R"({"success":true,"taskId":"t","status":"pending"})");
  CHECK(pick_language("zh-CN,zh;q=0.9,en;q=0.8") == language::zh);
  CHECK(pick_language("en-GB,en;q=0.9,zh;q=0.8") == language::en);
  CHECK(pick_language("fr") == language::en);
}
