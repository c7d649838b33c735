// From a JSON Schema to rules. Every keyword is either understood here or refused.

#include "protocol/json_rule.hpp"

#include <boost/json.hpp>
#include <re2/re2.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace parlor::json {

namespace {

namespace bj = boost::json;

constexpr std::size_t max_rules = 5000;
constexpr std::size_t max_values = 1000; // of one enum
constexpr std::size_t max_patterns = 200;
constexpr std::size_t max_pattern_size = 1000;
constexpr int max_nesting = 200; // of subschemas and references, on the way through the schema
constexpr int max_in_place = 16; // of allOf, anyOf, $ref … about one value
constexpr std::size_t max_expanded = 1000; // rules that speak about one value, with repetitions

// Said about a value to people only, or about the schema itself.
constexpr std::string_view annotations[] = {"title",      "description", "default",   "examples",
                                            "$comment",   "$schema",     "$defs",     "definitions",
                                            "deprecated", "readOnly",    "writeOnly", "$id"};

struct known_format {
  std::string_view name, expression, told;
};
constexpr known_format formats[] = {
    {"date-time",
     R"(^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$)",
     "must be a date and time like 2025-10-03T10:00:00Z"},
    {"date", "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$",
     "must be a date like 2025-10-03"},
    {"time",
     R"(^([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$)",
     "must be a time like 10:00:00Z"},
    {"email", R"(^[^\s@"(),:;<>\[\]\\]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$)",
     "must be an e-mail address"},
    {"uri", R"(^[A-Za-z][A-Za-z0-9+.-]*:[!#$%&'()*+,./0-9:;=?@A-Z\[\]_a-z~-]*$)", "must be a URI"},
    {"uuid", "^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$",
     "must be a UUID"},
};

class compiler {
public:
  explicit compiler(const bj::value& root) : root_{root} {}

  rules run() {
    out_.root = schema(root_, "", 0);
    check_circles();
    return std::move(out_);
  }

private:
  [[noreturn]] static void refuse(const std::string& pointer, const std::string& text) {
    throw schema_fault{pointer, text};
  }

  const rule* schema(const bj::value& v, const std::string& pointer, int nesting) {
    if (auto known = done_.find(pointer); known != done_.end())
      return known->second;
    if (nesting > max_nesting)
      refuse(pointer, "is nested too deeply");
    if (out_.all.size() >= max_rules)
      refuse(pointer, "is one schema too many: at most " + std::to_string(max_rules));
    auto& r = out_.all.emplace_back();
    r.index = out_.all.size() - 1;
    done_[pointer] = &r;
    if (v.is_bool()) {
      r.types = v.get_bool() ? is_anything : 0;
      return &r;
    }
    if (!v.is_object())
      refuse(pointer, "must be a schema: an object, true or false");
    for (auto& member : v.get_object()) {
      std::string key{member.key()};
      keyword(r, v.get_object(), key, member.value(), pointer + pointer_token(key), nesting + 1);
    }
    narrow_types(r);
    return &r;
  }

  // What enum and const leave of the types is known before the value is whole.
  static void narrow_types(rule& r) {
    for (auto& values : r.allowed) {
      std::uint8_t types = 0;
      for (auto& value : values)
        types |= type_of(value);
      r.types &= types;
    }
  }

