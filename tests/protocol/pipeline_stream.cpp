#include "protocol/dialects/pipeline_stream.hpp"

#include "support/catch.hpp"

using namespace parlor;
using strings = std::vector<std::string>;

namespace {

pipeline plans(std::string_view request = R"({"type":"object","required":["user","preferences"],
    "properties":{"user":{"type":"string"},"preferences":{"type":"object","required":["goal"],
    "properties":{"goal":{"type":"string","minLength":1},"a/b":{"type":"integer"},
    "tags":{"type":"array","items":{"type":"string"}}}}}})") {
  json::schema_fault why;
  pipeline p;
  p.name = "plans";
  p.request = json::compile_schema(request, why);
  REQUIRE(p.request);
  return p;
}

turn_request good(const pipeline_stream::parsed_request& r) {
  REQUIRE(std::holds_alternative<turn_request>(r));
  return std::get<turn_request>(r);
}

/// "field: what is wrong"
strings faults(const pipeline& p, std::string_view body) {
  auto read = pipeline_stream::parse(p, body);
  REQUIRE(std::holds_alternative<std::vector<json::violation>>(read));
  strings out;
  for (auto& w :
       pipeline_stream::name_fields(std::get<std::vector<json::violation>>(read), language::en))
    out.push_back(w.field + ": " + w.detail);
  return out;
}

event made(event_kind kind, const char* stage = nullptr, std::string text = {}) {
  event e;
  e.seq = 7;
  e.kind = kind;
  e.text = std::move(text);
  if (stage != nullptr)
    e.stage = std::make_shared<const std::string>(stage);
  return e;
}

event over(event_kind kind, errc code, std::string content) {
  auto e = made(kind);
  auto end = std::make_shared<outcome>();
  end->error = code;
  end->content = std::move(content);
  e.end = std::move(end);
  return e;
}

std::string data_of(const event& e, language lang = language::en) {
  auto block = pipeline_stream::encode("epoch", lang, e);
  if (block.empty())
    return block;
  REQUIRE(block.starts_with("id: epoch-7\ndata: "));
  REQUIRE(block.ends_with("\n\n"));
  return block.substr(18, block.size() - 20);
}

} // namespace

TEST_CASE("a request is taken as it was written") {
  auto body = R"({"user":"u", "preferences":{"goal":"x", "n": 1.50}, "session_id":"room:1"})";
  auto turn = good(pipeline_stream::parse(plans(), body));
  CHECK(turn.kind == task_kind::pipeline);
  CHECK(turn.ref == "plans");
  CHECK(turn.said.content == body);
  CHECK(turn.session.id == "room:1");
  CHECK(turn.when_busy == on_busy::queue);
  CHECK_FALSE(turn.cancel_on_disconnect);
  auto bare = good(pipeline_stream::parse(plans(), R"({"user":"u","preferences":{"goal":"x"},
      "session_id":null,"on_busy":"interrupt","cancel_on_disconnect":true,"rehearsal":"cut:1"})"));
  CHECK(bare.session.id.empty());
  CHECK(bare.when_busy == on_busy::interrupt);
  CHECK(bare.cancel_on_disconnect);
  CHECK(bare.settings.script == "cut:1");
}

TEST_CASE("every field that is missing or wrong is named") {
  CHECK(faults(plans(), "{}") == strings{"user: is missing", "preferences: is missing"});
  CHECK(faults(plans(), R"({"user":1,"preferences":{"goal":"","a/b":"x","tags":["a",2,3]},
                            "session_id":"a b","on_busy":"never","cancel_on_disconnect":1,
                            "rehearsal":{}})") ==
        strings{"user: must be a string, not a number",
                "preferences.goal: must have at least 1 character",
                "preferences.a/b: must be an integer, not a string",
                "preferences.tags[1]: must be a string, not a number",
                "preferences.tags[2]: must be a string, not a number",
                "session_id: must be 1 to 128 characters of A-Z a-z 0-9 _ - . : @",
                "on_busy: must be queue, reject or interrupt",
                "cancel_on_disconnect: must be true or false", "rehearsal: must be a string"});
  CHECK(faults(plans(R"({"type":"object","minProperties":2})"), "{}") ==
        strings{"body: must have at least 2 entries"});
  CHECK(faults(plans(), R"({"user":"u","preferences":{"goal":"x"},"session_id":5})") ==
        strings{"session_id: must be a string"});
}

TEST_CASE("what is no JSON object is refused as everywhere") {
  for (auto body : {"", "{", "[]", "1", R"({"a":1,"a":2})"}) {
    auto read = pipeline_stream::parse(plans(), body);
    REQUIRE(std::holds_alternative<refusal>(read));
    CHECK(std::get<refusal>(read).code == errc::bad_json);
  }
}

