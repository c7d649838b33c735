#pragma once
// A prompt with places for the fields of the request and of earlier agents' data:
//
//   Make a plan for {{request.preferences.learning_goal}}.
//   They say: {{request.preferences.motivation | nothing about why}}
//   What is known: {{intent_analyzer}}
//
// A place names a source and then members, and nothing else: there is no logic. A string is
// inserted as its text, anything else as its JSON; what is missing or null as the words behind `|`,
// by default nothing. What is inserted is never read again. `\{{` is `{{`.
// Immutable once made; any thread.

#include "protocol/json_schema.hpp"

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace parlor {

/// Why a template was refused, and in which of its lines (from 1).
struct template_fault {
  std::size_t line = 1;
  std::string text;
  // Where a name is wrong: it, and those that would do there.
  std::string name;
  std::vector<std::string> known;
};

class prompt_template {
public:
  struct place {
    std::string source;
    std::vector<std::string> members;
    std::string otherwise;
    std::size_t line = 1;
  };
  /// The JSON texts that sources stand for. Each must be valid.
  using values = std::map<std::string, std::string_view, std::less<>>;
  /// The schemas that they will be valid for.
  using schemas = std::map<std::string, json::schema_ptr, std::less<>>;

  static std::optional<prompt_template> parse(std::string_view text, template_fault& why);

  /// The first place that names a source that is not there, or a member that its schema does not
  /// declare.
  std::optional<template_fault> check(const schemas& sources) const;

  std::string render(const values& sources) const;
  const std::vector<place>& places() const noexcept { return places_; }

private:
  std::vector<std::string> texts_; // around the places: always one more
  std::vector<place> places_;
};

} // namespace parlor