  void keyword(rule& r, const bj::object& all, const std::string& key, const bj::value& v,
               const std::string& at, int nesting) {
    if (key == "type")
      r.types &= types(v, at);
    else if (key == "enum")
      r.allowed.emplace_back(list(v, at, 1, max_values).begin(), v.get_array().end());
    else if (key == "const")
      r.allowed.push_back({v});
    else if (key == "minimum")
      r.minimum = number(v, at);
    else if (key == "maximum")
      r.maximum = number(v, at);
    else if (key == "exclusiveMinimum")
      r.above = number(v, at);
    else if (key == "exclusiveMaximum")
      r.below = number(v, at);
    else if (key == "multipleOf") {
      if (number(v, at) <= 0)
        refuse(at, "must be greater than 0");
      r.multiple_of = v;
    } else if (key == "minLength")
      r.min_length = count(v, at);
    else if (key == "maxLength")
      r.max_length = count(v, at);
    else if (key == "pattern")
      r.patterns.push_back(pattern(v, at));
    else if (key == "format")
      r.patterns.push_back(format(v, at));
    else if (key == "minItems")
      r.min_items = count(v, at);
    else if (key == "maxItems")
      r.max_items = count(v, at);
    else if (key == "uniqueItems") {
      if (!v.is_bool())
        refuse(at, "must be true or false");
      r.unique_items = v.get_bool();
    } else if (key == "items") {
      if (v.is_array())
        refuse(at, "lists of schemas for single items are not supported");
      r.items = schema(v, at, nesting);
    } else if (key == "properties")
      for (auto& p : object(v, at))
        r.properties[std::string{p.key()}] =
            schema(p.value(), at + pointer_token(p.key()), nesting);
    else if (key == "required")
      for (auto& name : list(v, at, 0, SIZE_MAX)) {
        if (!name.is_string())
          refuse(at, "must be a list of names");
        r.required.emplace_back(name.get_string());
      }
    else if (key == "additionalProperties") {
      if (v.is_bool())
        r.closed = !v.get_bool();
      else
        r.additional = schema(v, at, nesting);
    } else if (key == "minProperties")
      r.min_properties = count(v, at);
    else if (key == "maxProperties")
      r.max_properties = count(v, at);
    else if (key == "allOf")
      for (auto* one : schemas(v, at, nesting))
        r.all.push_back(one);
    else if (key == "anyOf")
      r.any.push_back(schemas(v, at, nesting));
    else if (key == "oneOf")
      r.one.push_back(schemas(v, at, nesting));
    else if (key == "not")
      r.none.push_back(schema(v, at, nesting));
    else if (key == "if")
      r.condition = schema(v, at, nesting);
    else if (key == "then" || key == "else") {
      if (!all.contains("if"))
        refuse(at, "stands without an if");
      (key == "then" ? r.then : r.otherwise) = schema(v, at, nesting);
    } else if (key == "$ref")
      r.all.push_back(reference(v, at, nesting));
    else if (key == "$defs" || key == "definitions")
      for (auto& p : object(v, at))
        schema(p.value(), at + pointer_token(p.key()), nesting);
    else if (key == "$id" && !at.starts_with("/$id"))
      refuse(at, "a name for a part of the schema is not supported");
    else if (std::find(std::begin(annotations), std::end(annotations), key) ==
             std::end(annotations))
      refuse(at, "the keyword " + key + " is not supported");
  }

  static std::uint8_t types(const bj::value& v, const std::string& at) {
    auto one = [&](const bj::value& name) -> std::uint8_t {
      constexpr std::pair<std::string_view, std::uint8_t> names[] = {
          {"null", is_null},     {"boolean", is_boolean}, {"integer", is_integer},
          {"number", is_number}, {"string", is_string},   {"array", is_array},
          {"object", is_object}};
      if (name.is_string())
        for (auto& [text, bits] : names)
          if (std::string_view{name.get_string()} == text)
            return bits;
      refuse(at, "must be null, boolean, integer, number, string, array or object");
    };
    if (!v.is_array())
      return one(v);
    std::uint8_t out = 0;
    for (auto& name : list(v, at, 1, 7))
      out |= one(name);
    return out;
  }

  static const bj::array& list(const bj::value& v, const std::string& at, std::size_t least,
                               std::size_t most) {
    if (!v.is_array() || v.get_array().size() < least)
      refuse(at, least > 0 ? "must be a list that is not empty" : "must be a list");
    if (v.get_array().size() > most)
      refuse(at, "is too long: at most " + std::to_string(most) + " values");
    return v.get_array();
  }

  static const bj::object& object(const bj::value& v, const std::string& at) {
    if (!v.is_object())
      refuse(at, "must be an object");
    return v.get_object();
  }

  static double number(const bj::value& v, const std::string& at) {
    auto n = v.is_int64()    ? static_cast<double>(v.get_int64())
             : v.is_double() ? v.get_double()
                             : NAN;
    if (!std::isfinite(n))
      refuse(at, "must be a number");
    return n;
  }

