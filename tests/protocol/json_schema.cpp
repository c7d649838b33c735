#include "protocol/json_schema.hpp"

#include "support/catch.hpp"

#include <boost/json.hpp>

using namespace parlor::json;

namespace {

schema_ptr compiled(std::string_view text) {
  schema_fault why;
  auto s = compile_schema(text, why);
  INFO(text << " " << why.pointer << " " << why.text);
  REQUIRE(s);
  return s;
}

std::string refused(std::string_view text) {
  schema_fault why;
  CHECK_FALSE(compile_schema(text, why));
  return why.pointer + " " + why.text;
}

std::string wrong(std::string_view schema, std::string_view document) {
  return to_string(compiled(schema)->check_text(document));
}

bool valid(std::string_view schema, std::string_view document) {
  return wrong(schema, document).empty();
}

} // namespace

TEST_CASE("violations are sentences with the place") {
  constexpr auto schema = R"({
    "type": "object",
    "required": ["goal", "weeks"],
    "additionalProperties": false,
    "properties": {
      "goal": {"type": "string", "minLength": 3, "maxLength": 5},
      "level": {"enum": ["beginner", "advanced"]},
      "weeks": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"$ref": "#/$defs/week"}},
      "a/b~": {"type": "boolean"}
    },
    "$defs": {"week": {"type": "object", "properties": {
      "hours": {"type": "integer", "minimum": 1, "maximum": 40}, "note": {"type": ["string", "null"]}}}}
  })";
  CHECK(wrong(schema, R"({"goal":"learn","weeks":[{"hours":1,"note":null}]})") == "");
  CHECK(wrong(schema, R"({"goal":"learn","weeks":[{"hours":1.5},{"hours":0,"note":3}]})") ==
        "- /weeks/0/hours must be an integer, not a number with a fraction\n"
        "- /weeks/1/hours must be at least 1, not 0\n"
        "- /weeks/1/note must be a string or null, not a number");
  CHECK(wrong(schema, R"({"goal":"ab","weeks":[],"x":1})") ==
        "- /goal must have at least 3 characters\n"
        "- /weeks must have at least 1 item\n"
        "- /x is not allowed there");
  CHECK(wrong(schema, R"({"level":"expert","weeks":[{},{},{}],"a/b~":0})") ==
        "- /level must be one of \"beginner\", \"advanced\", not \"expert\"\n"
        "- /weeks must have at most 2 items\n"
        "- /a~1b~0 must be true or false, not a number\n"
        "- /goal is missing");
  CHECK(wrong(schema, R"({"goal":"五个字符了","weeks":[{}]})") == "");
  CHECK(wrong(schema, R"({"goal":"六个字符太多","weeks":[{}]})") ==
        "- /goal must have at most 5 characters");
  CHECK(wrong(schema, "[]") == "- the document must be an object, not an array");
  CHECK(wrong(R"({"exclusiveMinimum":2})", "2") == "- the document must be greater than 2, not 2");
  CHECK(wrong(R"({"exclusiveMaximum":2.5})", "2.5") ==
        "- the document must be less than 2.5, not 2.5");
  CHECK(wrong(R"({"multipleOf":0.5})", "0.7") ==
        "- the document must be a multiple of 0.5, not 0.7");
  CHECK(wrong(R"({"minProperties":1,"maxProperties":2})", "{}") ==
        "- the document must have at least 1 entry");
  CHECK(wrong(R"({"maxProperties":2})", R"({"a":1,"b":2,"c":3})") ==
        "- the document must have at most 2 entries");
  CHECK(wrong(R"({"const":[1]})", "\"[1]\"") == "- the document must be an array, not a string");
  CHECK(wrong(R"({"const":[1]})", "[2]").starts_with("- the document is refused: "));
  CHECK(wrong(schema, "{") == "- the document is not valid JSON");
}

