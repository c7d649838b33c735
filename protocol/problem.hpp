#pragma once
// RFC 9457 problem documents. Pure; any thread.

#include "protocol/command.hpp"

#include <string>
#include <vector>

namespace parlor {

/// `{"type":"/problems/<code>","title":…,"status":…,"detail":…,"code":…}`, with
/// `errors:[{"field","detail"}]` where there is an offending field, and `request_id`. `title` and
/// default `detail` follow the language.
std::string problem_json(const refusal& why, language lang, std::string_view request_id);
/// The same for a request with several fields that are missing or wrong: `errors` names each.
struct field_fault {
  std::string field;
  std::string detail; // for people, in their language
};
std::string problem_json(errc code, const std::vector<field_fault>& wrong, language lang,
                         std::string_view request_id);
/// What the refusal says to people: its detail where there is one, else the text of its code.
std::string detail_text(const refusal& why, language lang);
inline constexpr std::string_view problem_content_type = "application/problem+json; charset=utf-8";

} // namespace parlor
