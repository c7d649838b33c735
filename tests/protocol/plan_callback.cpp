#include "protocol/dialects/plan_callback.hpp"
#include "protocol/json.hpp"

#include "support/catch.hpp"

using namespace parlor;
using namespace parlor::plan_callback;

namespace {

template <class T>
T accepted(parsed<T> p) {
  if (auto* why = std::get_if<refusal>(&p))
    FAIL(to_string(why->code) << ' ' << why->field << ' ' << why->detail);
  return std::move(std::get<T>(p));
}

template <class T>
refusal refused(parsed<T> p) {
  REQUIRE(std::holds_alternative<refusal>(p));
  return std::get<refusal>(p);
}

/// What a callback in session s1 says.
outside_news said(outside_news::kind kind, std::string_view body) {
  INFO(body);
  auto c = accepted(parse_callback("s1", body));
  CHECK(c.session == "s1");
  REQUIRE(c.what.what == kind);
  return c.what;
}
std::string plan(std::string_view body) { return said(outside_news::kind::completed, body).text; }
std::string failure(std::string_view body) { return said(outside_news::kind::failed, body).text; }
outside_news report(std::string_view body) { return said(outside_news::kind::progress, body); }

event happened(event_kind kind) {
  static const auto header = std::make_shared<task_header>(
      task_header{"task_1", "s1", "", 1, {}, task_kind::external, {}});
  event e;
  e.seq = 7;
  e.kind = kind;
  e.task = header;
  return e;
}

event ended_with(task_status status, errc error, std::string content) {
  auto e = happened(status == task_status::completed ? event_kind::completed
                    : status == task_status::failed  ? event_kind::failed
                                                     : event_kind::cancelled);
  outcome end;
  end.status = status;
  end.error = error;
  end.content = std::move(content);
  e.end = std::make_shared<outcome>(end);
  return e;
}

} // namespace

TEST_CASE("a start is read, with the request as it was written") {
  auto turn = accepted(parse_generate(
      "{ \"sessionId\" : \"s1\", \"request\": {\"weeks\": 1E+1,\n \"n\":12345678901234567890.10, "
      "\"say\":\"a  \\\" { b\\n\",\r\n\"list\":[1, 2 ] } , \"other\": 1}"));
  CHECK(turn.session.id == "s1");
  CHECK(turn.said.content ==
        "{\"weeks\":1E+1,\"n\":12345678901234567890.10,\"say\":\"a  \\\" { b\\n\",\"list\":[1,2]}");
  CHECK(turn.when_busy == on_busy::reject);
  for (auto& [body, code, field] :
       {std::tuple{"", errc::bad_json, ""},
        {"[]", errc::bad_json, ""},
        {R"({"request":{}})", errc::invalid_field, "sessionId"},
        {R"({"sessionId":7,"request":{}})", errc::invalid_field, "sessionId"},
        {R"({"sessionId":"","request":{}})", errc::invalid_field, "sessionId"},
        {R"({"sessionId":"a b","request":{}})", errc::invalid_field, "sessionId"},
        {R"({"sessionId":"s1"})", errc::invalid_field, "request"},
        {R"({"sessionId":"s1","request":null})", errc::invalid_field, "request"},
        {R"({"sessionId":"s1","request":[1]})", errc::invalid_field, "request"},
        {R"({"sessionId":"s1","sessionId":"s2","request":{}})", errc::bad_json, ""}}) {
    INFO(body);
    auto why = refused(parse_generate(body));
    CHECK(why.code == code);
    CHECK(why.field == field);
  }
}

TEST_CASE("a callback brings a plan, numbers untouched") {
  CHECK(plan(R"({"data":{"hours":1.50,"big":9007199254740993,"e":1E2}})") ==
        R"({"hours":1.50,"big":9007199254740993,"e":1E2})");
  CHECK(plan("{\"data\":{\"a\":\"x\\ny\",\r\n  \"b\":[ true , null ]}}") ==
        R"({"a":"x\ny","b":[true,null]})");
  CHECK(plan(R"({"title":"Go", "weeks":[{"n":1.0}]})") ==
        R"({"title":"Go","weeks":[{"n":1.0}]})"); // the object itself
  CHECK(plan(R"({"data":{},"error":null,"progress":100,"message":"done"})") == "{}");
  CHECK(plan(R"({"data":{"a":1},"error":""})") == R"({"a":1})");
  CHECK(plan(R"({"code":0,"error":0,"data":{"a":1}})") == R"({"a":1})");
  CHECK(plan(R"({"progress":0,"title":"Go"})") == R"({"progress":0,"title":"Go"})");
  CHECK(plan(R"({"progress":"40%","message":"x"})") == R"({"progress":"40%","message":"x"})");
  CHECK(plan("{}") == "{}");
  for (auto bad : {R"({"data":[1]})", R"({"data":"x"})", R"({"data":null})"}) {
    auto why = refused(parse_callback("s1", bad));
    CHECK(why.code == errc::invalid_field);
    CHECK(why.field == "data");
  }
}

