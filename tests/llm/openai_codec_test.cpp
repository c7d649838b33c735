#include "llm/openai_codec.hpp"

#include "support/catch.hpp"

#include <boost/json.hpp>

using namespace parlor;
using namespace parlor::llm;

namespace {

struct outcome {
  std::string text;
  std::optional<call_finished> finished;
  std::optional<call_failed> failed;
};

outcome run(std::string_view stream, std::size_t split = std::string_view::npos,
            std::size_t step = 0) {
  stream_decoder d;
  std::vector<call_event> events;
  if (step > 0)
    for (std::size_t at = 0; at < stream.size(); at += step)
      d.feed(stream.substr(at, step), events);
  else {
    d.feed(stream.substr(0, split), events);
    if (split < stream.size())
      d.feed(stream.substr(split), events);
  }
  d.end(events);
  outcome o;
  int ends = 0;
  for (auto& e : events) {
    CHECK(ends == 0); // nothing follows the outcome
    if (auto* delta = std::get_if<call_delta>(&e)) {
      CHECK_FALSE(delta->text.empty());
      o.text += delta->text;
    } else if (auto* f = std::get_if<call_finished>(&e)) {
      o.finished = *f;
      ++ends;
    } else if (auto* x = std::get_if<call_failed>(&e)) {
      o.failed = *x;
      ++ends;
    }
  }
  CHECK(ends == 1);
  return o;
}

const std::string sound =
    ": OPENROUTER PROCESSING\r\n\r\n"
    "data: "
    "{\"model\":\"m-1\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":"
    "\"\"}}]}\n\n"
    "data: "
    "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"你好\"},\"finish_reason\":null}]}\r\n\r\n"
    "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"other\"}}]}\n\n"
    "data:{\"choices\":[{\"index\":0,\"delta\":{\"content\":\", Zhang "
    "\\ud83c\\udf89\"}}],\"usage\":null}\n\n"
    "data: "
    "{\"choices\":[{\"index\":0,\"delta\":{\"content\":null,\"tool_calls\":[{\"index\":0,\"id\":"
    "\"t1\","
    "\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\"}}]}}]}\n\n"
    "data: "
    "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"\\\":1}"
    "\"}}]}}]}\n\n"
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n"
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":7}}\n\n"
    "data: {\"choices\":null}\n\n"
    "data: [DONE]\n\n";

void check_sound(const outcome& o) {
  CHECK(o.text == "你好, Zhang 🎉");
  REQUIRE(o.finished);
  CHECK(o.finished->finish_reason == "tool_calls");
  CHECK(o.finished->model == "m-1");
  REQUIRE(o.finished->used);
  CHECK(o.finished->used->prompt_tokens == 11);
  CHECK(o.finished->used->exact);
  CHECK(o.finished->tool_calls ==
        R"([{"id":"t1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}])");
}

} // namespace

TEST_CASE("U3 U5 a stream reads the same wherever it is split") {
  for (std::size_t at = 0; at <= sound.size(); ++at)
    check_sound(run(sound, at));
  check_sound(run(sound, 0, 1));
}

TEST_CASE("U1 U3 a stream cut anywhere is never a success before its finish_reason") {
  auto reason_at = sound.find("\"finish_reason\":\"tool_calls\"");
  auto end_of_event = sound.find("\n\n", reason_at) + 2;
  for (std::size_t at = 0; at < sound.size(); ++at) {
    auto o = run(sound.substr(0, at));
    if (at < end_of_event) {
      REQUIRE(o.failed);
      CHECK(o.failed->code == errc::upstream_truncated);
      CHECK(o.failed->can_pass);
    } else
      CHECK(o.finished);
  }
}

