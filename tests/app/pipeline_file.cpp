#include "app/pipeline_file.hpp"

#include "app/options.hpp"
#include "llm/schema_sample.hpp"
#include "protocol/json_watch.hpp"
#include "protocol/pipeline.hpp"

#include "support/catch.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <unistd.h>

using namespace parlor;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

settings with_models(std::vector<std::string> names) {
  settings s;
  for (auto& n : names) {
    s.models.emplace_back();
    s.models.back().name = n;
  }
  return s;
}

/// A directory with a pipeline that is right, to be made wrong.
struct directory {
  fs::path path;

  directory() {
    static int count = 0;
    path = fs::temp_directory_path() /
           ("parlor-pipelines-" + std::to_string(::getpid()) + "-" + std::to_string(++count));
    fs::create_directories(path);
    write("plans.toml", good);
    write("request.json", R"({"type":"object","properties":{"goal":{"type":"string"}}})");
    write("intent.json", "{\n  \"type\": \"object\",\n  \"properties\": {\"topic\": true}\n}\n");
    write("plan.md", "Plan\n{{intent.topic}}\n");
  }
  ~directory() { fs::remove_all(path); }

  void write(const std::string& name, std::string_view text) const {
    std::ofstream{path / name, std::ios::binary} << text;
  }

  std::vector<pipeline_ptr> load(settings s = with_models({""})) const {
    s.pipelines.path = path.string();
    return load_pipelines(s);
  }

  /// What is said when `from` in the pipeline's file is replaced; without the directory.
  std::string refused(std::string_view from, std::string_view to) const {
    std::string text{good};
    auto at = text.find(from);
    REQUIRE(at != text.npos);
    write("plans.toml", text.replace(at, from.size(), to));
    return complaint();
  }

  std::string complaint() const {
    try {
      load();
    } catch (const config_error& e) {
      std::string said = e.what();
      for (auto at = said.find(path.string()); at != said.npos; at = said.find(path.string()))
        said.erase(at, path.string().size() + 1);
      return said;
    }
    return "";
  }

  static constexpr std::string_view good = R"(name = "plans"
request = "request.json"

[[agent]]
name = "intent"
model = "small"
system = "Be brief."
prompt = """
What is meant by:
{{request.goal}}
"""
output = "intent.json"
temperature = 0.25
max_tokens = 500
attempts = 2
token_timeout = "5s"

[[agent]]
name = "plan"
prompt_file = "plan.md"
output = "intent.json"
response_format = "text"
)";
};

} // namespace

TEST_CASE("a pipeline is read from its files") {
  directory d;
  d.write("README.md", "not a pipeline");
  auto all = d.load(with_models({"small"}));
  REQUIRE(all.size() == 1);
  auto& p = *all[0];
  CHECK(p.name == "plans");
  CHECK(p.request->text() == R"({"type":"object","properties":{"goal":{"type":"string"}}})");
  REQUIRE(p.agents.size() == 2);
  auto& first = p.agents[0];
  CHECK(first.name == "intent");
  CHECK(first.model == "small");
  CHECK(first.temperature == "0.25");
  CHECK(first.max_tokens == 500);
  CHECK(first.attempts == 2);
  CHECK(first.token_timeout == std::optional<std::chrono::milliseconds>{5s});
  CHECK_FALSE(first.total_timeout);
  CHECK(
      first.response_format ==
      R"({"type":"json_schema","json_schema":{"name":"intent","schema":{"type":"object","properties":{"topic":true}}}})");
  CHECK(p.agents[1].response_format.empty());
  CHECK(p.agents[1].attempts == 3);
  auto said = agent_messages(p, 0, R"({"goal":"x"})", {});
  REQUIRE(said.size() == 2);
  CHECK(said[0].content == "Be brief.");
  CHECK(said[1].content == "What is meant by:\nx\n");
  CHECK(agent_messages(p, 1, "{}", {R"({"topic":"t"})"}).at(0).content == "Plan\nt\n");
}

