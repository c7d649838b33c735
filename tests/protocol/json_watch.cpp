#include "protocol/json_watch.hpp"
#include "protocol/json.hpp"

#include "support/catch.hpp"

#include <boost/json.hpp>

#include <map>
#include <random>

using namespace parlor::json;
namespace bj = boost::json;

namespace {

schema_ptr compiled(std::string_view text) {
  schema_fault why;
  auto s = compile_schema(text, why);
  INFO(text << " " << why.pointer << " " << why.text);
  REQUIRE(s);
  return s;
}

/// The text up to where the watcher objects, and what it says; only the text if it does not.
std::string objection(std::string_view schema, std::string_view text) {
  watcher w{compiled(schema)};
  for (std::size_t i = 0; i < text.size(); ++i)
    if (auto v = w.feed(text.substr(i, 1)))
      return std::string{text.substr(0, i + 1)} + " | " + to_string(*v);
  return std::string{text};
}

/// Random schemas, and documents that have a fair chance to be valid for them.
struct maker {
  std::mt19937 random;

  std::size_t pick(std::size_t n) {
    return std::uniform_int_distribution<std::size_t>{0, n - 1}(random);
  }
  bool often() { return pick(4) != 0; }
  bool rarely() { return pick(8) == 0; }

  bj::value scalar() {
    switch (pick(7)) {
    case 0:
      return nullptr;
    case 1:
      return pick(2) == 0;
    case 2:
      return static_cast<std::int64_t>(pick(6));
    case 3:
      return static_cast<double>(pick(12)) / 2;
    case 4:
      return bj::string(std::string(pick(4), 'a'));
    case 5:
      return "ab\"\\\n";
    default:
      return "你好";
    }
  }

  bj::value schema(int depth) {
    if (rarely())
      return pick(4) != 0;
    bj::object out;
    if (depth > 0 && rarely())
      return bj::object{{"$ref", pick(2) == 0 ? "#/$defs/x" : "#/$defs/y"}};
    if (depth > 0 && rarely()) {
      constexpr const char* names[] = {"anyOf", "oneOf", "allOf"};
      bj::array list;
      for (std::size_t i = 0, n = 1 + pick(3); i < n; ++i)
        list.push_back(schema(depth - 1));
      out[names[pick(3)]] = list;
    }
    if (depth > 0 && rarely())
      out["not"] = schema(depth - 1);
    if (depth > 0 && rarely()) {
      out["if"] = schema(depth - 1);
      out["then"] = schema(depth - 1);
      if (often())
        out["else"] = schema(depth - 1);
    }
    if (rarely()) {
      bj::array list;
      for (std::size_t i = 0, n = 1 + pick(4); i < n; ++i)
        list.push_back(scalar());
      out["enum"] = list;
      return out;
    }
    if (rarely()) {
      out["const"] = document(bj::value(true), 1);
      return out;
    }
    switch (depth > 0 ? pick(7) : pick(5)) {
    case 0:
      out["type"] = "string";
      if (often())
        out["minLength"] = pick(3);
      if (often())
        out["maxLength"] = 1 + pick(4);
      if (rarely())
        out["pattern"] = pick(2) == 0 ? "^a*$" : "b";
      break;
    case 1:
      out["type"] = "integer";
      if (often())
        out["minimum"] = pick(3);
      if (often())
        out["exclusiveMaximum"] = 2 + pick(4);
      break;
    case 2:
      out["type"] = "number";
      if (rarely())
        out["multipleOf"] = 0.5;
      if (often())
        out["maximum"] = 3;
      break;
    case 3:
      out["type"] = bj::array{"boolean", "null", "string"};
      break;
    case 4:
      break; // anything
    case 5:
      out["type"] = "array";
      if (often())
        out["items"] = schema(depth - 1);
      if (rarely())
        out["minItems"] = pick(3);
      if (often())
        out["maxItems"] = 1 + pick(3);
      if (rarely())
        out["uniqueItems"] = true;
      break;
    default:
      out["type"] = "object";
      bj::object members;
      bj::array required;
      for (auto name : {"a", "b", "你"})
        if (often()) {
          members[name] = schema(depth - 1);
          if (pick(3) == 0)
            required.emplace_back(name);
        }
      out["properties"] = members;
      out["required"] = required;
      if (pick(3) == 0)
        out["additionalProperties"] = pick(2) == 0 ? bj::value(false) : schema(depth - 1);
      if (rarely())
        out["maxProperties"] = 1 + pick(3);
      if (rarely())
        out["minProperties"] = pick(3);
    }
    return out;
  }

  bj::value root_schema() {
    auto root = schema(3);
    if (!root.is_object())
      root = bj::object{};
    root.get_object()["$defs"] = bj::object{
        {"x", schema(1)},
        {"y", bj::object{{"properties", bj::object{{"a", bj::object{{"$ref", "#/$defs/x"}}},
                                                   {"b", bj::object{{"$ref", "#/$defs/y"}}}}}}}};
    return root;
  }