  static std::uint64_t count(const bj::value& v, const std::string& at) {
    if (!v.is_int64() || v.get_int64() < 0)
      refuse(at, "must be a whole number from 0");
    return static_cast<std::uint64_t>(v.get_int64());
  }

  std::vector<const rule*> schemas(const bj::value& v, const std::string& at, int nesting) {
    std::vector<const rule*> out;
    for (auto& one : list(v, at, 1, max_values))
      out.push_back(schema(one, at + "/" + std::to_string(out.size()), nesting));
    return out;
  }

  std::shared_ptr<const re2::RE2> expression(std::string_view text, const std::string& at) {
    if (++patterns_ > max_patterns)
      refuse(at, "is one pattern too many: at most " + std::to_string(max_patterns));
    re2::RE2::Options options;
    options.set_log_errors(false);
    options.set_max_mem(1 << 20);
    auto made =
        std::make_shared<const re2::RE2>(re2::StringPiece{text.data(), text.size()}, options);
    if (!made->ok())
      refuse(at, "is a pattern that is not supported: " + made->error());
    return made;
  }

  text_pattern pattern(const bj::value& v, const std::string& at) {
    if (!v.is_string() || v.get_string().size() > max_pattern_size)
      refuse(at, "must be a text of at most " + std::to_string(max_pattern_size) + " bytes");
    std::string text{v.get_string()};
    return {expression(text, at), "must match the pattern " + text};
  }

  text_pattern format(const bj::value& v, const std::string& at) {
    std::string names;
    for (auto& f : formats) {
      if (v.is_string() && std::string_view{v.get_string()} == f.name)
        return {expression(f.expression, at), std::string{f.told}};
      names += (names.empty() ? "" : ", ") + std::string{f.name};
    }
    refuse(at, "is a format that is not supported; there are " + names);
  }

  const rule* reference(const bj::value& v, const std::string& at, int nesting) {
    std::string_view text;
    if (v.is_string())
      text = v.get_string();
    if (!text.starts_with('#') || (text.size() > 1 && text[1] != '/') ||
        text.find('%') != text.npos)
      refuse(at, "must point into this schema, like #/$defs/name");
    std::string pointer{text.substr(1)};
    bj::error_code error;
    auto* target = root_.find_pointer(pointer, error);
    if (target == nullptr)
      refuse(at, "points to nothing");
    return schema(*target, pointer, nesting);
  }

  // Rules about one value that come back to themselves would never end.
  void check_circles() {
    std::vector<extent> known(out_.all.size());
    for (auto& r : out_.all)
      measure(r, known);
  }

  struct extent {
    int depth = 0; // 0 not seen, -1 on the way
    std::size_t rules = 1;
  };

  extent measure(const rule& r, std::vector<extent>& known) {
    auto& mine = known[r.index];
    if (mine.depth > 0)
      return mine;
    if (mine.depth < 0)
      refuse(where(r), "refers to itself without a step into the document");
    mine.depth = -1;
    int below = 0;
    auto look = [&](const rule* next) {
      if (next == nullptr)
        return;
      auto its = measure(*next, known);
      below = std::max(below, its.depth);
      mine.rules += its.rules;
      if (below >= max_in_place || mine.rules > max_expanded)
        refuse(where(r), "says too much about one value");
    };
    for (auto* list : {&r.all, &r.none})
      for (auto* next : *list)
        look(next);
    for (auto* lists : {&r.any, &r.one})
      for (auto& list : *lists)
        for (auto* next : list)
          look(next);
    for (auto* next : {r.condition, r.then, r.otherwise})
      look(next);
    mine.depth = below + 1;
    return mine;
  }

  std::string where(const rule& r) const {
    for (auto& [pointer, known] : done_)
      if (known == &r)
        return pointer;
    return {};
  }

  const bj::value& root_;
  rules out_;
  std::map<std::string, rule*> done_; // by where they stand
  std::size_t patterns_ = 0;
};

} // namespace

rules compile_rules(const bj::value& schema) { return compiler{schema}.run(); }

} // namespace parlor::json