TEST_CASE("at most as many violations as asked for, each bounded") {
  auto s = compiled(R"({"items":{"enum":["a"]}})");
  std::string document = "[\"" + std::string(100'000, 'x') + "\"";
  for (int i = 0; i < 100; ++i)
    document += ",1";
  auto all = s->check_text(document + "]");
  REQUIRE(all.size() == 8);
  CHECK(all[0].text.size() < 200);
  CHECK(s->check_text(document + "]", 3).size() == 3);
  std::string name(100'000, 'n');
  auto one = compiled(R"({"additionalProperties":false})")->check_text("{\"" + name + "\":1}");
  REQUIRE(one.size() == 1);
  CHECK(one[0].pointer.size() < 400);
}

TEST_CASE("alternatives") {
  constexpr auto nullable = R"({"anyOf":[{"type":"null"},{"type":"object","required":["a"]}]})";
  CHECK(wrong(nullable, "{}") == "- /a is missing"); // "or null" was not meant
  CHECK(wrong(nullable, "3") ==
        "- the document fits none of the allowed forms; in the last one it must be an object, not "
        "a number");
  CHECK(valid(nullable, "null"));
  constexpr auto kinds = R"({"oneOf":[
    {"properties":{"kind":{"const":"text"},"text":{"type":"string"}},"required":["kind","text"]},
    {"properties":{"kind":{"const":"list"},"text":{"type":"array"}},"required":["kind","text"]}]})";
  CHECK(valid(kinds, R"({"kind":"list","text":[]})"));
  CHECK(wrong(kinds, R"({"kind":"list","text":"x"})") ==
        "- /text fits none of the allowed forms; in the last one it must be an array, not a "
        "string");
  CHECK(wrong(R"({"oneOf":[{"type":"integer"},{"minimum":2}]})", "3") ==
        "- the document fits more than one of the forms of which exactly one is allowed");
  CHECK(wrong(R"({"properties":{"a":{"not":{"const":1}}}})", R"({"a":1})") ==
        "- /a has a form that is not allowed");
  CHECK(valid(R"({"not":{"const":1}})", "2"));
  constexpr auto conditional =
      R"({"if":{"properties":{"a":{"const":1}}},"then":{"required":["b"]},"else":{"required":["c"]}})";
  CHECK(valid(conditional, R"({"a":1,"b":0})"));
  CHECK_FALSE(valid(conditional, R"({"a":1,"c":0})"));
  CHECK_FALSE(valid(conditional, R"({"a":2,"b":0})"));
}