TEST_CASE("a callback that says error is never taken for a plan") {
  CHECK(failure(R"({"error":"no capacity"})") == "no capacity");
  CHECK(failure(R"({"error":"no capacity","data":{}})") == "no capacity");
  CHECK(failure(R"({"error":{"code":5,"message":" busy\n\u0007"}})") == "busy");
  CHECK(failure(R"({"error":{"code":5}})").empty());
  CHECK(failure(R"({"error":true,"data":{"a":1}})").empty());
  CHECK(failure(R"({"error":["a"]})").empty());
  CHECK(failure(R"({"error":""})").empty());
  std::string text(499, 'x');
  CHECK(failure(R"({"error":")" + text + R"(你好"})") == text);
  CHECK(failure(R"({"error":")" + text.substr(2) + R"(你好"})") == text.substr(2) + "你");
}

TEST_CASE("a callback reports progress without ending anything") {
  auto r = report(R"({"progress":40,"message":"half\tway"})");
  CHECK(r.percent == 40);
  CHECK(r.text == "half way");
  CHECK(report(R"({"progress":0})").percent == 0);
  CHECK(report(R"({"progress":99.9,"sessionId":"x"})").percent == 99);
  CHECK(report(R"({"progress":100,"message":"m","stage":3})").percent == 100);
  CHECK(report(R"({"progress":5,"data":null,"error":null})").percent == 5);
  for (auto bad :
       {R"({"progress":-1})", R"({"progress":100.5,"message":"x"})", R"({"progress":1e300})"}) {
    auto why = refused(parse_callback("s1", bad));
    CHECK(why.code == errc::invalid_field);
    CHECK(why.field == "progress");
  }
}

TEST_CASE("C3 the session of a callback is the query's, else the body's") {
  CHECK(accepted(parse_callback("q", R"({"sessionId":"b","data":{}})")).session == "q");
  CHECK(accepted(parse_callback("q", R"({"sessionId":7,"data":{}})")).session == "q");
  CHECK(accepted(parse_callback("", R"({"sessionId":"b","data":{}})")).session == "b");
  auto self = accepted(parse_callback("", R"({"sessionId":"b","weeks":2})"));
  CHECK(self.what.text == R"({"sessionId":"b","weeks":2})");
  for (auto body : {R"({"data":{}})", R"({"sessionId":"","data":{}})",
                    R"({"sessionId":7,"data":{}})", R"({"sessionId":"a/b","data":{}})"}) {
    auto why = refused(parse_callback("", body));
    CHECK(why.code == errc::invalid_field);
    CHECK(why.field == "sessionId");
  }
  CHECK(refused(parse_callback("a b", R"({"data":{}})")).field == "sessionId");
}

