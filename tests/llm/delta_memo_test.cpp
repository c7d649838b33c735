#include "llm/delta_memo.hpp"

#include "llm/openai_codec.hpp"
#include "protocol/json.hpp"

#include "support/catch.hpp"

using namespace parlor;
using namespace parlor::llm;

namespace {

const std::string head = R"({"id":"c-1","model":"m","choices":[{"index":0,"delta":{"content":)";
const std::string tail = R"(},"finish_reason":null}],"usage":null})";

/// The texts that come of these chunks, each read in its place in the stream.
std::vector<std::string> texts(const std::vector<std::string>& chunks) {
  stream_decoder d;
  std::vector<std::string> out;
  for (auto& c : chunks) {
    std::vector<call_event> events;
    d.feed("data: " + c + "\n\n", events);
    out.emplace_back();
    for (auto& e : events)
      if (auto* delta = std::get_if<call_delta>(&e))
        out.back() += delta->text;
      else
        out.back() += std::holds_alternative<call_failed>(e) ? "<failed>" : "<finished>";
  }
  return out;
}

} // namespace

TEST_CASE("U3 a chunk like the one before is read without parsing it, and the same") {
  const std::vector<std::string> raw{
      R"("Hello")",
      R"(" world")",
      R"("")",
      R"("你好，世界")",
      R"("a\nb \"c\" \\ \u00e9")",
      R"("{\"x\":")",
      R"("," )",
      "\"tab\there\"",
      "\"\xff\xfe\"",
      R"("🎉")",
      R"("content")",
      R"(null)",
      R"("a","x":"b")",
      R"("\ud83c\udf89")",
      R"("last")",
  };
  auto shapes = {
      std::pair{head, tail},
      std::pair{std::string{R"({"choices":[{"delta":{"role":"assistant","content": )"},
                std::string{"}}]}"}},
      // A second "content", which wins, and one that is no answer.
      std::pair{std::string{R"({"content":"x","choices":[{"delta":{"content":"y","content":)"},
                std::string{R"(}}],"content":"z"})"}}};
  for (auto& [before, after] : shapes) {
    std::vector<std::string> chunks;
    for (auto& r : raw) {
      chunks.push_back(before + "\"warm\"" + after);
      chunks.push_back(before + r + after);
      INFO(chunks.back());
      auto warm = texts(chunks);
      CHECK(warm[0] == "warm");
      CHECK(warm.back() == texts({chunks.back()}).back());
      chunks.resize(1); // a failure ends a stream
    }
  }
}

TEST_CASE("a memo is sure of its place, or knows nothing") {
  auto says = [](std::string_view chunk, std::string_view text) {
    return chunk == head + json::quoted(text) + tail;
  };
  delta_memo memo;
  CHECK_FALSE(memo.match(head + "\"a\"" + tail));
  memo.learn(head + "\"a\"" + tail, "a", says);
  CHECK(memo.match(head + "\"b c\"" + tail) == "b c");
  CHECK(memo.match(head + "\"\"" + tail) == "");
  for (auto other : {R"("b\n")", R"("b","c":"d")", "\"\x01\"", "\"\xc3\"", "\""})
    CHECK_FALSE(memo.match(head + other + tail));
  CHECK_FALSE(memo.match(head + "\"b\"" + tail + " "));
  CHECK_FALSE(memo.match(head.substr(1) + "\"b\"" + tail));

  delta_memo denied;
  denied.learn(head + "\"a\"" + tail, "a", [](auto, auto) { return false; });
  CHECK_FALSE(denied.match(head + "\"a\"" + tail));
}

TEST_CASE("a memo gives up on a service whose chunks are all different") {
  delta_memo memo;
  int probes = 0;
  for (int i = 0; i < 100; ++i) {
    auto chunk = R"({"choices":[{"delta":{"content":"a"}}],"n":)" + std::to_string(i) + "}";
    CHECK_FALSE(memo.match(chunk));
    memo.learn(chunk, "a", [&](auto, auto) { return ++probes > 0; });
  }
  CHECK(probes <= 4);
}