  bj::value document(const bj::value& schema, int depth) {
    if (!schema.is_object() || rarely()) {
      if (depth <= 0 || pick(2) == 0)
        return scalar();
      if (pick(2) == 0)
        return bj::array(pick(4), document(true, depth - 1));
      bj::object out;
      for (auto name : {"a", "b", "c", "你"})
        if (pick(2) == 0)
          out[name] = document(true, depth - 1);
      return out;
    }
    auto& s = schema.get_object();
    for (auto name : {"anyOf", "oneOf", "allOf"})
      if (auto* list = s.if_contains(name); list && pick(2) == 0)
        return document(list->get_array()[pick(list->get_array().size())], depth);
    if (auto* values = s.if_contains("enum"))
      return values->get_array()[pick(values->get_array().size())];
    if (auto* value = s.if_contains("const"))
      return *value;
    auto* type = s.if_contains("type");
    if (!type || !type->is_string() || depth <= 0)
      return document(true, depth - 1);
    if (type->get_string() == "array") {
      bj::array out;
      auto* items = s.if_contains("items");
      for (std::size_t i = 0, n = pick(4); i < n; ++i)
        out.push_back(document(items ? *items : bj::value(true), depth - 1));
      return out;
    }
    if (type->get_string() == "object") {
      bj::object out;
      for (auto& m : s.at("properties").get_object())
        if (often())
          out[m.key()] = document(m.value(), depth - 1);
      if (rarely())
        out["more"] = document(true, depth - 1);
      return out;
    }
    if (type->get_string() == "string")
      return bj::string(std::string(pick(4), "ab"[pick(2)]));
    return static_cast<std::int64_t>(pick(5));
  }
};

} // namespace

TEST_CASE("a violation is told as early as it is certain") {
  struct row {
    std::string_view schema, text, then, says;
  };
  const row rows[] = {
      // where it is known that the document has begun
      {R"({"type":"object"})", "See [1]:\n[{\"a\":", "1}]",
       "the document must be an object, not an array"},
      {R"({"type":"array"})", "{\"a\":", "1}", "the document must be an array, not an object"},
      {R"({"properties":{"n":{"type":"integer"}}})", "{\"n\": \"x", "\"}",
       "/n must be an integer, not a string"},
      {R"({"properties":{"n":{"type":"string"}}})", "{\"n\": 1", "2}",
       "/n must be a string, not a number"},
      {R"({"properties":{"n":{"type":"integer"}}})", "{\"n\": 1.5,", "",
       "/n must be an integer, not a number with a fraction"},
      {R"({"properties":{"n":{"maximum":5}}})", "{\"n\": 12\n", "}",
       "/n must be at most 5, not 12"},
      {R"({"properties":{"n":{"enum":["high","low"]}}})", "{\"n\":\"hu", "ge\"}",
       R"(/n must be one of "high", "low", not "hu")"},
      {R"({"properties":{"n":{"enum":["high","low"]}}})", "{\"n\":\"hi\"", "}",
       R"(/n must be one of "high", "low", not "hi")"},
      {R"({"properties":{"n":{"maxLength":2}}})", "{\"n\":\"你好啊", "\"}",
       "/n must have at most 2 characters"},
      {R"({"properties":{"n":{"pattern":"^a$"}}})", "{\"n\":\"ab\"", "}",
       "/n must match the pattern ^a$"},
      {R"({"properties":{"n":{"maxItems":1}}})", "{\"n\":[1,[", "]]}",
       "/n must have at most 1 item"},
      {R"({"properties":{"n":{"minItems":1}}})", "{\"n\":[]", "}", "/n must have at least 1 item"},
      {R"({"additionalProperties":false,"properties":{"n":true}})", "{\"n\":1,\"m\"", ":1}",
       "/m is not allowed there"},
      {R"({"properties":{"n":{"required":["m"]}}})", "{\"n\":{}", "}", "/n/m is missing"},
      {R"({"properties":{"n":false}})", "{\"n\":\"x", "\"}", "/n is not allowed"},
      {R"({"maxProperties":1})", "{\"n\":1,\"m\"", ":1}", "the document must have at most 1 entry"},
      {R"({"items":{"anyOf":[{"type":"null"},{"required":["kind"],"properties":{"kind":{"const":"a"}}}]}})",
       "[null,{\"kind\":\"b", "\"}]", R"(/1/kind must be "a", not "b")"},
      {R"({"$ref":"#/$defs/a","$defs":{"a":{"properties":{"a":{"$ref":"#/$defs/a"},"b":{"type":"null"}}}}})",
       "{\"a\":{\"a\":{\"b\":0", "}}}", "/a/a/b must be null, not a number"},
      {"{}", "{\"a\":1,\"a\"", ":2}", "/a is there twice"},
      {"{}", "{\"a\":tru ", "}", "the document is not valid JSON"},
      {"{}", "{\"a\":1]", "", "the document is not valid JSON"},
  };
  for (auto& [schema, text, then, says] : rows) {
    INFO(schema);
    CHECK(objection(schema, std::string{text} + std::string{then}) ==
          std::string{text} + " | " + std::string{says});
  }
}