TEST_CASE("no directory is no pipelines, unless it was asked for") {
  settings s;
  CHECK(load_pipelines(s).empty());
  s.pipelines.path = "/there/is/no/such/directory";
  CHECK_THROWS_AS(load_pipelines(s), config_error);
  environment env;
  auto merged = merge_settings({}, env, read_config("", "parlor.toml", env));
  CHECK(merged.pipelines.path == default_pipelines_path);
}

TEST_CASE("a mistake in a pipeline is told with file and line") {
  directory d;
  auto check = [&](std::string_view from, std::string_view to, const std::string& says) {
    auto said = d.refused(from, to);
    INFO(to);
    CHECK(said == says);
  };
  check("attempts = 2", "atempts = 2",
        "plans.toml:15: unknown key atempts; did you mean attempts?");
  check("request =", "requst =", "plans.toml:2: unknown key requst; did you mean request?");
  check("name = \"plans\"\n", "", "plans.toml: name is missing");
  check("\"plans\"", "\"Plans/1\"",
        "plans.toml:1: name must be of a-z, 0-9 and -, and begin with a letter");
  check("\"plans\"", "3", "plans.toml:1: name must be a text");
  CHECK(d.refused("= 2", "= = 2").starts_with("plans.toml:15: "));
  check("request.goal", "request.gaol",
        "plans.toml:10: the schema of request declares no gaol; did you mean goal?");
  check("\"Be brief.\"", "\"Be {{plan}}.\"", "plans.toml:7: there is no plan here");
  check("\"Be brief.\"", "'''\nBe\n{{request'''",
        "plans.toml:9: {{ is not closed in its line; write \\{{ for the characters themselves");
  check("prompt_file = \"plan.md\"", "prompt_file = \"plain.md\"",
        "plans.toml:20: cannot read plain.md");
  check("prompt_file = \"plan.md\"\n", "",
        "plans.toml:18: agent plan needs a prompt or a prompt_file");
  check("prompt_file", "prompt = \"x\"\nprompt_file", "plans.toml:21: there is already a prompt");
  check("\"plan\"\n", "\"intent\"\n", "plans.toml:19: there is already something named intent");
  check("\"plan\"\n", "\"request\"\n", "plans.toml:19: there is already something named request");
  check("temperature = 0.25", "temperature = 3",
        "plans.toml:13: temperature must be a number from 0 to 2");
  check("temperature = 0.25", "temperature = nan",
        "plans.toml:13: temperature must be a number from 0 to 2");
  check("max_tokens = 500", "max_tokens = 0",
        "plans.toml:14: max_tokens must be a whole number from 1 to 10000000");
  check("\"5s\"", "\"soon\"",
        "plans.toml:16: token_timeout must be a duration like 250ms, 10s, 5m or 24h");
  check("\"5s\"", "5", "plans.toml:16: token_timeout must be a text");
  check("\"5s\"", "\"0ms\"", "plans.toml:16: token_timeout must not be 0");
  check("\"text\"", "\"xml\"",
        "plans.toml:22: response_format must be one of json_schema, json_object, text");
  check("attempts = 2", "strict = 1", "plans.toml:15: strict must be true or false");
  d.write("plans.toml", "name = 'a'\nrequest = 'request.json'\n");
  CHECK(d.complaint() == "plans.toml: a pipeline needs at least one [[agent]]");
  d.write("plans.toml", "name = 'a'\nrequest = 'request.json'\nagent = 3\n");
  CHECK(d.complaint() == "plans.toml:3: a pipeline needs at least one [[agent]]");
  d.write("plans.toml", "name = '\xff'");
  CHECK(d.complaint() == "plans.toml: plans.toml is not UTF-8");
}

