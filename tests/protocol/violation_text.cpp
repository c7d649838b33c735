#include "protocol/violation_text.hpp"

#include "protocol/json_schema.hpp"
#include "support/catch.hpp"

#include <algorithm>

using namespace parlor;

namespace {

std::string zh(std::string_view schema, std::string_view document) {
  json::schema_fault why;
  auto s = json::compile_schema(schema, why);
  REQUIRE(s);
  auto wrong = s->check_text(document);
  REQUIRE(wrong.size() == 1);
  CHECK(violation_text(wrong[0].text, language::en) == wrong[0].text);
  return violation_text(wrong[0].text, language::zh);
}

} // namespace

TEST_CASE("what is wrong with a document is said in Chinese, too") {
  CHECK(zh(R"({"required":["a"]})", "{}") == "为必填项");
  CHECK(zh(R"({"type":"string"})", "1") == "必须是字符串，不能是数");
  CHECK(zh(R"({"type":["object","array","null"]})", "true") ==
        "必须是对象、数组或null，不能是true 或 false");
  CHECK(zh(R"({"type":["boolean","integer"]})", "1.5") == "必须是整数或true 或 false，不能是小数");
  CHECK(zh(R"({"minimum":3})", "2") == "必须不小于 3，不能是 2");
  CHECK(zh(R"({"maximum":3})", "4") == "必须不大于 3，不能是 4");
  CHECK(zh(R"({"exclusiveMinimum":0})", "0") == "必须大于 0，不能是 0");
  CHECK(zh(R"({"exclusiveMaximum":0})", "0") == "必须小于 0，不能是 0");
  CHECK(zh(R"({"multipleOf":5})", "7") == "必须是倍数：5，不能是 7");
  CHECK(zh(R"({"minLength":1})", R"("")") == "至少 1 个字符");
  CHECK(zh(R"({"maxLength":2})", R"("abc")") == "最多 2 个字符");
  CHECK(zh(R"({"minItems":2})", "[1]") == "至少 2 项");
  CHECK(zh(R"({"maxProperties":1})", R"({"a":1,"b":2})") == "最多 1 个成员");
  CHECK(zh(R"({"minProperties":2})", "{}") == "至少 2 个成员");
  CHECK(zh(R"({"pattern":"^a"})", R"("b")") == "必须匹配正则表达式 ^a");
  CHECK(zh(R"({"enum":["x","y"]})", R"("z")").starts_with("必须是下列之一："));
  CHECK(zh(R"({"const":4})", "5").starts_with("必须是 4"));
  CHECK(zh(R"({"additionalProperties":false})", R"({"a":1})") == "不允许出现在此处");
  CHECK(zh(R"({"format":"date"})", R"("x")") == "必须是如 2025-10-03 的日期");
  CHECK(zh(R"({"uniqueItems":true})", "[1,1]") == "不能有相同的项");
}

TEST_CASE("what has no translation is said as it is") {
  CHECK(violation_text("was seen on the moon", language::zh) == "was seen on the moon");
  CHECK(violation_text("is missing", language::en) == "is missing");
}
