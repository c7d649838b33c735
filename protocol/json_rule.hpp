#pragma once
// What a JSON Schema asks of a value, compiled once. Made by json_schema; read by the judge there,
// by json_check, and by those who ask whether a member can exist. Immutable; any thread.
//
// A rule is one (sub)schema. `$ref` is resolved: it is one more rule in `all`. Rules may refer to
// each other in circles, but not without a step into the document.

#include <boost/json/value.hpp>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace re2 {
class RE2;
}

namespace parlor::json {

/// Types of values as bits. An integer is a number without a fraction: 3.0 is one, too.
enum type_bits : std::uint8_t {
  is_null = 1,
  is_boolean = 2,
  is_integer = 4,
  is_fraction = 8,
  is_string = 16,
  is_array = 32,
  is_object = 64,
  is_number = is_integer | is_fraction,
  is_anything = 127,
};

/// A `pattern` or `format`: what a text must match, and how people are told.
struct text_pattern {
  std::shared_ptr<const re2::RE2> expression;
  std::string told; // "must match the pattern ^a+$"
};

struct rule {
  std::size_t index = 0; // among the rules of its schema
  std::uint8_t types = is_anything;
  std::vector<std::vector<boost::json::value>> allowed; // of each enum and const; normal values

  std::optional<double> minimum, maximum, above, below; // the last two exclude the bound itself
  std::optional<boost::json::value> multiple_of;

  std::optional<std::uint64_t> min_length, max_length; // characters, not bytes
  std::vector<text_pattern> patterns;

  std::optional<std::uint64_t> min_items, max_items;
  bool unique_items = false;
  const rule* items = nullptr;

  std::map<std::string, const rule*, std::less<>> properties;
  std::vector<std::string> required;
  const rule* additional = nullptr; // for members that are not in `properties`
  bool closed = false;              // there may be no such member
  std::optional<std::uint64_t> min_properties, max_properties;

  std::vector<const rule*> all;
  std::vector<std::vector<const rule*>> any; // of each list one must hold
  std::vector<std::vector<const rule*>> one; // of each list exactly one must hold
  std::vector<const rule*> none;             // `not`
  const rule* condition = nullptr;           // `if`
  const rule *then = nullptr, *otherwise = nullptr;
};

struct rules {
  std::deque<rule> all; // addresses stay
  const rule* root = nullptr;
};

/// Where and why a schema was refused. `pointer` is into the schema.
struct schema_fault {
  std::string pointer;
  std::string text;
  std::size_t offset = 0; // of a syntax error: bytes into the text
};

/// Throws schema_fault for a keyword that is not known or not supported, one with a wrong value, a
/// `$ref` that leads out of the document, nowhere or in a circle, a pattern RE2 does not take, or
/// more than the limits in the .cpp allow. `schema` must be normal.
rules compile_rules(const boost::json::value& schema);

/// Numbers as their plainest kind: without a fraction, int64; else, or beyond 2^53, double. 3, 3.0
/// and 3e0 become the same. U+0000, where valijson would end a text, becomes U+FFFD. The depth of
/// `v` must be bounded.
void make_normal(boost::json::value& v);
/// The type of a normal value.
type_bits type_of(const boost::json::value& v) noexcept;
/// "an integer", "a string": what to call the types in a sentence.
std::string name_types(std::uint8_t types);
bool is_multiple(const boost::json::value& number, const boost::json::value& of) noexcept;
/// Characters of valid UTF-8.
std::uint64_t count_characters(std::string_view text) noexcept;

/// The member of a JSON pointer, escaped.
std::string pointer_token(std::string_view name);

/// The names a rule declares for the members of an object, from `properties` wherever they stand.
std::vector<std::string> declared_members(const rule& r);
/// Whether the path of member names is declared: each in `properties`, or under a schema for
/// additional ones. If not, `at` is the number of names that were found, and `inside` what they
/// lead to.
bool declares(const rule& root, const std::vector<std::string>& path, std::size_t& at,
              std::vector<const rule*>& inside);

} // namespace parlor::json
