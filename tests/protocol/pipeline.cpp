#include "protocol/pipeline.hpp"

#include "support/catch.hpp"

using namespace parlor;

namespace {

pipeline two_agents() {
  template_fault template_why;
  json::schema_fault why;
  auto prompt = [&](std::string_view text) { return *prompt_template::parse(text, template_why); };
  auto schema = [&](std::string_view text) { return json::compile_schema(text, why); };
  pipeline p;
  p.name = "plans";
  p.request = schema(R"({"properties":{"goal":{"type":"string"}}})");
  pipeline_agent first{"intent", "", std::nullopt, prompt("Goal: {{request.goal}}"),
                       schema(R"({"type":"object","required":["topic"]})")};
  auto second = first;
  second.name = "plan";
  second.system = prompt("Be kind.");
  second.prompt = prompt("Plan {{intent.topic}} for {{request.goal}}: {{intent}}");
  p.agents = {first, second};
  return p;
}

} // namespace

TEST_CASE("an agent is told the request and the data of those before it") {
  auto p = two_agents();
  auto first = agent_messages(p, 0, R"({"goal":"learn {{intent}}"})", {});
  REQUIRE(first.size() == 1);
  CHECK(first[0].who == role::user);
  CHECK(first[0].content == "Goal: learn {{intent}}");
  auto second = agent_messages(p, 1, R"({"goal":"x"})", {R"({"topic": "Python"})", "{}"});
  REQUIRE(second.size() == 2);
  CHECK(second[0].who == role::system);
  CHECK(second[0].content == "Be kind.");
  CHECK(second[1].content == R"(Plan Python for x: {"topic": "Python"})");
}

TEST_CASE("an answer is checked, and asked for again with what is wrong") {
  auto p = two_agents();
  auto good = check_answer(p.agents[0], "Sure:\n```json\n{\"topic\": 1.50}\n```");
  CHECK(good.wrong.empty());
  CHECK(good.document == "{\"topic\": 1.50}");
  auto bad = check_answer(p.agents[0], "{\"topics\": 1}");
  REQUIRE(bad.wrong.size() == 1);
  auto messages = agent_messages(p, 0, "{}", {});
  ask_again(messages, "{\"topics\": 1}", bad.wrong);
  REQUIRE(messages.size() == 3);
  CHECK(messages[1].who == role::assistant);
  CHECK(messages[1].content == "{\"topics\": 1}");
  CHECK(messages[2].who == role::user);
  CHECK(messages[2].content.find("\n- /topic is missing\n") != std::string::npos);
  CHECK(to_string(check_answer(p.agents[0], "I cannot.").wrong) ==
        "- the document is missing: the answer holds no JSON");
  CHECK(to_string(check_answer(p.agents[0], "{\"topic\": \"").wrong) ==
        "- the document is not whole: the answer ends within it");
  ask_again(messages, std::string(32 * 1024 - 1, 'x') + "你" + std::string(1000, 'x'), bad.wrong);
  CHECK(messages[3].content == std::string(32 * 1024 - 1, 'x') + "…");
}
