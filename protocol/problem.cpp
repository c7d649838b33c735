#include "protocol/problem.hpp"

#include "protocol/json.hpp"

namespace parlor {

std::string problem_json(const refusal& why, language lang, std::string_view request_id) {
  auto& info = describe(why.code);
  auto title = lang == language::zh ? info.zh : info.en;
  std::string out = R"({"type":"/problems/)";
  out.append(info.name).append(R"(","title":)");
  json::append_quoted(out, title);
  out.append(R"(,"status":)").append(std::to_string(info.http_status)).append(R"(,"detail":)");
  json::append_quoted(out, why.detail.empty() ? title : std::string_view{why.detail});
  out.append(R"(,"code":)");
  json::append_quoted(out, info.name);
  if (!why.field.empty()) {
    out += R"(,"errors":[{"field":)";
    json::append_quoted(out, why.field);
    out += R"(,"detail":)";
    json::append_quoted(out, why.detail.empty() ? title : std::string_view{why.detail});
    out += "}]";
  }
  if (!request_id.empty()) {
    out += R"(,"request_id":)";
    json::append_quoted(out, request_id);
  }
  return out + "}";
}

} // namespace parlor
