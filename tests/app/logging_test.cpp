#include "support/catch.hpp"

#include "app/assets.hpp"
#include "app/logging.hpp"
#include "app/version.hpp"

#include <boost/json/parse.hpp>

using namespace parlor;

TEST_CASE("a log line is one JSON object") {
  auto line =
      log_line_json(1'700'000'000'000'042, log_level::info, "a \"b\"\n", {{"path", "/\x01é"}});
  CHECK(line.find('\n') == std::string::npos);
  auto o = boost::json::parse(line).as_object();
  CHECK(o["ts"].as_string() == "2023-11-14T22:13:20.000042Z");
  CHECK(o["level"].as_string() == "info");
  CHECK(o["msg"].as_string() == "a \"b\"\n");
  CHECK(o["path"].as_string() == "/\x01é");
}

TEST_CASE("a line of text cannot be broken or control a terminal") {
  auto line = log_line_text(0, log_level::warn, "a\nb", {{"x", "\x1b[2J"}, {"y", "word"}});
  CHECK(line == "1970-01-01T00:00:00.000000Z warn  \"a\\nb\" x=\"\\u001b[2J\" y=word");
}

namespace {
// A client's id, a provider's word: whatever it is, it is one value of one line.
const std::string bad_values[] = {
    "a\r\n{\"level\":\"error\"}",
    "x level=error msg=forged",
    "\"quoted\" \\ back",
    "\x1b[31mred\x07",
    std::string("nul\0nul", 7),
    "\xc2\x9b"
    "2J",                                           // CSI in one character
    "line\xe2\x80\xa8separator \xe2\x80\xaeturned", // U+2028, U+202E
    "\x7f",
    "half \xe4\xb8 and \xff\xfe",
    std::string(10'000, 'x'),
    std::string(255, 'x') + "\xe4\xb8\xad\xe6\x96\x87",
};
} // namespace

TEST_CASE("A5: whatever a value holds, it is one value of one line of JSON") {
  for (auto& bad : bad_values) {
    auto line = log_line_json(0, log_level::warn, "event", {{"id", bad}, {"last", "here"}});
    CAPTURE(line);
    for (char c : line)
      CHECK((static_cast<unsigned char>(c) >= 0x20 && c != 0x7f));
    for (auto* unseen : {"\xc2\x9b", "\xe2\x80\xa8", "\xe2\x80\xae"})
      CHECK(line.find(unseen) == std::string::npos);
    CHECK(line.size() < 2 * max_log_value);
    boost::json::error_code ec;
    auto v = boost::json::parse(line, ec); // refuses what is no UTF-8
    REQUIRE(!ec);
    auto& o = v.as_object();
    CHECK(o.size() == 6);
    CHECK(o["level"].as_string() == "warn");
    CHECK(o["msg"].as_string() == "event");
    CHECK(o["last"].as_string() == "here");
  }
}

TEST_CASE("A5: and of one line of text") {
  for (auto& bad : bad_values) {
    auto line = log_line_text(0, log_level::warn, "event", {{"id", bad}, {"last", "here"}});
    CAPTURE(line);
    for (char c : line)
      CHECK((static_cast<unsigned char>(c) >= 0x20 && c != 0x7f));
    std::string_view rest = line;
    std::string_view head = "1970-01-01T00:00:00.000000Z warn  event id=";
    REQUIRE(rest.substr(0, head.size()) == head);
    rest.remove_prefix(head.size());
    if (rest.front() == '"') { // up to the quote that is not escaped
      std::size_t i = 1;
      while (i < rest.size() && rest[i] != '"')
        i += rest[i] == '\\' ? 2 : 1;
      rest.remove_prefix(i + 1);
    } else {
      rest.remove_prefix(rest.find(' '));
    }
    CHECK(rest == " last=here");
  }
}

TEST_CASE("a value that is missing is left out, a long one is cut between characters") {
  CHECK(log_line_text(0, log_level::info, "m", {{"a", ""}, {"b", "c"}}) ==
        "1970-01-01T00:00:00.000000Z info  m b=c");
  auto o = boost::json::parse(log_line_json(0, log_level::info, "m", {{"a", bad_values[10]}}))
               .as_object();
  CHECK(o["a"].as_string() == std::string(255, 'x') + "...");
  CHECK(o["a"].as_string().size() <= max_log_value + 3);
}

TEST_CASE("the embedded files are whole") {
  auto api =
      boost::json::parse(boost::json::string_view{openapi_json().data(), openapi_json().size()});
  CHECK(api.at("openapi").as_string() == "3.1.0");
  CHECK(docs_html().find("<meta charset=\"utf-8\">") != std::string_view::npos);
  CHECK(docs_html().substr(0, 15) == "<!doctype html>");
  CHECK(docs_js().find("http://") == std::string_view::npos);
  CHECK(boost::json::parse(version_json()).at("sqlite").is_string());
}