TEST_CASE("U3 forty kilobytes, byte by byte, and cut at each of them") {
  const std::vector<std::string> says{
      "a", "你好", "é", "🎉👩‍👩‍👧", "\\n\\n", "\\ud83c\\udf89", "data: x"};
  const std::vector<std::string> ends{"\n", "\r\n", "\r"};
  std::string stream = "\xef\xbb\xbf: OPENROUTER PROCESSING\n\n";
  for (std::size_t i = 0; stream.size() < 40 * 1024; ++i) {
    auto& eol = ends[i % ends.size()];
    stream += (i % 5 == 0 ? ": still there" + eol : "") +
              (i % 7 == 0 ? "event: message" + eol : "") + "data:" + (i % 2 == 0 ? " " : "") +
              R"({"choices":[{"index":0,"delta":{"content":")" + says[i % says.size()] +
              R"("}}]})" + eol + eol;
  }
  const auto before_end = stream.size();
  stream += "data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\r\n";
  const auto finished = stream.size() + 1; // with the CR that ends its block
  stream += "\r\n";
  const auto whole = run(stream);
  REQUIRE(whole.finished);
  const auto as_one = whole.text;
  stream_decoder d;
  std::vector<call_event> events;
  std::string text;
  for (std::size_t at = 0; at < stream.size(); ++at) {
    auto cut = d;
    std::vector<call_event> outcome;
    cut.end(outcome);
    REQUIRE(outcome.size() == 1);
    auto* failed = std::get_if<call_failed>(&outcome[0]);
    REQUIRE((failed != nullptr) == (at < finished));
    if (failed)
      REQUIRE(failed->code == errc::upstream_truncated);
    d.feed({&stream[at], 1}, events);
    for (auto& e : events)
      text += std::get<call_delta>(e).text;
    events.clear();
    REQUIRE(as_one.compare(0, text.size(), text) == 0);
    REQUIRE((at < before_end || text == as_one));
  }
}

TEST_CASE("U5 what services add, leave out or repeat") {
  const std::string first =
      R"(data: {"choices":[{"index":0,"delta":{"role":"assistant","content":"a"}}]})"
      "\n\n";
  const std::string last = R"(data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]})"
                           "\n\n";
  const std::string done = "data: [DONE]\n\n";
  for (auto odd :
       {R"({"choices":[]})",
        R"({"choices":null})",
        R"({})",
        R"({"choices":{}})",
        R"({"choices":[null,5,"x",[]]})",
        R"({"choices":[{}]})",
        R"({"choices":[{"delta":null}]})",
        R"({"choices":[{"delta":{}}]})",
        R"({"choices":[{"delta":[]}]})",
        R"({"choices":[{"delta":{"content":null}}]})",
        R"({"choices":[{"delta":{"content":5}}]})",
        R"({"choices":[{"delta":{"content":["b"]}}]})",
        R"({"choices":[{"delta":{"content":""}}]})",
        R"({"choices":[{"delta":{"role":"assistant"}}]})",
        R"({"choices":[{"index":1,"delta":{"content":"b"},"finish_reason":"stop"}]})",
        R"({"choices":[{"finish_reason":null}]})",
        R"({"choices":[{"finish_reason":5}]})",
        R"({"choices":[{"delta":{"tool_calls":null}}]})",
        R"({"choices":[{"delta":{"tool_calls":[null,{},[],{"function":null}]},"x":{}}],"y":1})",
        R"({"usage":null})",
        R"({"usage":[]})",
        R"({"usage":{"prompt_tokens":"x"}})",
        R"({"usage":{"prompt_tokens":-1,"completion_tokens":1e400}})",
        R"({"usage":{"prompt_tokens":9223372036854775807,"completion_tokens":1000000000000000}})",
        R"({"error":null})",
        R"({"model":null})",
        "",
        " ",
        "\t"}) {
    INFO(odd);
    auto o = run(first + "data: " + odd + "\n\n" + last + done);
    REQUIRE(o.finished);
    CHECK(o.text == "a");
    CHECK(o.finished->finish_reason == "stop");
  }
  // Two ends: the first counts. After [DONE] nothing does.
  auto length = R"(data: {"choices":[{"delta":{"content":"late"},"finish_reason":"length"}]})"
                "\n\n";
  auto twice = run(first + last + length + done);
  CHECK(twice.finished->finish_reason == "stop");
  CHECK(twice.text == "a");
  CHECK(twice.finished->ignored == 2); // the text and the end
  auto after =
      run(first + last + done + first + "data: {\"error\":{}}\n\n" + std::string(2 << 20, 'x'));
  CHECK(after.text == "a");
  REQUIRE(after.finished);
  CHECK(after.finished->ignored > 0);
  CHECK(run(first + last + done).finished->ignored == 0);
  auto other = run(
      first +
      R"(data: {"choices":[{"index":1,"delta":{"content":"b"}},{"index":2,"delta":{"content":"c"}}]})"
      "\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"never\"}]}\n\n");
  REQUIRE(other.failed);
  CHECK(other.failed->ignored == 2);
  // The figures may come with the end, after it, or in every chunk; the last ones count.
  auto used = run(R"(data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}})"
                  "\n\n" +
                  first + last +
                  R"(data: {"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":7}})"
                  "\n\n" +
                  done);
  REQUIRE(used.finished->used);
  CHECK(used.finished->used->prompt_tokens == 11);
  CHECK(used.finished->used->completion_tokens == 7);
}