TEST_CASE("nothing is told that is not certain") {
  for (auto [schema, text] : std::initializer_list<std::pair<std::string_view, std::string_view>>{
           {R"({"type":"object"})", "[the plan] {\"a\": 1}"},
           {R"({"type":"object"})", "[1"},
           {R"({"properties":{"n":{"enum":[10,20]}}})", "{\"n\": 1"},     // may become 10
           {R"({"properties":{"n":{"maximum":5}}})", "{\"n\": 12"},       // or 12e-9
           {R"({"properties":{"n":{"type":"integer"}}})", "{\"n\": 1.5"}, // or 1.5e3
           {R"({"properties":{"n":{"enum":["a\\b"]}}})", "{\"n\": \"a\\"},
           {R"({"required":["a"]})", "{\"b\":1"},
           {R"({"oneOf":[{"type":"object"},{"type":"object"}]})", "{\"b\":1}"}}) { // the judge's
    INFO(schema);
    CHECK(objection(schema, text) == text);
  }
}

TEST_CASE("a document that is whole is read no further, and one objection is enough") {
  auto s = compiled(R"({"properties":{"a":{"type":"null"}}})");
  watcher good{s};
  CHECK_FALSE(good.feed("Here: {\"a\": null} or {\"a\": 1}"));
  CHECK(good.whole());
  CHECK_FALSE(good.feed("{\"a\": 1} ]]]"));
  watcher bad{s};
  CHECK(bad.feed("{\"a\": 1}"));
  CHECK_FALSE(bad.whole());
  CHECK_FALSE(bad.feed("{\"a\": 1}"));
  watcher endless{s};
  CHECK_FALSE(endless.feed("{\"b\": \""));
  std::optional<violation> too_large;
  for (int i = 0; i < 100 && !too_large; ++i)
    too_large = endless.feed(std::string(100'000, 'x'));
  REQUIRE(too_large);
  CHECK(too_large->text == "is too large to be checked");
}

TEST_CASE("too many open alternatives are left undecided") {
  // Every level multiplies the alternatives by ten.
  std::string schema = R"({"items":{"$ref":"#"},"type":"array"})", text = "";
  schema = R"({"anyOf":[)";
  for (int i = 0; i < 10; ++i)
    schema += std::string{i ? "," : ""} + R"({"type":"array","items":{"$ref":"#"}})";
  schema += "]}";
  CHECK(objection(schema, "[[[[[[[[1") == "[[[[[[[[1");
}

TEST_CASE("random documents: what is valid is never objected to, whatever the pieces") {
  maker m{std::mt19937{20251003}};
  std::map<std::string, int> sometimes;
  for (int round = 0; round < 1500; ++round) {
    auto schema_text = bj::serialize(m.root_schema());
    schema_fault why;
    auto schema = compile_schema(schema_text, why);
    if (!schema) { // only a circle can be refused here
      INFO(schema_text << " " << why.pointer << " " << why.text);
      REQUIRE(why.text.find("refers to itself") != std::string::npos);
      continue;
    }
    auto source = bj::parse(schema_text);
    for (int i = 0; i < 8; ++i) {
      auto document = m.document(source, 4);
      auto text = bj::serialize(document);
      INFO(schema_text << "\n" << text);
      auto normal = document;
      make_normal(normal);
      auto judged = schema->judged_valid(normal);
      auto violations = schema->check_text(text);
      INFO(to_string(violations));
      REQUIRE(judged == violations.empty());
      REQUIRE(judged == schema->check(document).empty());
      ++sometimes[judged ? "valid" : "invalid"];
      // Objects and arrays are what a model is asked for.
      if (!document.is_object() && !document.is_array())
        continue;
      std::string whole =
          (i % 3 == 0 ? "Here:\n```json\n" : "") + text + (i % 2 == 0 ? "\n```\nBye" : "");
      watcher w{schema};
      bool objected = false;
      for (std::size_t at = 0; at < whole.size();) {
        auto n = 1 + m.pick(i % 2 == 0 ? 1 : 9);
        if (auto v = w.feed(std::string_view{whole}.substr(at, n))) {
          INFO(std::string_view{whole}.substr(0, at + n) << " | " << to_string(*v));
          REQUIRE_FALSE(judged);
          objected = true;
          ++sometimes[at + n < whole.size() / 2 ? "early" : "late"];
          break;
        }
        at += n;
      }
      if (!objected) {
        REQUIRE(w.whole());
        ++sometimes[judged ? "clean" : "left to the judge"];
      }
    }
  }
  // Else the run has proved nothing.
  for (auto kind : {"valid", "invalid", "early", "late", "clean", "left to the judge"}) {
    INFO(kind);
    CHECK(sometimes[kind] > 100);
  }
}
