#include "protocol/prompt_template.hpp"

#include "support/catch.hpp"

using namespace parlor;

namespace {

prompt_template made(std::string_view text) {
  template_fault why;
  auto t = prompt_template::parse(text, why);
  INFO(why.text);
  REQUIRE(t);
  return *t;
}

std::string refused(std::string_view text) {
  template_fault why;
  CHECK_FALSE(prompt_template::parse(text, why));
  return std::to_string(why.line) + ": " + why.text;
}

json::schema_ptr schema(std::string_view text) {
  json::schema_fault why;
  auto s = json::compile_schema(text, why);
  INFO(why.text);
  REQUIRE(s);
  return s;
}

} // namespace

TEST_CASE("fields are inserted: texts as they are, the rest as JSON") {
  constexpr auto request =
      R"({"goal":"say \"hi\"\n你好","hours":1.50,"none":null,"list":["a", 1],"deep":{"er":{"x":true}}})";
  auto text = made("{{request.goal}}|{{ request.hours }}|{{request.none}}|{{request.missing.too}}|"
                   "{{request.list}}|{{request.deep.er.x}}|{{request.deep}}")
                  .render({{"request", request}});
  CHECK(text == "say \"hi\"\n你好|1.50|||[\"a\", 1]|true|{\"er\":{\"x\":true}}");
  CHECK(made("a {{request.none | not said }} b {{request.goal.x|?}} {{nobody}}.")
            .render({{"request", request}}) == "a not said b ? .");
  CHECK(made("{{request}}").render({{"request", "3"}}) == "3");
  CHECK(made("no places, }} and \\{{x}}").render({}) == "no places, }} and {{x}}");
  CHECK(made("").render({}).empty());
}

TEST_CASE("what is inserted is never read again") {
  CHECK(made("{{request.a}} {{request.b}}")
            .render({{"request", R"({"a":"{{request.b}}","b":"{{request}} \\{{"})"},
                     {"intent", "\"secret\""}}) == "{{request.b}} {{request}} \\{{");
}

TEST_CASE("a template that cannot be meant is refused with its line") {
  CHECK(refused("a\nb {{request.x\n}}").starts_with("2: {{ is not closed"));
  CHECK(refused("{{").starts_with("1: {{ is not closed"));
  for (auto bad : {"{{}}", "{{ }}", "{{.a}}", "{{request.}}", "{{request..a}}", "{{request a}}",
                   "{{request[0]}}", "{{{request}}}", "{{#if request}}", "{{request | x}} {{你}}"})
    CHECK(refused(std::string{"\n\n"} + bad).starts_with("3: {{"));
}

TEST_CASE("a field that no schema declares is found before anyone is asked") {
  prompt_template::schemas sources{
      {"request", schema(R"({"type":"object","properties":{
          "user_id":{"type":"string"},
          "preferences":{"$ref":"#/$defs/p"},
          "either":{"anyOf":[{"type":"null"},{"properties":{"a":true}},{"properties":{"b":true}}]},
          "never":false,
          "map":{"additionalProperties":{"type":"object","properties":{"x":true}}}},
        "$defs":{"p":{"allOf":[{"properties":{"learning_goal":{"type":"string"}}}]}}})")},
      {"intent", schema(R"({"type":"object","properties":{"topics":{"type":"array"}}})")}};
  CHECK_FALSE(made("{{request}}{{intent.topics}}{{request.preferences.learning_goal}}"
                   "{{request.either.b}}{{request.map.anything.x}}")
                  .check(sources));
  auto wrong = [&](std::string_view text) {
    auto fault = made(text).check(sources);
    REQUIRE(fault);
    auto out = std::to_string(fault->line) + ": " + fault->text + " [" + fault->name + "]";
    for (auto& k : fault->known)
      out += " " + k;
    return out;
  };
  CHECK(wrong("{{request.preferences.learning_gaol}}") ==
        "1: the schema of request.preferences declares no learning_gaol [learning_gaol] "
        "learning_goal");
  CHECK(wrong("\n{{intnt.topics}}") == "2: there is no intnt here [intnt] intent request");
  CHECK(wrong("{{request.either.c}}").ends_with("[c] a b"));
  CHECK(wrong("{{request.user_id.x}}") == "1: the schema of request.user_id declares no x [x]");
  CHECK(wrong("{{request.never}}").find("declares no never") != std::string::npos);
  CHECK(wrong("{{request.map.anything.y}}").ends_with("[y] x"));
}
