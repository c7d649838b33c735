#include "protocol/violation_text.hpp"

#include "protocol/problem.hpp"

#include <optional>
#include <utility>

namespace parlor {

namespace {

using words = std::pair<std::string_view, std::string_view>;

constexpr words whole[] = {
    {"is missing", "为必填项"},
    {"is there twice", "出现了两次"},
    {"is not allowed", "不允许出现"},
    {"is not allowed there", "不允许出现在此处"},
    {"is too large a number", "数值过大"},
    {"is too large to be checked", "过大，无法检查"},
    {"is nested too deeply", "嵌套过深"},
    {"must not have equal items", "不能有相同的项"},
    {"has a form that is not allowed", "格式不被允许"},
    {"fits more than one of the forms of which exactly one is allowed",
     "同时符合多种格式，只允许符合其中一种"},
    {"does not fit what its other values ask for", "与其他字段的取值不符"},
    {"must be a date and time like 2025-10-03T10:00:00Z",
     "必须是如 2025-10-03T10:00:00Z 的日期时间"},
    {"must be a date like 2025-10-03", "必须是如 2025-10-03 的日期"},
    {"must be a time like 10:00:00Z", "必须是如 10:00:00Z 的时间"},
    {"must be an e-mail address", "必须是电子邮件地址"},
    {"must be a URI", "必须是 URI"},
    {"must be a UUID", "必须是 UUID"},
};
constexpr words types[] = {
    {"an object", "对象"},
    {"an array", "数组"},
    {"a string", "字符串"},
    {"a number with a fraction", "小数"},
    {"a number", "数"},
    {"an integer", "整数"},
    {"true or false", "true 或 false"},
    {"null", "null"},
};
constexpr words bounds[] = {
    {"must be at least ", "必须不小于 "},       {"must be at most ", "必须不大于 "},
    {"must be greater than ", "必须大于 "},     {"must be less than ", "必须小于 "},
    {"must be a multiple of ", "必须是倍数："},
};
constexpr words counts[] = {{"must have at least ", "至少 "}, {"must have at most ", "最多 "}};
constexpr words units[] = {{"item", "项"}, {"character", "个字符"}, {"entr", "个成员"}};

/// "an object, a string or null" and the like.
std::optional<std::string> type_names(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const words* found = nullptr;
    for (auto& t : types)
      if (text.starts_with(t.first)) {
        found = &t;
        break; // the longer of two stands first
      }
    if (found == nullptr)
      return std::nullopt;
    text.remove_prefix(found->first.size());
    out += out.empty() ? "" : text.empty() ? "或" : "、";
    out += found->second;
    for (std::string_view joint : {", ", " or "})
      if (text.starts_with(joint)) {
        text.remove_prefix(joint.size());
        break;
      }
  }
  return out;
}

std::optional<std::string> in_chinese(std::string_view text) {
  // What readers of requests say, too.
  if (auto said = detail_text({errc::invalid_field, {}, std::string{text}}, language::zh);
      said != text)
    return said;
  for (auto& [en, zh] : whole)
    if (text == en)
      return std::string{zh};
  for (auto& [en, zh] : counts)
    if (text.starts_with(en)) {
      auto rest = text.substr(en.size());
      auto number = rest.substr(0, rest.find(' '));
      for (auto& [unit, name] : units)
        if (rest.substr(number.size() + 1).starts_with(unit))
          return std::string{zh}.append(number).append(" ").append(name);
    }
  std::string_view pattern = "must match the pattern ", one_of = "must be one of ",
                   must = "must be ";
  if (text.starts_with(pattern))
    return "必须匹配正则表达式 " + std::string{text.substr(pattern.size())};
  if (text.starts_with(one_of))
    return "必须是下列之一：" + std::string{text.substr(one_of.size())};
  auto tail = text.rfind(", not ");
  if (tail != text.npos)
    for (auto& [en, zh] : bounds)
      if (text.starts_with(en))
        return std::string{zh} + std::string{text.substr(en.size(), tail - en.size())} +
               "，不能是 " + std::string{text.substr(tail + 6)};
  if (!text.starts_with(must))
    return std::nullopt;
  if (tail != text.npos) {
    auto wanted = type_names(text.substr(must.size(), tail - must.size()));
    auto given = type_names(text.substr(tail + 6));
    if (wanted && given)
      return "必须是" + *wanted + "，不能是" + *given;
  }
  return "必须是 " + std::string{text.substr(must.size())};
}

} // namespace

std::string violation_text(std::string_view text, language lang) {
  return lang == language::zh ? in_chinese(text).value_or(std::string{text}) : std::string{text};
}

} // namespace parlor
