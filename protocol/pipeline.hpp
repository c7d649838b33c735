#pragma once
// A pipeline: agents that are asked one after the other, each for a JSON document that the later
// ones build upon. Values, made from files by app/pipeline_file; immutable once made; any thread.

#include "protocol/chat.hpp"
#include "protocol/json_schema.hpp"
#include "protocol/prompt_template.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace parlor {

struct pipeline_agent {
  std::string name;  // [a-z][a-z0-9_]*: in events, and in the prompts of later agents
  std::string model; // as clients would name it; empty is the default
  std::optional<prompt_template> system;
  prompt_template prompt;
  json::schema_ptr output;     // its root is an object or an array
  std::string response_format; // JSON object text for model_settings, or empty
  std::string temperature;     // JSON number text, or empty
  std::optional<std::int64_t> max_tokens;
  std::uint32_t attempts = 3; // answers asked for in all, those that violate the schema included
  std::int64_t expected_tokens = 800; // of an answer: only for the progress that is shown
  // Where they are set they win over those of the model.
  std::optional<std::chrono::milliseconds> first_token_timeout, token_timeout, total_timeout;
};

struct pipeline {
  std::string name; // [a-z][a-z0-9-]*: part of the URL
  json::schema_ptr request;
  std::vector<pipeline_agent> agents; // at least one
};
using pipeline_ptr = std::shared_ptr<const pipeline>;

/// What agent `index` is told first. `data` holds the valid documents of the agents before it, as
/// JSON text, in their order.
std::vector<message> agent_messages(const pipeline& p, std::size_t index, std::string_view request,
                                    const std::vector<std::string>& data);

/// What makes it answer again: its answer so far, and what is wrong with it.
void ask_again(std::vector<message>& messages, std::string_view answer,
               const std::vector<json::violation>& wrong);

/// The document in an answer, as the model wrote it, and what is wrong with it: nothing when it is
/// valid.
struct checked_answer {
  std::string_view document; // empty if there is none
  std::vector<json::violation> wrong;
};
checked_answer check_answer(const pipeline_agent& agent, std::string_view answer);

// -- what is kept of it

/// What an agent has come to. As text it is the result of a stage (event_kind::stage_done), and so
/// survives a restart.
struct stage_result {
  std::string agent;
  std::string data;             // the document, valid, on one line
  std::uint32_t attempts = 1;   // calls made by the task so far
  std::int64_t duration_ms = 0; // until it was valid
  usage used;                   // of all its answers
};
std::string to_json(const stage_result& r);
/// Nothing if the text is not such a result.
std::optional<stage_result> read_stage_result(std::string agent, std::string_view text);
/// The document in such a result; empty if it is none.
std::string_view stage_data(std::string_view text);

/// The content of a pipeline's outcome: the agents' documents, and what is told at the end. `at` is
/// the agent that it ended with, or empty when all have come to something.
std::string pipeline_result(const std::vector<stage_result>& done, std::string_view at);
/// Its parts, as JSON texts; all empty if the text is not such a content.
struct result_parts {
  std::string_view data; // {"<agent>":…,…}
  std::string_view
      summary;         // {"agents":[{"agent","duration_ms","usage"}],"total_tokens","duration_ms"}
  std::string_view at; // the name of the agent, or empty
};
result_parts parts_of(std::string_view content);

} // namespace parlor
