#include "protocol/pipeline.hpp"

#include "protocol/dialects/request.hpp"
#include "protocol/json.hpp"
#include "protocol/json_find.hpp"

#include <boost/json.hpp>

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

// Both forms have what is of any depth at their end, behind a mark that what stands before cannot
// hold: they are taken apart without being parsed.

namespace {
constexpr std::string_view data_mark = R"(,"data":)";
constexpr std::string_view summary_mark = R"({"summary":{"agents":[)";
constexpr std::string_view at_mark = R"(,"agent":")";
} // namespace

std::string to_json(const stage_result& r) {
  return R"({"attempts":)" + std::to_string(r.attempts) + R"(,"duration_ms":)" +
         std::to_string(r.duration_ms) + R"(,"usage":)" + usage_json(r.used) +
         std::string{data_mark} + r.data + "}";
}

std::string_view stage_data(std::string_view text) {
  auto mark = text.find(data_mark);
  if (!text.starts_with(R"({"attempts":)") || !text.ends_with('}') || mark == text.npos)
    return {};
  auto from = mark + data_mark.size();
  return text.substr(from, text.size() - 1 - from);
}

std::optional<stage_result> read_stage_result(std::string agent, std::string_view text) {
  stage_result r;
  r.agent = std::move(agent);
  r.data = stage_data(text);
  if (r.data.empty())
    return std::nullopt;
  json::fault why{};
  auto head = json::parse(std::string{text.substr(0, text.find(data_mark))} + "}", why);
  if (why != json::fault::none)
    return std::nullopt;
  auto& o = head.get_object();
  auto* used = o.if_contains("usage");
  auto number = [](const boost::json::object& from, const char* name) {
    auto* v = from.if_contains(name);
    return v != nullptr && v->is_int64() ? v->get_int64() : 0;
  };
  r.attempts = static_cast<std::uint32_t>(number(o, "attempts"));
  r.duration_ms = number(o, "duration_ms");
  if (used != nullptr && used->is_object())
    r.used = {number(used->get_object(), "prompt_tokens"),
              number(used->get_object(), "completion_tokens"),
              !used->get_object().contains("estimated")};
  return r;
}

std::string pipeline_result(const std::vector<stage_result>& done, std::string_view at) {
  std::string agents, data;
  std::int64_t tokens = 0, duration = 0;
  for (auto& r : done) {
    auto comma = agents.empty() ? "" : ",";
    agents += comma + (R"({"agent":")" + r.agent) + R"(","duration_ms":)" +
              std::to_string(r.duration_ms) + R"(,"usage":)" + usage_json(r.used) + "}";
    data += comma + ("\"" + r.agent) + "\":" + r.data;
    tokens += r.used.total();
    duration += r.duration_ms;
  }
  auto out = std::string{summary_mark} + agents + R"(],"total_tokens":)" + std::to_string(tokens) +
             R"(,"duration_ms":)" + std::to_string(duration) + "}";
  if (!at.empty())
    out.append(at_mark).append(at) += '"';
  return out.append(data_mark).append("{").append(data) + "}}";
}

result_parts parts_of(std::string_view content) {
  auto mark = content.find(data_mark);
  if (!content.starts_with(summary_mark) || !content.ends_with("}}") || mark == content.npos)
    return {};
  result_parts p;
  auto head = content.substr(0, mark);
  p.data = content.substr(mark + data_mark.size());
  p.data.remove_suffix(1);
  auto list = head.find(']'); // the names before it are of letters
  if (auto at = head.find(at_mark, list); at != head.npos && head.ends_with('"')) {
    p.at = head.substr(at + at_mark.size());
    p.at.remove_suffix(1);
    head = head.substr(0, at);
  }
  p.summary = head.substr(std::string_view{R"({"summary":)"}.size());
  return p;
}

} // namespace parlor