TEST_CASE("a closed schema is not asked about the server's own members, unless it declares them") {
  auto closed = plans(R"({"type":"object","additionalProperties":false,
                          "properties":{"goal":{},"on_busy":{"type":"integer"}}})");
  auto turn = good(pipeline_stream::parse(
      closed, R"({"goal":1,"session_id":"s","on_busy":3,"rehearsal":"ok"})"));
  CHECK(turn.session.id == "s");
  CHECK(turn.when_busy == on_busy::queue);
  CHECK(faults(closed, R"({"other":1,"on_busy":"queue"})") ==
        strings{"other: is not allowed there", "on_busy: must be an integer, not a string"});
  auto declares = plans(R"({"type":"object","required":["session_id"],
                            "properties":{"session_id":{"type":"string","maxLength":3}}})");
  CHECK(good(pipeline_stream::parse(declares, R"({"session_id":"abc"})")).session.id == "abc");
  CHECK(faults(declares, "{}") == strings{"session_id: is missing"});
  CHECK(faults(declares, R"({"session_id":"a b c"})") ==
        strings{"session_id: must have at most 3 characters"}); // once
}

TEST_CASE("events have the contract's form") {
  CHECK(data_of(made(event_kind::delta, "intent", "say \"你\"\n")) ==
        R"({"type":"chunk","content":"say \"你\"\n","agent":"intent"})");
  stage_result r{"intent", R"({"a": [1, "}"]})", 3, 250, {10, 5, true}};
  CHECK(data_of(made(event_kind::stage_done, "intent", to_json(r))) ==
        R"({"type":"complete","data":{"a": [1, "}"]},"agent":"intent"})");
  auto again = made(event_kind::retry, "intent", "/a is missing");
  again.number = 2;
  again.discard = true;
  CHECK(data_of(again) == R"({"type":"retry","attempt":2,"delay_ms":0,"discard":true,)"
                          R"("reason":"/a is missing","agent":"intent"})");
  again.stage = nullptr;
  again.text.clear();
  CHECK(data_of(again) == R"({"type":"retry","attempt":2,"delay_ms":0,"discard":true})");
  auto progress = made(event_kind::progress, "intent");
  progress.number = 55;
  CHECK(data_of(progress).empty());
  CHECK(pipeline_stream::encode_with_progress("e", language::en, progress) ==
        "id: e-7\ndata: {\"type\":\"progress\",\"progress\":55,\"agent\":\"intent\"}\n\n");
  CHECK(data_of(made(event_kind::accepted)).empty());
  CHECK(data_of(made(event_kind::started)).empty());
}

TEST_CASE("the end says what each agent took, or which one it was") {
  stage_result one{"one", R"({"data":{"x":1}})", 1, 250, {10, 5, true}};
  stage_result two{"two", "[2]", 3, 1000, {20, 6, false}};
  auto content = pipeline_result({one, two}, {});
  CHECK(
      data_of(over(event_kind::completed, errc::none, content)) ==
      R"({"type":"done","summary":{"agents":[{"agent":"one","duration_ms":250,"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}},)"
      R"({"agent":"two","duration_ms":1000,"usage":{"prompt_tokens":20,"completion_tokens":6,"total_tokens":26,"estimated":true}}],)"
      R"("total_tokens":41,"duration_ms":1250}})");
  CHECK(parts_of(content).data == R"({"one":{"data":{"x":1}},"two":[2]})");
  auto failed = over(event_kind::failed, errc::schema_violation, pipeline_result({one}, "two"));
  CHECK(
      data_of(failed, language::zh) ==
      R"({"type":"error","error":"模型的回答不符合要求的格式。","code":"schema_violation","agent":"two"})");
  CHECK(pipeline_stream::failure_text(*failed.end, language::en) ==
        "The model's answers did not have the form that was asked for. (two)");
  CHECK(parts_of(failed.end->content).summary.ends_with(R"("total_tokens":15,"duration_ms":250})"));
  CHECK(parts_of(failed.end->content).data == R"({"one":{"data":{"x":1}}})");
  auto first = pipeline_result({}, "one"); // nothing was done
  CHECK(parts_of(first).at == "one");
  CHECK(parts_of(first).data == "{}");
  CHECK(parts_of(first).summary == R"({"agents":[],"total_tokens":0,"duration_ms":0})");
  CHECK(data_of(made(event_kind::session_deleted)) ==
        R"({"type":"error","error":"The session has been deleted.","code":"session_deleted"})");
}

TEST_CASE("contents that no pipeline has made are told without what they lack") {
  for (auto text : {"", "{", "half an ans", R"({"summary":{"agents":[)", "{\"data\":1}"}) {
    auto parts = parts_of(text);
    CHECK(parts.data.empty());
    CHECK(parts.summary.empty());
    CHECK(data_of(over(event_kind::failed, errc::internal, text)) ==
          R"({"type":"error","error":"Something went wrong here.","code":"internal"})");
    CHECK_FALSE(read_stage_result("a", text));
  }
  CHECK(data_of(made(event_kind::stage_done, "called", "{}")) ==
        R"({"type":"complete","data":null,"agent":"called"})");
}

TEST_CASE("what a stage has come to survives as text, however deep it is") {
  std::string deep(64, '[');
  deep += std::string(64, ']');
  stage_result r{"one", deep, 5, 12'345, {7, 8, false}};
  auto back = read_stage_result("one", to_json(r));
  REQUIRE(back);
  CHECK(back->agent == "one");
  CHECK(back->data == deep);
  CHECK(back->attempts == 5);
  CHECK(back->duration_ms == 12'345);
  CHECK(back->used.prompt_tokens == 7);
  CHECK(back->used.completion_tokens == 8);
  CHECK_FALSE(back->used.exact);
  r.used.exact = true;
  CHECK(read_stage_result("one", to_json(r))->used.exact);
}
