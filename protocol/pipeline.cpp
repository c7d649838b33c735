#include "protocol/pipeline.hpp"

#include "protocol/json_find.hpp"

namespace parlor {

namespace {

// An answer that is repeated to the model is cut here: it only has to recognise it.
constexpr std::size_t max_repeated = 32 * 1024;

std::string cut(std::string_view text) {
  if (text.size() <= max_repeated)
    return std::string{text};
  auto size = max_repeated;
  while (size > 0 && (text[size] & 0xc0) == 0x80)
    --size;
  return std::string{text.substr(0, size)} + "…";
}

} // namespace

std::vector<message> agent_messages(const pipeline& p, std::size_t index, std::string_view request,
                                    const std::vector<std::string>& data) {
  prompt_template::values values{{"request", request}};
  for (std::size_t i = 0; i < index && i < data.size(); ++i)
    values[p.agents[i].name] = data[i];
  auto& agent = p.agents[index];
  std::vector<message> out;
  if (agent.system)
    out.push_back({role::system, agent.system->render(values), {}});
  out.push_back({role::user, agent.prompt.render(values), {}});
  return out;
}

void ask_again(std::vector<message>& messages, std::string_view answer,
               const std::vector<json::violation>& wrong) {
  if (!answer.empty())
    messages.push_back({role::assistant, cut(answer), {}});
  messages.push_back({role::user,
                      "That answer cannot be used:\n" + json::to_string(wrong) +
                          "\n\nAnswer again with the whole JSON document, corrected, and with "
                          "nothing else.",
                      {}});
}

checked_answer check_answer(const pipeline_agent& agent, std::string_view answer) {
  auto found = json::find_document(answer);
  if (found.text.empty())
    return {{}, {{"", "is missing: the answer holds no JSON"}}};
  if (!found.whole)
    return {found.text, {{"", "is not whole: the answer ends within it"}}};
  return {found.text, agent.output->check_text(found.text)};
}

} // namespace parlor
