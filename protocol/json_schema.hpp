#pragma once
// A JSON Schema (draft 7 as far as it is listed here, with $defs), compiled once.
//
// Supported: type, enum, const, minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf,
// minLength, maxLength, pattern (RE2's, searched for), format (date-time, date, time, email, uri,
// uuid; they are checked), minItems, maxItems, uniqueItems, items (one schema), properties,
// required, additionalProperties, minProperties, maxProperties, allOf, anyOf, oneOf, not, if, then,
// else, $ref within the document, $defs, definitions, and what only describes. Any other keyword is
// refused, for it would be obeyed by nobody.
//
// Immutable once made; any thread.

#include "protocol/json_check.hpp"

#include <boost/json/fwd.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace parlor::json {

class schema {
public:
  ~schema();
  schema(const schema&) = delete;
  schema& operator=(const schema&) = delete;

  /// What is wrong with the document, at most `most` sentences; none means that it is valid. One
  /// that is larger or deeper than can be checked is a violation as well.
  std::vector<violation> check(const boost::json::value& document, std::size_t most = 8) const;
  /// The same for its text, which must be strict JSON without duplicate names, at most 4 MiB.
  std::vector<violation> check_text(std::string_view text, std::size_t most = 8) const;

  /// What valijson alone thinks of a normal document: for tests that compare it with the checker.
  bool judged_valid(const boost::json::value& document) const;

  const rule& root() const noexcept;
  /// The schema as it was given, without white space.
  const std::string& text() const noexcept;

private:
  friend std::shared_ptr<const schema> compile_schema(std::string_view, schema_fault&);
  struct impl;
  explicit schema(std::unique_ptr<impl> p);
  std::unique_ptr<impl> impl_;
};
using schema_ptr = std::shared_ptr<const schema>;

/// Null if the text is no schema that is supported; `why` then says so. At most 256 KiB.
schema_ptr compile_schema(std::string_view text, schema_fault& why);

/// The value of `response_format` that asks a model for a document of this schema. `name` must be
/// [a-zA-Z0-9_-]{1,64}. `strict` has the provider enforce it, where the schema is of the kind that
/// it can.
std::string response_format(const schema& s, std::string_view name, bool strict);

} // namespace parlor::json