TEST_CASE("C3 bodies that are too large or malformed are refused") {
  auto sized = [](std::size_t n) {
    return R"({"data":{"a":")" + std::string(n - 19, 'x') + R"("}})" + "  ";
  };
  REQUIRE(sized(max_callback_bytes).size() == max_callback_bytes);
  accepted(parse_callback("s1", sized(max_callback_bytes)));
  CHECK(refused(parse_callback("s1", sized(max_callback_bytes + 1))).code == errc::body_too_large);
  for (auto body : {std::string{}, std::string{"nonsense"}, std::string{"[]"}, std::string{"null"},
                    std::string{R"({"data":{})"}, std::string{R"({"data":{}} x)"},
                    std::string{"{\"data\":{\"a\":\"\xff\"}}"}, std::string(10'000, '{'),
                    std::string{R"({"data":{"a":1},"d\u0061ta":{"a":2}})"}}) {
    INFO(body.substr(0, 50));
    CHECK(refused(parse_callback("s1", body)).code == errc::bad_json);
  }
}

TEST_CASE("C3 a repetition is known by what it says") {
  auto end = *ended_with(task_status::completed, errc::none, R"({"a":1})").end;
  CHECK(repeats(said(outside_news::kind::completed, R"({"data":{ "a" : 1 }})"), end));
  CHECK_FALSE(repeats(said(outside_news::kind::completed, R"({"data":{"a":2}})"), end));
  CHECK_FALSE(repeats(report(R"({"progress":1})"), end));
  CHECK_FALSE(repeats(said(outside_news::kind::failed, R"({"error":"x"})"), end));
  auto failed = *ended_with(task_status::failed, errc::generation_failed, "x").end;
  CHECK(repeats(said(outside_news::kind::failed, R"({"error":"x"})"), failed));
  CHECK_FALSE(repeats(said(outside_news::kind::failed, R"({"error":"y"})"), failed));
  auto late = *ended_with(task_status::failed, errc::generation_timeout, "").end;
  CHECK_FALSE(repeats(said(outside_news::kind::failed, R"({"error":""})"), late));
  CHECK_FALSE(repeats(said(outside_news::kind::completed, R"({"data":{}})"), late));
}

TEST_CASE("plan answers are those of the contract") {
  CHECK(started_json("s1", "https://a.example/x?y=1&z") ==
        R"({"success":true,"sessionId":"s1","status":"generating",)"
        R"("callbackUrl":"https://a.example/x?y=1&z"})");
  CHECK(outbound_json("s1", R"({"n":1.0})", "https://a.example/") ==
        R"({"sessionId":"s1","request":{"n":1.0},"callbackUrl":"https://a.example/"})");
  CHECK(received_json("s1", outside_news::kind::completed, 2) ==
        R"({"success":true,"sessionId":"s1","status":"completed","delivered":2})");
  CHECK(received_json("s1", outside_news::kind::failed, 0) ==
        R"({"success":true,"sessionId":"s1","status":"error","delivered":0})");
  CHECK(received_json("s1", outside_news::kind::progress, 1) ==
        R"({"success":true,"sessionId":"s1","status":"generating","delivered":1})");
  CHECK(error_json({errc::session_not_found}, language::en, "s1") ==
        R"({"success":false,"error":{"code":"session_not_found",)"
        R"("message":"There is no such session."},"sessionId":"s1"})");
  CHECK(error_json({errc::invalid_field, "progress", "must be a number from 0 to 100"},
                   language::zh, "a<b") ==
        R"({"success":false,"error":{"code":"invalid_field",)"
        R"("message":"progress 必须是 0 到 100 之间的数"},"sessionId":null})");
  for (auto& [code, status] : {std::pair{errc::session_not_found, 404},
                               {errc::not_waiting, 409},
                               {errc::session_busy, 409},
                               {errc::body_too_large, 413},
                               {errc::bad_json, 400},
                               {errc::invalid_field, 400},
                               {errc::bad_token, 403}})
    CHECK(describe(code).http_status == status);
}

TEST_CASE("the figures of plans add up") {
  CHECK(stats_json({}) == R"({"activeSessions":0,"activeConnections":0,"statuses":{"waiting":0,)"
                          R"("generating":0,"completed":0,"error":0},"averageGenerationMs":0,)"
                          R"("errorRate":0,"timeoutRate":0})");
  figures f;
  f.waiting = 1;
  f.generating = 2;
  f.completed = 3;
  f.error = 4;
  f.connections = 5;
  f.plans = 6;
  f.generation_ms = 10'000;
  f.failures = 3;
  f.timeouts = 1;
  CHECK(stats_json(f) == R"({"activeSessions":10,"activeConnections":5,"statuses":{"waiting":1,)"
                         R"("generating":2,"completed":3,"error":4},"averageGenerationMs":1667,)"
                         R"("errorRate":0.3333,"timeoutRate":0.1111})");
  f.plans = 0;
  f.timeouts = 3;
  CHECK(stats_json(f).find(R"("averageGenerationMs":0,"errorRate":1,"timeoutRate":1})") !=
        std::string::npos);
}

TEST_CASE("plan events are those of the contract") {
  auto shown = [](const event& e, language lang = language::en) { return encode("ep", lang, e); };
  CHECK(shown(happened(event_kind::accepted)) ==
        "id: ep-7\ndata: {\"type\":\"status\",\"status\":\"generating\"}\n\n");
  CHECK(shown(happened(event_kind::started)).empty());
  CHECK(shown(happened(event_kind::delta)).empty());
  auto e = happened(event_kind::progress);
  e.number = 40;
  CHECK(shown(e) ==
        "id: ep-7\ndata: {\"type\":\"status\",\"status\":\"generating\",\"progress\":40}\n\n");
  e.text = "half\"way";
  CHECK(shown(e) == "id: ep-7\ndata: {\"type\":\"status\",\"status\":\"generating\","
                    "\"progress\":40,\"message\":\"half\\\"way\"}\n\n");
  e = happened(event_kind::retry);
  e.number = 2;
  e.delay_ms = 1000;
  CHECK(shown(e) == "id: ep-7\ndata: {\"type\":\"retry\",\"attempt\":2,\"delay_ms\":1000}\n\n");
  CHECK(shown(ended_with(task_status::completed, errc::none, R"({"n":1.50})")) ==
        "id: ep-7\ndata: {\"type\":\"plan\",\"status\":\"completed\",\"data\":{\"n\":1.50}}\n\n");
  CHECK(shown(ended_with(task_status::failed, errc::generation_timeout, "")) ==
        "id: ep-7\ndata: {\"type\":\"error\",\"status\":\"error\",\"code\":\"generation_timeout\","
        "\"message\":\"The plan took too long to arrive. Please try again.\"}\n\n");
  CHECK(shown(ended_with(task_status::failed, errc::upstream_unreachable, "half"), language::zh) ==
        "id: ep-7\ndata: {\"type\":\"error\",\"status\":\"error\","
        "\"code\":\"upstream_unreachable\",\"message\":\"规划服务暂时不可用，请稍后再试。\"}\n\n");
  CHECK(shown(ended_with(task_status::failed, errc::generation_failed, "no capacity")) ==
        "id: ep-7\ndata: {\"type\":\"error\",\"status\":\"error\",\"code\":\"generation_failed\","
        "\"message\":\"no capacity\"}\n\n");
  CHECK(shown(ended_with(task_status::failed, errc::generation_failed, ""), language::zh) ==
        "id: ep-7\ndata: {\"type\":\"error\",\"status\":\"error\",\"code\":\"generation_failed\","
        "\"message\":\"未能生成计划，请重试。\"}\n\n");
  CHECK(shown(ended_with(task_status::cancelled, errc::none, "")).find(R"("code":"cancelled")") !=
        std::string::npos);
  auto expired = happened(event_kind::session_expired);
  expired.task = nullptr;
  CHECK(shown(expired).find(R"("code":"session_expired")") != std::string::npos);
  CHECK(connection_timeout() == "data: {\"type\":\"connection_timeout\"}\n\n");
}

TEST_CASE("a page that comes back is told how things stand") {
  CHECK(connected("s1", nullptr) ==
        "data: {\"type\":\"connected\",\"sessionId\":\"s1\",\"status\":\"waiting\"}\n\n");
  task_view t;
  t.session = "s1";
  t.progress = 40;
  t.last_seq = 9;
  session_view s;
  s.id = "s1";
  s.last_seq = 12;
  auto snapshot = [&](language lang = language::en) {
    auto block = reset("ep", lang, &t, s);
    auto from = block.find("\"snapshot\":");
    REQUIRE(block.substr(0, from) == "id: ep-12\ndata: {\"type\":\"reset\",");
    return block.substr(from + 11, block.size() - from - 11 - 3);
  };
  for (auto& [status, name] : {std::pair{task_status::pending, "generating"},
                               {task_status::running, "generating"},
                               {task_status::completed, "completed"},
                               {task_status::failed, "error"},
                               {task_status::cancelled, "error"}}) {
    t.status = status;
    CHECK(connected("s1", &t) ==
          "data: {\"type\":\"connected\",\"sessionId\":\"s1\",\"status\":\"" + std::string{name} +
              "\"}\n\n");
  }
  t.status = task_status::running;
  CHECK(snapshot() == R"({"sessionId":"s1","status":"generating","progress":40})");
  t.status = task_status::completed;
  t.end = ended_with(t.status, errc::none, R"({"n":1})").end;
  CHECK(snapshot() == R"({"sessionId":"s1","status":"completed","data":{"n":1}})");
  t.status = task_status::failed;
  t.end = ended_with(t.status, errc::generation_timeout, "").end;
  CHECK(snapshot(language::zh) == R"({"sessionId":"s1","status":"error",)"
                                  R"("code":"generation_timeout",)"
                                  R"("message":"计划生成超时，请重试。"})");
  CHECK(reset("ep", language::en, nullptr, s) ==
        "id: ep-12\ndata: {\"type\":\"reset\",\"snapshot\":{\"sessionId\":\"s1\","
        "\"status\":\"waiting\"}}\n\n");
}