TEST_CASE("a mistake in a schema or a prompt file is told with its own line") {
  directory d;
  CHECK(d.complaint() == "");
  d.write("plan.md", "a\n\n {{intent.topics}}");
  CHECK(d.complaint() == "plan.md:3: the schema of intent declares no topics; did you mean topic?");
  d.write("plan.md", "a\n{{x y}}");
  CHECK(d.complaint() == "plan.md:2: {{x y}} must be like {{request.member}}");
  d.write("plan.md", "\xff");
  CHECK(d.complaint() == "plans.toml:20: plan.md is not UTF-8");
  d.write("plan.md", std::string(300'000, 'x'));
  CHECK(d.complaint() == "plans.toml:20: plan.md is too large: at most 256 KiB");
  d.write("plan.md", "");
  d.write("intent.json", "{\n  \"type\": \"object\",\n  \"properties\": {\n    \"a\": "
                         "{\"typ\": 1}\n  }\n}");
  CHECK(d.complaint() == "intent.json:4: /properties/a/typ the keyword typ is not supported");
  d.write("intent.json", "{\n  \"type\": \"object\",\n  \"properties\": {,}\n}");
  CHECK(d.complaint().starts_with("intent.json:3: the schema is not valid JSON: "));
  d.write("intent.json", R"({"type":["object","null"]})");
  CHECK(d.complaint() == "intent.json:1: must say \"type\": \"object\" or \"array\" for the whole "
                         "answer");
  d.write("request.json", "true");
  CHECK(d.complaint() == "request.json:1: must say \"type\": \"object\" for the whole request");
  fs::remove(d.path / "request.json");
  CHECK(d.complaint() == "plans.toml:2: cannot read request.json");
  directory two;
  two.write("again.toml", directory::good);
  CHECK(two.complaint() == "plans.toml: there is already a pipeline plans in again.toml");
}

TEST_CASE("an unknown model is told with the nearest one") {
  directory d;
  CHECK_NOTHROW(d.load(with_models({"large", ""}))); // the last takes every name
  try {
    d.load(with_models({"smal", "large"}));
    FAIL("must be refused");
  } catch (const config_error& e) {
    CHECK(std::string{e.what()}.ends_with(
        "plans.toml:6: there is no model small; did you mean smal?"));
  }
}

TEST_CASE("roadmaps is right, and can be played by the rehearsal model") {
  settings s = with_models({"rehearsal"});
  s.pipelines.path = PARLOR_PIPELINES;
  auto all = load_pipelines(s);
  auto found = std::find_if(all.begin(), all.end(), [](auto& p) { return p->name == "roadmaps"; });
  REQUIRE(found != all.end());
  auto& p = **found;
  REQUIRE(p.agents.size() == 2);
  CHECK(p.agents[0].name == "intent_analyzer");
  CHECK(p.agents[1].name == "curriculum_architect");
  // The request of the contract.
  constexpr auto request =
      R"({"user_id":"test-user","session_id":"test-session","preferences":{
          "learning_goal":"Learn Python web development","available_hours_per_week":10,
          "motivation":"career change","current_level":"beginner","career_background":"marketing",
          "content_preference":["text","interactive"]}})";
  CHECK(to_string(p.request->check_text(request)) == "");
  CHECK(to_string(p.request->check_text(R"({"user_id":1,"preferences":{"learning_goal":""}})")) ==
        "- /user_id must be a string, not a number\n"
        "- /preferences/learning_goal must have at least 1 character\n"
        "- /preferences/available_hours_per_week is missing\n"
        "- /session_id is missing");
  std::vector<std::string> data;
  for (std::size_t i = 0; i < p.agents.size(); ++i) {
    auto messages = agent_messages(p, i, request, data);
    REQUIRE(messages.size() == 2);
    CHECK(messages[1].content.find("Learn Python web development") != std::string::npos);
    CHECK(messages[1].content.find("{{") == std::string::npos);
    for (auto& earlier : data)
      CHECK(messages[1].content.find(earlier) != std::string::npos);
    auto answer = llm::sample_for_format(p.agents[i].response_format, "I am the rehearsal model.");
    INFO(answer);
    json::watcher watch{p.agents[i].output};
    for (char c : answer)
      CHECK_FALSE(watch.feed({&c, 1}));
    auto checked = check_answer(p.agents[i], answer);
    CHECK(to_string(checked.wrong) == "");
    data.emplace_back(checked.document);
  }
}
