#include "pipeline_house.hpp"

#include "protocol/dialects/pipeline_stream.hpp"

namespace parlor::test {

pipeline_house::pipeline_house(std::function<void(pipeline&)> change) {
  plans->name = "plans";
  plans->request = schema(R"({"type":"object"})");
  pipeline_agent first{"first", "", std::nullopt, prompt("Goal: {{request.goal}}"),
                       schema(R"({"type":"object","required":["n"],"additionalProperties":false,
                                  "properties":{"n":{"type":"integer"}}})")};
  first.temperature = "0.2";
  first.max_tokens = 100;
  first.response_format = R"({"type":"json_object"})";
  first.expected_tokens = 100;
  auto second = first;
  second.name = "second";
  second.prompt = prompt("Plan {{first.n}} for {{request.goal}}: {{first}}");
  second.expected_tokens = 300;
  plans->agents = {first, second};
  if (change)
    change(*plans);
  world->find_pipeline = [this](const std::string& name) -> pipeline_ptr {
    return name == plans->name ? plans : nullptr;
  };
  open();
  e = &new_ear();
}

prompt_template pipeline_house::prompt(std::string_view text) {
  template_fault why;
  return *prompt_template::parse(text, why);
}

json::schema_ptr pipeline_house::schema(std::string_view text) {
  json::schema_fault why;
  return json::compile_schema(text, why);
}

session_ask pipeline_house::running(const std::string& task) const {
  auto a = turn(task, e);
  a.turn.kind = task_kind::pipeline;
  a.turn.ref = "plans";
  a.turn.settings = {};
  a.turn.said.content = R"({"goal":"bread"})";
  return a;
}

puppet::talk_of& pipeline_house::last() {
  REQUIRE_FALSE(model->calls.empty());
  return *model->calls.back();
}

std::string pipeline_house::prompt_of(std::size_t call) const {
  std::string all;
  for (auto& m : model->calls.at(call)->request.messages)
    all += std::string{to_string(m.who)} + ": " + m.content + "\n";
  return all;
}

void pipeline_house::piece(std::string text) {
  last().sink(llm::call_delta{std::move(text)});
  time.settle();
}

void pipeline_house::done(std::int64_t prompt_tokens, std::int64_t completion_tokens) {
  last().over = true;
  llm::call_finished f;
  f.finish_reason = "stop";
  f.used = usage{prompt_tokens, completion_tokens, true};
  last().sink(f);
  time.settle();
}

void pipeline_house::answer(std::string text) {
  piece(std::move(text));
  done();
}

void pipeline_house::fail(errc code, bool can_pass) {
  last().over = true;
  llm::call_failed f;
  f.code = code;
  f.can_pass = can_pass;
  last().sink(f);
  time.settle();
}

std::vector<std::string> pipeline_house::told(const ear& of) const {
  std::vector<std::string> out;
  for (auto& h : of.log) {
    auto block = pipeline_stream::encode("epoch", language::en, *h.what);
    if (auto data = block.find("data: "); data != block.npos)
      out.push_back(block.substr(data + 6, block.size() - data - 8));
  }
  return out;
}

const event* pipeline_house::find(const std::string& what) const {
  auto* h = e->find(what);
  return h == nullptr ? nullptr : h->what.get();
}

std::vector<std::string> pipeline_house::usages() const {
  std::vector<std::string> out;
  for (auto& u : disk.data.usages)
    out.push_back(std::to_string(u.attempt) + " " + u.model + " " + std::to_string(u.used.total()) +
                  " " + std::string{to_string(u.error)});
  return out;
}

} // namespace parlor::test