TEST_CASE("U1 U8 what is no sound end of a stream") {
  auto piece = std::string{"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"};
  CHECK(run(piece + "data: [DONE]\n\n").failed->code == errc::upstream_truncated);
  CHECK(run(piece + "data: {\"choices\":[{\"finish_reason\":\"abort\"}]}\n\ndata: [DONE]\n\n")
            .failed->code == errc::upstream_truncated);
  CHECK(run(piece + "data: {\"choices\":[{\n\n").failed->code == errc::upstream_protocol);
  CHECK(run(piece + "data: " + std::string(100'000, '[') + "\n\n").failed->code ==
        errc::upstream_protocol);
  auto failed =
      run(piece + "data: {\"error\":{\"message\":\"secret\",\"code\":\"overloaded\"}}\n\n").failed;
  CHECK(failed->code == errc::upstream_error);
  CHECK(failed->detail.find("overloaded") != std::string::npos);
  CHECK(failed->detail.find("secret") == std::string::npos);
  CHECK(run("data: " + std::string(max_event_bytes + 1, 'x')).failed->code ==
        errc::upstream_too_large);
}

TEST_CASE("U7 statuses keep their meaning") {
  auto of = [](int status) { return failure_of_status(status, "", "", 0); };
  for (int status : {408, 409, 500, 502, 503, 504, 529})
    CHECK((of(status).code == errc::upstream_error && of(status).can_pass));
  for (int status : {401, 403})
    CHECK((of(status).code == errc::upstream_auth && !of(status).can_pass));
  for (int status : {400, 404, 422})
    CHECK((of(status).code == errc::upstream_rejected && !of(status).can_pass));
  CHECK((of(429).code == errc::upstream_rate_limited && of(429).can_pass));
  CHECK((of(302).code == errc::upstream_protocol && !of(302).can_pass));
  auto body = R"({"error":{"message":"sk-secret","code":"context_length_exceeded"}})";
  CHECK(failure_of_status(400, "", body, 0).detail == "HTTP 400: context_length_exceeded");
  CHECK(parse_retry_after("5", 0) == std::chrono::seconds{5});
  CHECK(parse_retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 20) == std::chrono::seconds{40});
  CHECK(parse_retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 99) == std::chrono::seconds{0});
  CHECK_FALSE(parse_retry_after("-1", 0));
  CHECK_FALSE(parse_retry_after("", 0));
  CHECK_FALSE(parse_retry_after("soon", 0));
}

TEST_CASE("a request carries what was asked, as it was written") {
  call_request r;
  r.settings.model = "m\"1";
  r.settings.temperature = "0.70";
  r.settings.max_tokens = 50;
  r.settings.passthrough = R"({"top_p":0.10,"stream":false,"tools":[{"type":"function"}]})";
  r.settings.response_format = R"({"type":"json_object"})";
  r.messages = {{role::system, "be kind", ""},
                {role::user, "",
                 R"([{"type":"text","text":"hi"},{"type":"image_url","image_url":{"url":"u"}}])"},
                {role::assistant, "", R"({"tool_calls":[{"id":"t1"}]})"},
                {role::tool, "42", R"({"tool_call_id":"t1"})"}};
  auto text = chat_request_body(r);
  CHECK(text.find("\"temperature\":0.70") != text.npos);
  CHECK(text.find("\"top_p\":0.10") != text.npos);
  CHECK(text.find("\"stream\":false") == text.npos);
  auto doc = boost::json::parse(text);
  CHECK(doc.at("model").as_string() == "m\"1");
  CHECK(doc.at("stream").as_bool());
  CHECK(doc.at("stream_options").at("include_usage").as_bool());
  CHECK(doc.at("max_tokens").as_int64() == 50);
  CHECK(doc.at("response_format").at("type").as_string() == "json_object");
  auto& m = doc.at("messages").as_array();
  CHECK(m.at(0).at("role").as_string() == "system");
  CHECK(m.at(1).at("content").as_array().size() == 2);
  CHECK(m.at(2).at("content").is_null());
  CHECK(m.at(2).at("tool_calls").is_array());
  CHECK(m.at(3).at("tool_call_id").as_string() == "t1");
  CHECK(m.at(3).at("content").as_string() == "42");
}
