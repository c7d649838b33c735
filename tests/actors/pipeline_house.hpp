#pragma once
// A house with a pipeline of two agents, `first` and `second`, and a model that says what the test
// says.

#include "house.hpp"
#include "protocol/json.hpp"

namespace parlor::test {

struct pipeline_house : house {
  std::shared_ptr<pipeline> plans = std::make_shared<pipeline>();
  ear* e = nullptr;

  explicit pipeline_house(std::function<void(pipeline&)> change = {});
  static prompt_template prompt(std::string_view text);
  static json::schema_ptr schema(std::string_view text);

  session_ask running(const std::string& task) const;
  reply_ptr begin(const std::string& task = "a") { return ask(running(task)); }
  void wake() { ask(asking(session_ask::kind::wake)); }

  // The latest call, whose test it is to answer.
  puppet::talk_of& last();
  std::string prompt_of(std::size_t call) const;
  void piece(std::string text);
  void done(std::int64_t prompt_tokens = 3, std::int64_t completion_tokens = 4);
  void answer(std::string text);
  void fail(errc code, bool can_pass);

  /// What a client of the stream would be told, without its texts for people.
  std::vector<std::string> told(const ear& of) const;
  std::vector<std::string> told() const { return told(*e); }
  const event* find(const std::string& what) const;
  /// Task, attempt, tokens and error of each record of usage.
  std::vector<std::string> usages() const;
};

} // namespace parlor::test