TEST_CASE("what valijson would do differently or badly") {
  // std::regex would overflow the stack, or take for ever.
  CHECK(valid(R"({"pattern":"^(a|b)*$"})", "\"" + std::string(1'000'000, 'a') + "\""));
  CHECK_FALSE(valid(R"({"pattern":"^(a+)+$"})", "\"" + std::string(100'000, 'a') + "!\""));
  CHECK_FALSE(valid(R"({"format":"date"})", "\"" + std::string(1'000'000, '9') + "\""));
  CHECK_FALSE(valid(R"({"not":{"pattern":"a"}})", "\"bab\"")); // also where it is not at the top
  CHECK(valid(R"({"not":{"pattern":"^a"}})", "\"bab\""));
  CHECK(valid(R"({"format":"date-time"})", "\"2025-10-03T10:00:00.5+08:00\""));
  CHECK(valid(R"({"format":"email"})", "3")); // says nothing about numbers
  for (auto format : {"date-time", "date", "time", "email", "uri", "uuid"})
    CHECK_FALSE(valid("{\"format\":\"" + std::string{format} + "\"}", "\"nothing like it\""));
  CHECK(valid(R"({"type":"integer"})", "3.0"));
  CHECK(valid(R"({"enum":[3]})", "3e0"));
  CHECK(valid(R"({"multipleOf":0.1})", "0.3"));
  CHECK_FALSE(valid(R"({"multipleOf":2})", "3.5"));
  CHECK(valid(R"({"minLength":3})", R"("a\u0000b")"));
  CHECK_FALSE(valid(R"({"uniqueItems":true})", R"([{"a":1,"b":2},{"b":2.0,"a":1}])"));
  CHECK(wrong(R"({"properties":{"a":{"uniqueItems":true}}})", R"({"a":[1,2,1.0]})") ==
        "- /a must not have equal items");
  CHECK(valid(R"({"uniqueItems":true})", R"([1,"1",[1],{"a":1},true,null])"));
  std::string many = "[0";
  for (int i = 1; i < 100'000; ++i)
    many += "," + std::to_string(i);
  CHECK(valid(R"({"uniqueItems":true})", many + "]"));
  CHECK_FALSE(valid("{}", "1e999"));
  CHECK(refused(R"({"const":"a\u0000b"})").find("U+0000") != std::string::npos);
  CHECK_FALSE(valid(R"({"enum":["a"]})", R"("a\u0000b")"));
}

TEST_CASE("documents that two readers would read differently are violations") {
  CHECK(wrong("{}", R"({"a":1,"a":1})") == "- /a is there twice");
  CHECK(wrong("{}", R"({"a":{"b":{"c":{"d":1,"d":1}}}})") == "- /a/b/c/d is there twice");
  CHECK(wrong("{}", "\"\xff\"") == "- the document is not valid JSON");
  CHECK(wrong("{}", std::string(100, '[') + std::string(100, ']')) ==
        "- the document is nested too deeply");
  CHECK(wrong("{}", std::string(5'000'000, ' ') + "1") ==
        "- the document is too large to be checked");
}

TEST_CASE("a schema may be recursive, within bounds of depth and of work") {
  constexpr auto tree =
      R"({"type":"object","properties":{"children":{"type":"array","items":{"$ref":"#"}}},"additionalProperties":false})";
  CHECK(valid(tree, R"({"children":[{"children":[]},{}]})"));
  CHECK(wrong(tree, R"({"children":[{"children":[]},{"x":1}]})") ==
        "- /children/1/x is not allowed there");
  // Every level doubles the work.
  constexpr auto doubling =
      R"({"anyOf":[{"items":{"$ref":"#"},"type":"array"},{"items":{"$ref":"#"}, "type":"array"}]})";
  auto text = std::string(60, '[') + "1" + std::string(60, ']');
  CHECK_FALSE(valid(doubling, text));
  constexpr auto hidden =
      R"({"not":{"not":{"anyOf":[{"items":{"$ref":"#"},"type":"array"},{"items":{"$ref":"#"},"type":"array"}]}}})";
  CHECK(wrong(hidden, text) == "- the document is too large to be checked");
  // As deep as both may be: there must be stack for it.
  constexpr auto layers =
      R"({"not":{"not":{"allOf":[{"not":{"not":{"allOf":[{"not":{"not":{"allOf":[{"anyOf":[{"not":{"not":{"items":{"$ref":"#"}}}}]}]}}}]}}}]}}})";
  CHECK(valid(layers, std::string(63, '[') + "1" + std::string(63, ']')));
  CHECK(refused(R"({"$ref":"#"})") == " refers to itself without a step into the document");
  CHECK(refused(R"({"anyOf":[{"$ref":"#/$defs/a"}],"$defs":{"a":{"not":{"$ref":"#"}}}})")
            .find("refers to itself") != std::string::npos);
  std::string chain = R"({"$ref":"#/$defs/0","$defs":{)";
  for (int i = 0; i < 30; ++i) {
    auto next = "{\"$ref\":\"#/$defs/" + std::to_string(i + 1) + "\"}";
    chain += "\"" + std::to_string(i) + "\":{\"anyOf\":[" + next + "," + next + "]},";
  }
  CHECK(refused(chain + "\"30\":{}}}").find("says too much about one value") != std::string::npos);
}

TEST_CASE("what is not supported is refused, with its place") {
  CHECK(refused(R"({"properties":{"a":{"patternProperties":{}}}})") ==
        "/properties/a/patternProperties the keyword patternProperties is not supported");
  CHECK(refused(R"({"tpye":"object"})") == "/tpye the keyword tpye is not supported");
  CHECK(refused(R"({"$defs":{"unused":{"contains":{}}}})").starts_with("/$defs/unused/contains "));
  CHECK(refused(R"({"type":"objekt"})").starts_with("/type must be null, boolean, "));
  CHECK(refused(R"({"items":[{}]})").starts_with("/items lists of schemas"));
  CHECK(refused("{\"pattern\":\"(?=a)\"}").starts_with("/pattern is a pattern that is not"));
  CHECK(refused(R"({"format":"hostname"})").starts_with("/format is a format that is not"));
  for (auto ref : {"http://example.org/s.json", "other.json#/a", "#name", "#/nowhere", "#/%61"})
    CHECK(refused(R"({"$ref":")" + std::string{ref} + "\"}").starts_with("/$ref "));
  CHECK(refused(R"({"minLength":-1})") == "/minLength must be a whole number from 0");
  CHECK(refused(R"({"exclusiveMinimum":true})") == "/exclusiveMinimum must be a number");
  CHECK(refused(R"({"multipleOf":0})") == "/multipleOf must be greater than 0");
  CHECK(refused(R"({"required":"a"})") == "/required must be a list");
  CHECK(refused(R"({"then":{}})") == "/then stands without an if");
  CHECK(refused(R"({"properties":{"a":{"$id":"x"}}})").starts_with("/properties/a/$id "));
  CHECK(refused("[]") == " must be a schema: an object, true or false");
  CHECK(refused(R"({"a":1)").starts_with(" is not valid JSON"));
  CHECK(refused("{} {}").starts_with(" is not valid JSON"));
  CHECK(refused(R"({"title":")" + std::string(300'000, 'x') + "\"}") ==
        " is too large: at most 256 KiB");
  std::string deep;
  for (int i = 0; i < 40; ++i)
    deep += R"({"not":)";
  CHECK(refused(deep + "{}" + std::string(40, '}')).find("says too much") != std::string::npos);
  schema_fault why;
  CHECK_FALSE(compile_schema("{\n\"type\": ,\n}", why));
  CHECK(why.offset == 10);
}

TEST_CASE("draft 7 and what came after it, side by side") {
  CHECK(valid(R"({"$ref":"#/definitions/a","maximum":3,"definitions":{"a":{"minimum":1}}})", "2"));
  CHECK_FALSE(
      valid(R"({"$ref":"#/definitions/a","maximum":3,"definitions":{"a":{"minimum":1}}})", "4"));
  CHECK(valid("true", "[1]"));
  CHECK(wrong("false", "1") == "- the document is not allowed");
  CHECK(valid(R"({"additionalProperties":{"type":"integer"}})", R"({"x":1})"));
  CHECK(wrong(R"({"additionalProperties":{"type":"integer"}})", R"({"x":"1"})") ==
        "- /x must be an integer, not a string");
  CHECK(valid(R"({"properties":{"a/b":{"type":"null"},"$ref":{"type":"integer"},"id":true}})",
              R"({"a/b":null,"$ref":1,"id":2})"));
  CHECK(valid(R"({"const":{"$ref":"#/x"}})", R"({"$ref":"#/x"})"));
}

TEST_CASE("a schema as response_format") {
  auto s = compiled("{ \"type\" : \"object\",\n \"title\": \"a  \\\" b\" }");
  CHECK(s->text() == R"({"type":"object","title":"a  \" b"})");
  CHECK(
      response_format(*s, "plan", false) ==
      R"({"type":"json_schema","json_schema":{"name":"plan","schema":{"type":"object","title":"a  \" b"}}})");
  CHECK(response_format(*s, "plan", true).find(R"("strict":true)") != std::string::npos);
}
