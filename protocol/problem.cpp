#include "protocol/problem.hpp"

#include "protocol/ids.hpp"
#include "protocol/json.hpp"

namespace parlor {

namespace {

// What the readers of requests say, for people who read Chinese.
constexpr std::pair<std::string_view, std::string_view> details[] = {
    {"is required", "为必填项"},
    {"must be a string", "必须是字符串"},
    {"must be an object", "必须是对象"},
    {"must be true or false", "必须是 true 或 false"},
    {"must not be blank", "不能为空"},
    {session_id_rule, "必须是 1 到 128 个字符，可用 A-Z a-z 0-9 _ - . : @"},
    {"must be at most 128 bytes", "最多 128 字节"},
    {"must be at most 255 bytes", "最多 255 字节"},
    {"must be a number from 0 to 2", "必须是 0 到 2 之间的数"},
    {"must be a number from 0 to 100", "必须是 0 到 100 之间的数"},
    {"must be a whole number from 1 to 10000000", "必须是 1 到 10000000 之间的整数"},
    {"must be a whole number from 1 to 1000", "必须是 1 到 1000 之间的整数"},
    {"must be queue, reject or interrupt", "必须是 queue、reject 或 interrupt"},
    {"must be question, cancel or resume", "必须是 question、cancel 或 resume"},
    {"must be a whole number, not below 0", "必须是不小于 0 的整数"},
    {"must be a list", "必须是数组"},
    {"has too many images", "图片数量过多"},
    {"has more bytes than are allowed", "图片总大小超过限制"},
    {"must be a data URL of a PNG, JPEG, WebP or GIF in base64, or an https URL",
     "必须是 PNG、JPEG、WebP 或 GIF 的 base64 data URL，或 https 地址"},
    {"is not valid base64", "不是有效的 base64"},
    {"is not the kind of image that it says it is", "图片内容与声明的类型不符"},
    {"is too long", "过长"},
    {"must be what the page before said", "必须是上一页给出的值"},
    {"the body must be a JSON object", "请求正文必须是 JSON 对象"},
    {"the body is not valid JSON", "请求正文不是有效的 JSON"},
    {"the document is nested too deeply", "JSON 嵌套过深"},
    {"the document has too many values", "JSON 中的值过多"},
    {"a key occurs twice", "JSON 中有重复的键"},
};

} // namespace

std::string detail_text(const refusal& why, language lang) {
  if (why.detail.empty())
    return std::string{text(why.code, lang)};
  if (lang == language::zh)
    for (auto& [en, zh] : details)
      if (why.detail == en)
        return std::string{zh};
  return why.detail;
}

namespace {

std::string problem(errc code, std::string_view detail, const std::vector<field_fault>& wrong,
                    language lang, std::string_view request_id) {
  auto& info = describe(code);
  std::string out;
  out.reserve(320); // most fit
  out = R"({"type":"/problems/)";
  out.append(info.name).append(R"(","title":)");
  json::append_quoted(out, text(code, lang));
  out.append(R"(,"status":)").append(std::to_string(info.http_status)).append(R"(,"detail":)");
  json::append_quoted(out, detail);
  out.append(R"(,"code":)");
  json::append_quoted(out, info.name);
  for (auto& w : wrong) {
    out += &w == wrong.data() ? R"(,"errors":[{"field":)" : R"(,{"field":)";
    json::append_quoted(out, w.field);
    out += R"(,"detail":)";
    json::append_quoted(out, w.detail);
    out += '}';
  }
  if (!wrong.empty())
    out += ']';
  if (!request_id.empty()) {
    out += R"(,"request_id":)";
    json::append_quoted(out, request_id);
  }
  return out + "}";
}

} // namespace

std::string problem_json(const refusal& why, language lang, std::string_view request_id) {
  auto detail = detail_text(why, lang);
  std::vector<field_fault> wrong;
  if (!why.field.empty())
    wrong.push_back({why.field, detail});
  return problem(why.code, detail, wrong, lang, request_id);
}

std::string problem_json(errc code, const std::vector<field_fault>& wrong, language lang,
                         std::string_view request_id) {
  return problem(code, text(code, lang), wrong, lang, request_id);
}

} // namespace parlor
