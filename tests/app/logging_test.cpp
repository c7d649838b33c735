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
  auto line = log_line_text(0, log_level::warn, "a\nb", {{"x", "\x1b[2J"}});
  CHECK(line == "1970-01-01T00:00:00.000000Z warn  a?b x=?[2J");
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
