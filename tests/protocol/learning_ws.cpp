// docs/clients/learning-ws.md, frame by frame.

#include "protocol/dialects/learning_ws.hpp"

#include "protocol/images.hpp"
#include "protocol/json.hpp"
#include "protocol/problem.hpp"

#include "support/catch.hpp"

#include <boost/json.hpp>

using namespace parlor;
using namespace parlor::learning_ws;

namespace {

namespace bj = boost::json;

std::string base64(std::string_view bytes) {
  static constexpr std::string_view alphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    auto at = [&](std::size_t k) {
      return i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0U;
    };
    auto bits = at(0) << 16 | at(1) << 8 | at(2);
    for (std::size_t k = 0; k < 4; ++k)
      out += i + k <= bytes.size() ? alphabet[bits >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

const std::string png = "\x89PNG\r\n\x1a\n....";
const std::string jpeg = "\xff\xd8\xff\xe0 JFIF";
const std::string gif = "GIF89a-";
const std::string webp{"RIFF\x10\0\0\0WEBPVP8 ", 16};

std::string data_url(std::string_view type, std::string_view bytes) {
  return "data:image/" + std::string{type} + ";base64," + base64(bytes);
}

std::string asking(std::string_view images, std::string_view more = "") {
  return R"({"type":"question","content":"Explain","request_id":"r1","images":)" +
         std::string{images} + std::string{more} + "}";
}

question good(std::string_view text, const limits& l = {}) {
  auto f = parse(text, l);
  if (auto* bad = std::get_if<bad_frame>(&f))
    INFO(bad->why.field << ": " << bad->why.detail);
  auto* q = std::get_if<question>(&f);
  REQUIRE(q != nullptr);
  return std::move(*q);
}

bad_frame bad(std::string_view text, const limits& l = {}) {
  auto f = parse(text, l);
  auto* b = std::get_if<bad_frame>(&f);
  INFO(text.substr(0, 200));
  REQUIRE(b != nullptr);
  return std::move(*b);
}

/// Field and detail of a refusal.
std::string why(std::string_view text, const limits& l = {}) {
  auto b = bad(text, l);
  return std::string{to_string(b.why.code)} + " " + b.why.field + ": " + b.why.detail;
}

event numbered(event_kind kind, std::uint64_t seq) {
  event e;
  e.kind = kind;
  e.seq = seq;
  return e;
}

} // namespace

TEST_CASE("a question is read with its options") {
  auto q = good(R"({"type":"question","content":" Explain exercise 3","request_id":"r1",)"
                R"("full_content":true,"model":"m","on_busy":"interrupt","temperature":0.50})");
  CHECK(q.turn.said.content == " Explain exercise 3");
  CHECK(q.turn.said.extra.empty());
  CHECK(q.request_id == "r1");
  CHECK(q.full_content);
  CHECK(q.turn.settings.model == "m");
  CHECK(q.turn.settings.temperature == "0.50");
  CHECK(q.turn.when_busy == on_busy::interrupt);
  auto plain = good(R"({"type":"question","content":"x","images":[],"request_id":null})");
  CHECK(plain.request_id.empty());
  CHECK_FALSE(plain.full_content);
  CHECK(plain.turn.said.extra.empty());
}

TEST_CASE("cancel and resume are read") {
  auto c = parse(R"({"type":"cancel","request_id":"r\u0031"})");
  REQUIRE(std::holds_alternative<cancel>(c));
  CHECK(std::get<cancel>(c).request_id == "r1");
  auto r = parse(R"({"type":"resume","last_seq":9007199254740991})");
  REQUIRE(std::holds_alternative<resume>(r));
  CHECK(std::get<resume>(r).last_seq == 9007199254740991U);
  CHECK(std::get<resume>(parse(R"({"type":"resume","last_seq":0})")).last_seq == 0);
}

TEST_CASE("what is no frame is refused with its field, and names its request where it can") {
  CHECK(why("") == "bad_json : the body is not valid JSON");
  CHECK(why("[]") == "bad_json : the body must be a JSON object");
  CHECK(why("null") == "bad_json : the body must be a JSON object");
  CHECK(why(R"({"type":"question","type":"cancel"})") == "bad_json : a key occurs twice");
  CHECK(why(R"({"type":"question","content":)" + std::string(200, '[')) ==
        "bad_json : the document is nested too deeply");
  CHECK(why("{}") == "invalid_field type: is required");
  CHECK(why(R"({"type":7})") == "invalid_field type: must be a string");
  CHECK(why(R"({"type":"Question","content":"x"})") ==
        "invalid_field type: must be question, cancel or resume");
  CHECK(why(R"({"type":"question"})") == "invalid_field content: is required");
  CHECK(why(R"({"type":"question","content":" \n"})") ==
        "invalid_field content: must not be blank");
  CHECK(why(R"({"type":"question","content":["x"]})") == "invalid_field content: must be a string");
  CHECK(why(R"({"type":"question","content":"x","full_content":1})") ==
        "invalid_field full_content: must be true or false");
  CHECK(why(R"({"type":"question","content":"x","on_busy":"wait"})") ==
        "invalid_field on_busy: must be queue, reject or interrupt");
  CHECK(why(R"({"type":"cancel"})") == "invalid_field request_id: is required");
  CHECK(why(R"({"type":"cancel","request_id":5})") == "invalid_field request_id: must be a string");
  CHECK(why(R"({"type":"cancel","request_id":")" + std::string(129, 'r') + "\"}") ==
        "invalid_field request_id: must be at most 128 bytes");
  for (auto seq : {"-1", "1.5", "\"41\"", "true", "1e999", "9223372036854775808"})
    CHECK(why(R"({"type":"resume","last_seq":)" + std::string{seq} + "}").find("last_seq") !=
          std::string::npos);
  CHECK(why(R"({"type":"resume"})") == "invalid_field last_seq: is required");
  CHECK(bad(R"({"type":"question","request_id":"r9"})").request_id == "r9");
  CHECK(bad(R"({"type":"cancel","request_id":5})").request_id.empty());
}

TEST_CASE("every refusal has a Chinese text") {
  for (auto text :
       {R"({"type":"x"})", R"({"type":"resume","last_seq":-1})",
        R"({"type":"question","content":"x","images":7})",
        R"({"type":"question","content":"x","images":[7]})",
        R"({"type":"question","content":"x","images":["http://a/b.png"]})",
        R"({"type":"question","content":"x","images":["data:image/png;base64,A"]})",
        R"({"type":"question","content":"x","images":["data:image/png;base64,AAAA"]})"}) {
    auto b = bad(text, {2, 1000, 30});
    CHECK(detail_text(b.why, language::zh) != b.why.detail);
  }
  limits few{0, 0, 30};
  auto many = bad(asking(R"(["https://a/b"])"), few);
  CHECK(detail_text(many.why, language::zh) == "图片数量过多");
  auto large = bad(asking("[\"" + data_url("png", png) + "\"]"), {1, 3, 30});
  CHECK(detail_text(large.why, language::zh) == "图片总大小超过限制");
  auto link = bad(asking(R"(["https://a/)" + std::string(30, 'b') + "\"]"), {1, 3, 30});
  CHECK(detail_text(link.why, language::zh) == "过长");
}

TEST_CASE("images become parts after the text, in their order") {
  auto first = data_url("jpeg", jpeg);
  auto q = good(asking("[\"" + first + R"(","https://example.org/page2.jpg?a=1&b=%20"])"));
  CHECK(q.turn.said.content == "Explain"); // what the history shows
  auto parts = bj::parse(std::string_view{q.turn.said.extra}).as_array();
  REQUIRE(parts.size() == 3);
  CHECK(parts.at(0) == bj::parse(R"({"type":"text","text":"Explain"})"));
  CHECK(parts.at(1).at("type").as_string() == "image_url");
  CHECK(parts.at(1).at("image_url").at("url").as_string() == first);
  CHECK(parts.at(2).at("image_url").at("url").as_string() ==
        "https://example.org/page2.jpg?a=1&b=%20");
  // A photo may be all there is to say.
  auto silent = good(R"({"type":"question","images":["https://example.org/a"]})");
  CHECK(silent.turn.said.content.empty());
  CHECK(bj::parse(std::string_view{silent.turn.said.extra}).as_array().size() == 1);
}

TEST_CASE("an image must be what it says it is") {
  auto fault = [](std::string_view url) { return check_image(url, 2048).fault; };
  for (auto [type, bytes] : {std::pair{"png", png}, {"jpeg", jpeg}, {"gif", gif}, {"webp", webp}}) {
    INFO(type);
    auto ok = check_image(data_url(type, bytes), 0);
    CHECK(ok.fault == image_fault::none);
    CHECK(ok.bytes == bytes.size());
    for (auto other : {"png", "jpeg", "gif", "webp"})
      if (std::string_view{other} != type)
        CHECK(fault(data_url(other, bytes)) == image_fault::content);
  }
  CHECK(fault("DATA:image/PNG;Base64," + base64(png)) == image_fault::none);
  CHECK(fault(data_url("png", png.substr(0, 7))) == image_fault::content);
  CHECK(fault(data_url("webp", "RIFF....WEB")) == image_fault::content);
  CHECK(fault(data_url("svg+xml", "<svg/>")) == image_fault::media_type);
  CHECK(fault(data_url("pngx", png)) == image_fault::media_type);
  CHECK(fault("data:text/html;base64,AAAA") == image_fault::media_type);
  CHECK(fault("data:image/png," + base64(png)) == image_fault::media_type);
  CHECK(fault("data:image/png;charset=utf-8;base64," + base64(png)) == image_fault::media_type);
  auto whole = base64(png);
  auto broken = [&](std::string text) { return fault("data:image/png;base64," + text); };
  REQUIRE(broken(whole) == image_fault::none);
  for (auto text : {std::string{}, std::string{"="}, std::string{"===="}, std::string{"A==="},
                    whole + "A", whole.substr(1), whole + "A=AA", whole + "AA=A",
                    whole + "====", whole + "AA\n=", " " + whole.substr(1), whole + "AA-_"}) {
    INFO(text);
    CHECK(broken(text) == image_fault::base64);
  }
  for (std::size_t i = 0; i < whole.size(); ++i) { // a wrong character is seen wherever it is
    auto text = whole;
    text[i] = '\x80';
    CHECK(broken(text) == image_fault::base64);
  }
}

TEST_CASE("links to images are passed on, if they are links") {
  auto fault = [](std::string_view url) { return check_image(url, 60).fault; };
  for (auto url : {"https://example.org", "HTTPS://[2001:db8::1]:8443/a?b#c", "https://a/%22\x7e"})
    CHECK(fault(url) == image_fault::none);
  for (auto url :
       {"", "http://a/b.png", "file:///etc/passwd", "//a/b", "https:/a", "https://", "https:///a",
        "https://:80/", "https://u:p@h/", "https://a/b c", "https://a/\n", "https://a/\"",
        "https://a/\\", "https://a/\x80", "javascript:alert(1)", "blob:x"})
    CHECK(fault(url) == image_fault::not_an_image);
  CHECK(fault("https://" + std::string(52, 'a')) == image_fault::none);
  CHECK(fault("https://" + std::string(53, 'a')) == image_fault::too_long);
}

TEST_CASE("the images of a question are bounded in number and in all") {
  limits l{3, 30, 100};
  auto url = "\"" + data_url("png", png.substr(0, 8) + "ab") + "\""; // 10 bytes
  CHECK(good(asking("[" + url + "," + url + "," + url + "]"), l).turn.said.extra.size() > 0);
  l.max_image_bytes = 29;
  CHECK(why(asking("[" + url + "," + url + "," + url + "]"), l) ==
        "invalid_field images: has more bytes than are allowed");
  l.max_image_bytes = 100;
  CHECK(why(asking("[" + url + "," + url + "," + url + "," + url + "]"), l) ==
        "invalid_field images: has too many images");
  CHECK(why(asking("[" + url + R"(,"https://ok.org/a","ftp://x"])"), l) ==
        "invalid_field images/2: must be a data URL of a PNG, JPEG, WebP or GIF in base64, or an "
        "https URL");
  CHECK(why(asking("[null]"), l) == "invalid_field images/0: must be a string");
  CHECK(why(asking("{}"), l) == "invalid_field images: must be a list");
}

TEST_CASE("the largest question allowed fits a frame, and costs a model what it shows") {
  limits l;
  auto bytes = jpeg + std::string(l.max_image_bytes / 10 - jpeg.size(), 'x');
  std::string images = "[";
  for (int i = 0; i < 10; ++i)
    images += (i > 0 ? ",\"" : "\"") + data_url("jpeg", bytes) + "\"";
  auto text = asking(images + "]");
  CHECK(text.size() <= max_frame(l));
  CHECK(max_frame(l) < 32U * 1024 * 1024);
  auto q = good(text, l);
  auto tokens = estimate_tokens(q.turn.said);
  CHECK(tokens > 10 * 500);
  CHECK(tokens < 10 * 1100);
}

TEST_CASE("parts are estimated by their text and their images, whoever wrote them") {
  auto said = [](std::string content, std::string extra) {
    return estimate_tokens(message{role::user, std::move(content), std::move(extra)});
  };
  auto text = std::string(4000, 'a');
  auto part = R"([{"type":"text","text":")" + text + "\"}]";
  CHECK(said(text, part) < 1100); // once, though it stands there twice
  CHECK(said(text, part) >= 1000);
  CHECK(said("", R"([{"type":"image_url","image_url":{"detail":"low","url":"https://a/b"}}])") >=
        500);
  auto hidden = R"([{"type":"text","text":"data:image/ )" + text + "\"}]";
  CHECK(said("", hidden) < said("", part)); // the text of an image is not read
  CHECK(said(text, R"({"tool_calls":[]})") > 1000);
}

TEST_CASE("frames are as the contract has them") {
  CHECK(content("First \"\n你", 7, "r1") ==
        "{\"type\":\"content\",\"content\":\"First \\\"\\n你\",\"seq\":7,\"request_id\":\"r1\"}");
  CHECK(content("st", "First", 8, "") ==
        R"({"type":"content","content":"st","full_content":"First","seq":8})");
  CHECK(keepalive == R"({"type":"keepalive","content":"","full_content":""})");
  CHECK(content_finished("First", "r1") ==
        R"({"type":"content_finished","full_content":"First","request_id":"r1"})");
  outcome end;
  end.used = {300, 21, true};
  end.finish_reason = "stop";
  session_view s;
  s.total_tokens = 900;
  s.question_count = 3;
  s.last_accessed = 1'759'485'600'000;
  auto told = bj::parse(done(end, 12, s, "r1"));
  CHECK(told.at("type").as_string() == "done");
  CHECK(told.at("request_id").as_string() == "r1");
  CHECK(told.at("seq").as_int64() == 12);
  CHECK(told.at("usage").at("total_tokens").as_int64() == 321);
  CHECK(told.at("finish_reason").as_string() == "stop");
  CHECK(told.at("session") == bj::parse(R"({"total_tokens":900,"question_count":3,)"
                                        R"("last_active_at":"2025-10-03T10:00:00Z"})"));
}

TEST_CASE("errors keep their code in both languages") {
  CHECK(error(errc::upstream_stalled, 9, language::en, "r1") ==
        R"({"type":"error","code":"content_timeout",)"
        R"("message":"The model stopped in the middle of its answer.","seq":9,"request_id":"r1"})");
  auto zh = bj::parse(error(errc::upstream_timeout, 0, language::zh, ""));
  CHECK(zh.at("code").as_string() == "processing_timeout");
  CHECK(zh.at("message").as_string() == "模型未能及时回答。");
  CHECK(zh.as_object().size() == 3);
  auto b = bad(R"({"type":"question","request_id":"r\"2"})");
  CHECK(error(b.why, language::zh, b.request_id) ==
        R"({"type":"error","code":"invalid_field","message":"为必填项","field":"content",)"
        R"("request_id":"r\"2"})");
  CHECK(code_name(errc::session_busy) == "session_busy");
}

TEST_CASE("events have their frames, and only those that concern the answer") {
  asked by;
  by.request_id = "r1";
  auto delta = numbered(event_kind::delta, 5);
  delta.text = "b";
  CHECK(encode(delta, by, language::en) == content("b", 5, "r1"));
  by.full_content = true;
  by.text = "ab";
  CHECK(encode(delta, by, language::en) == content("b", "ab", 5, "r1"));

  auto retry = numbered(event_kind::retry, 6);
  CHECK(encode(retry, by, language::en).empty());
  retry.discard = true; // what was shown is void
  CHECK(encode(retry, by, language::en) == content("", "", 6, "r1"));

  auto completed = numbered(event_kind::completed, 7);
  completed.end = std::make_shared<outcome>();
  session_view s;
  s.question_count = 4;
  by.session = &s;
  CHECK(encode(completed, by, language::en) == done(*completed.end, 7, s, "r1"));

  for (auto kind : {event_kind::failed, event_kind::cancelled}) {
    auto e = numbered(kind, 8);
    outcome end;
    end.error = errc::cancelled;
    e.end = std::make_shared<outcome>(end);
    CHECK(encode(e, by, language::zh) == error(errc::cancelled, 8, language::zh, "r1"));
  }
  CHECK(bj::parse(encode(numbered(event_kind::session_deleted, 9), by, language::en)).at("code") ==
        "session_deleted");
  CHECK(bj::parse(encode(numbered(event_kind::session_expired, 9), by, language::en)).at("code") ==
        "session_expired");
  for (auto kind : {event_kind::accepted, event_kind::started, event_kind::progress})
    CHECK(encode(numbered(kind, 1), by, language::en).empty());
}

TEST_CASE("a client whose cursor cannot be honoured is told where things stand") {
  session_view s;
  s.last_seq = 40;
  task_view t;
  t.text = "so far";
  CHECK(reset(&t, s, "r1") == content("", "so far", 40, "r1"));
  CHECK(reset(nullptr, s, "") == content("", "", 40, ""));
}
