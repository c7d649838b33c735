#include "llm/rehearsal.hpp"

#include "llm/rehearsal_answer.hpp"
#include "tests/llm/collector.hpp"

#include "support/catch.hpp"

#include <boost/json.hpp>

using namespace parlor;
using namespace parlor::llm;
using namespace parlor::testing;

namespace {

std::string say(std::vector<std::string> user_texts, model_settings settings = {}) {
  std::vector<message> messages;
  for (auto& text : user_texts) {
    messages.push_back({role::user, text, ""});
    messages.push_back({role::assistant, "Your name is Nobody.", ""});
  }
  messages.pop_back();
  return rehearsal_answer(messages, settings);
}

} // namespace

TEST_CASE("the rehearsal model remembers exactly what it was told") {
  CHECK(say({"Hello, I am Zhang San"}) == "Hello Zhang San!");
  CHECK(say({"你好，我是张三"}) == "你好，张三！");
  CHECK(say({"你好，我叫张三。"}) == "你好，张三！");
  CHECK(say({"my name is Li Si."}) == "Hello Li Si!");
  CHECK(say({"Please call me Ada"}) == "Hello Ada!");
  CHECK(say({"Hi! I'm Bob, nice to meet you"}) == "Hello Bob!");
  for (auto q : {"What is my name?", "Do you remember my name?", "what's my name"}) {
    CHECK(say({"Hello, I am Zhang San", q}) == "Your name is Zhang San.");
    CHECK(say({q}) == "I don't know your name yet.");
  }
  for (auto q : {"我叫什么？", "我叫什么名字？", "你还记得我的名字吗？", "我是谁？"}) {
    CHECK(say({"你好，我是张三", q}) == "你叫张三。");
    CHECK(say({q}) == "我还不知道你的名字。");
  }
  CHECK(say({"I am Zhang San", "Sorry, I am Li Si", "What is my name?"}) == "Your name is Li Si.");
  CHECK(say({"I am happy", "What is my name?"}) == "I don't know your name yet.");
  CHECK(say({"count to 5"}) == "1 2 3 4 5");
  CHECK(say({"echo: one two"}) == "one two");
  CHECK(say({"repeat 3 words"}) == "the river runs");
  CHECK(say({"so", "it", "goes"}).find("5 messages") != std::string::npos);
}

TEST_CASE("pieces of an answer never split a character and join to the whole") {
  for (std::string text : {"Hello Zhang San!", "你好，张三！ok ok", "a  b\n\nc", "",
                           "averyveryverylongwordwithoutanyspaces 🎉🎉🎉"}) {
    std::string sum;
    for (std::size_t at = 0; at < text.size();) {
      auto piece = next_piece(text, at);
      REQUIRE_FALSE(piece.empty());
      if (at > 0)
        CHECK((static_cast<unsigned char>(piece[0]) & 0xC0) != 0x80);
      at += piece.size();
      sum += piece;
    }
    CHECK(sum == text);
  }
}

TEST_CASE("a wanted format is kept") {
  model_settings s;
  s.response_format = R"({"type":"json_schema","json_schema":{"name":"x","schema":{"type":"object",
    "properties":{"title":{"type":"string"},"level":{"enum":["easy","hard"]},"hours":{"type":"integer","minimum":3},
    "done":{"type":"boolean"},"steps":{"type":"array","minItems":3,"items":{"$ref":"#/$defs/step"}}},
    "required":["title","level","steps","extra"],"$defs":{"step":{"type":"object","properties":{
    "n":{"type":"number"},"next":{"anyOf":[{"$ref":"#/$defs/step"},{"type":"null"}]}},"required":["n"]}}}}})";
  auto doc = boost::json::parse(say({"plan"}, s));
  CHECK(doc.at("title").is_string());
  CHECK(doc.at("level").as_string() == "easy");
  CHECK(doc.at("hours").to_number<int>() >= 3);
  CHECK(doc.at("done").is_bool());
  CHECK(doc.at("steps").as_array().size() == 3);
  CHECK(doc.at("steps").at(0).at("n").is_number());
  CHECK(doc.as_object().contains("extra"));
  s.response_format = R"({"type":"json_object"})";
  CHECK(boost::json::parse(say({"echo: hi"}, s)).at("answer").as_string() == "hi");
  s.response_format = R"({"type":"text"})";
  CHECK(say({"echo: hi"}, s) == "hi");
}

TEST_CASE("the rehearsal model streams, counts and fails by script") {
  background b;
  auto model = make_rehearsal(b.io, {});
  SECTION("answers word by word with exact usage") {
    collector c;
    auto call = model->start(ask("Hello, I am Zhang San"), c.sink());
    REQUIRE(c.finish());
    CHECK(c.text() == "Hello Zhang San!");
    REQUIRE(c.finished());
    CHECK(c.finished()->finish_reason == "stop");
    REQUIRE(c.finished()->used);
    CHECK(c.finished()->used->exact);
    CHECK(c.finished()->used->completion_tokens > 0);
    CHECK(c.events().size() == 4);
  }
  SECTION("steps by attempt") {
    auto request = ask("hi");
    request.settings.script = "429:2,500,refuse,auth,cut:3,ok";
    auto outcome = [&](std::uint32_t attempt) {
      collector c;
      request.attempt = attempt;
      auto call = model->start(request, c.sink());
      REQUIRE(c.finish());
      return c.failed();
    };
    CHECK(outcome(1)->code == errc::upstream_rate_limited);
    CHECK(outcome(1)->retry_after == std::chrono::seconds{2});
    CHECK(outcome(2)->code == errc::upstream_error);
    CHECK(outcome(3)->can_pass);
    CHECK_FALSE(outcome(4)->can_pass);
    CHECK(outcome(5)->code == errc::upstream_truncated);
    CHECK_FALSE(outcome(6));
    CHECK_FALSE(outcome(9));
  }
  SECTION("stalls, hangs and stops at once when cancelled") {
    for (auto script : {"stall:3", "hang"}) {
      collector c;
      auto request = ask("count to 100");
      request.settings.script = script;
      auto call = model->start(request, c.sink());
      auto expected = script[0] == 's' ? "1 2 3 " : "";
      CHECK(c.wait([&](auto& e) { return e.size() == (script[0] == 's' ? 3u : 0u); }));
      CHECK(c.text() == expected);
      call->cancel();
      call.reset();
      CHECK_FALSE(c.finished());
      CHECK_FALSE(c.failed());
    }
  }
  SECTION("max_tokens ends with length") {
    collector c;
    auto request = ask("count to 100");
    request.settings.max_tokens = 4;
    auto call = model->start(request, c.sink());
    REQUIRE(c.finish());
    CHECK(c.finished()->finish_reason == "length");
    CHECK(c.text() == "1 2 3 4 ");
  }
}

TEST_CASE("the rehearsal model keeps its pace") {
  background b;
  auto model = make_rehearsal(b.io, {std::chrono::milliseconds{50}, 200, ""});
  collector c;
  auto begin = std::chrono::steady_clock::now();
  auto call = model->start(ask("count to 21"), c.sink());
  REQUIRE(c.finish());
  auto took = std::chrono::steady_clock::now() - begin;
  CHECK(took >= std::chrono::milliseconds{145});
  CHECK(took < std::chrono::milliseconds{1000});
}

TEST_CASE("scripts are checked") {
  CHECK(valid_rehearsal_script(""));
  CHECK(valid_rehearsal_script("429:2, ok,slow:200"));
  CHECK_FALSE(valid_rehearsal_script("ok,explode"));
  CHECK_FALSE(valid_rehearsal_script("stall:x"));
}
