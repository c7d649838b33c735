#include "llm/schema_sample.hpp"

#include <boost/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace parlor::llm {

namespace {

namespace bj = boost::json;

constexpr int max_depth = 12; // recursive schemas end here, with the least that is valid

const bj::value* member(const bj::value& v, std::string_view key) {
  auto* o = v.if_object();
  return o ? o->if_contains(key) : nullptr;
}

std::int64_t whole(const bj::value* v, std::int64_t otherwise) {
  if (!v || !v->is_number())
    return otherwise;
  bj::error_code ec;
  auto n = v->to_number<std::int64_t>(ec);
  return ec ? static_cast<std::int64_t>(v->is_double() ? std::ceil(v->get_double()) : 0) : n;
}

class generator {
public:
  generator(const bj::value& root, std::string_view plain) : root_{root}, plain_{plain} {}

  bj::value make(const bj::value& schema, std::string_view name, std::size_t index, int depth) {
    if (depth > max_depth * 2)
      return nullptr;
    if (auto* c = member(schema, "const"))
      return *c;
    if (auto* e = member(schema, "enum"); e && e->is_array() && !e->get_array().empty())
      return e->get_array()[index % e->get_array().size()];
    if (auto* ref = member(schema, "$ref"); ref && ref->is_string())
      if (auto* target = resolve(ref->get_string()))
        return make(*target, name, index, depth + 1);
    for (auto* key : {"anyOf", "oneOf"})
      if (auto* any = member(schema, key); any && any->is_array() && !any->get_array().empty())
        return make(pick(any->get_array(), depth), name, index, depth + 1);
    if (auto* all = member(schema, "allOf"); all && all->is_array())
      return merged(schema, all->get_array(), name, index, depth);
    auto type = type_of(schema);
    if (type == "object")
      return object(schema, depth);
    if (type == "array")
      return array(schema, name, depth);
    if (type == "integer" || type == "number")
      return number(schema, type == "integer", index);
    if (type == "boolean")
      return true;
    if (type == "null")
      return nullptr;
    return string(schema, name, index);
  }

private:
  const bj::value* resolve(std::string_view ref) const {
    if (!ref.starts_with('#'))
      return nullptr;
    bj::error_code ec;
    auto* found = root_.find_pointer(ref.substr(1), ec);
    return ec ? nullptr : found;
  }

  // Deep inside prefer what ends the recursion.
  static const bj::value& pick(const bj::array& options, int depth) {
    for (auto& option : options) {
      auto* t = member(option, "type");
      bool is_null = t && t->is_string() && t->get_string() == "null";
      if (is_null == (depth >= max_depth))
        return option;
    }
    return options[0];
  }

  bj::value merged(const bj::value& schema, const bj::array& all, std::string_view name,
                   std::size_t index, int depth) {
    bj::object sum = schema.get_object();
    sum.erase("allOf");
    for (auto& part : all) {
      auto* p = &part;
      if (auto* ref = member(part, "$ref"); ref && ref->is_string())
        if (auto* target = resolve(ref->get_string()))
          p = target;
      if (!p->is_object())
        continue;
      for (auto& [key, v] : p->get_object()) {
        auto* have = sum.if_contains(key);
        if (have && have->is_object() && v.is_object())
          for (auto& [k, inner] : v.get_object())
            have->get_object()[k] = inner;
        else if (have && have->is_array() && v.is_array() && key == "required")
          for (auto& r : v.get_array())
            have->get_array().push_back(r);
        else
          sum[key] = v;
      }
    }
    return make(bj::value(std::move(sum)), name, index, depth + 1);
  }

  static std::string_view type_of(const bj::value& schema) {
    if (auto* t = member(schema, "type")) {
      if (t->is_string())
        return t->get_string();
      if (t->is_array())
        for (auto& one : t->get_array())
          if (one.is_string() && one.get_string() != "null")
            return one.get_string();
    }
    if (member(schema, "properties"))
      return "object";
    if (member(schema, "items"))
      return "array";
    return "string";
  }

  bj::value object(const bj::value& schema, int depth) {
    bj::object out;
    const bj::array* required = nullptr;
    if (auto* r = member(schema, "required"))
      required = r->if_array();
    auto needed = [&](std::string_view key) {
      return required && std::any_of(required->begin(), required->end(), [&](const bj::value& r) {
               return r.is_string() && r.get_string() == key;
             });
    };
    if (auto* p = member(schema, "properties"); p && p->is_object())
      for (auto& [key, sub] : p->get_object())
        if (depth < max_depth || needed(key))
          out[key] = make(sub, key, 0, depth + 1);
    if (required)
      for (auto& r : *required)
        if (r.is_string() && !out.contains(r.get_string()))
          out[r.get_string()] = "example";
    return out;
  }

  bj::value array(const bj::value& schema, std::string_view name, int depth) {
    auto least = std::max<std::int64_t>(0, whole(member(schema, "minItems"), 0));
    auto most = whole(member(schema, "maxItems"), 1000);
    auto count = depth >= max_depth ? least : std::min(std::max<std::int64_t>(least, 2), most);
    count = std::min<std::int64_t>(count, 1000);
    bj::array out;
    static const bj::value anything = bj::object{{"type", "string"}};
    auto* items = member(schema, "items");
    for (std::int64_t i = 0; i < count; ++i)
      out.push_back(make(items && items->is_object() ? *items : anything, name,
                         static_cast<std::size_t>(i), depth + 1));
    return out;
  }

  static bj::value number(const bj::value& schema, bool integer, std::size_t index) {
    auto* low = member(schema, "minimum");
    auto least = whole(low, 1);
    if (auto* above = member(schema, "exclusiveMinimum"); above && above->is_number())
      least = std::max(low ? least : INT64_MIN, whole(above, 0) + 1);
    auto most = whole(member(schema, "maximum"), INT64_MAX);
    auto n = std::min(least, INT64_MAX - 1000) + static_cast<std::int64_t>(index % 1000);
    n = std::min(n, most);
    if (auto* step = member(schema, "multipleOf"); integer && step)
      if (auto m = whole(step, 1); m > 1)
        n = (n + m - 1) / m * m;
    // "number" with bounds inside one unit (0.2 .. 0.8): the middle.
    if (!integer && low && low->is_double())
      return low->get_double();
    return n;
  }

  bj::value string(const bj::value& schema, std::string_view name, std::size_t index) const {
    std::string_view format;
    if (auto* f = member(schema, "format"); f && f->is_string())
      format = f->get_string();
    if (format == "date-time")
      return "2025-10-03T10:00:00Z";
    if (format == "date")
      return "2025-10-03";
    if (format == "time")
      return "10:00:00Z";
    if (format == "email")
      return "someone@example.org";
    if (format == "uri" || format == "url")
      return "https://example.org/";
    if (format == "uuid")
      return "00000000-0000-4000-8000-000000000000";
    std::string out;
    for (auto* spoken : {"answer", "message", "text", "content", "reply"})
      if (name == spoken)
        out = plain_;
    if (out.empty()) {
      out = name.empty() ? std::string{"example"} : std::string{name};
      out += ' ' + std::to_string(index + 1);
    }
    auto least = whole(member(schema, "minLength"), 0);
    while (static_cast<std::int64_t>(out.size()) < std::min<std::int64_t>(least, 100'000))
      out += '.';
    if (auto most = whole(member(schema, "maxLength"), -1); most >= 0) {
      auto is_ascii = std::all_of(out.begin(), out.end(), [](char c) { return (c & 0x80) == 0; });
      if (!is_ascii)
        out = std::string(static_cast<std::size_t>(std::max<std::int64_t>(least, 1)), 'x');
      if (static_cast<std::int64_t>(out.size()) > most)
        out.resize(static_cast<std::size_t>(most));
    }
    return bj::value(out);
  }

  const bj::value& root_;
  std::string_view plain_;
};

} // namespace

std::string sample_for_format(std::string_view response_format, std::string_view plain) {
  if (response_format.empty())
    return {};
  bj::error_code ec;
  bj::parse_options options;
  options.max_depth = 64;
  auto format = bj::parse(response_format, ec, {}, options);
  if (ec)
    return {};
  auto* type = member(format, "type");
  if (!type || !type->is_string())
    return {};
  if (type->get_string() == "json_object")
    return bj::serialize(bj::value(bj::object{{"answer", plain}}));
  if (type->get_string() != "json_schema")
    return {};
  auto* holder = member(format, "json_schema");
  auto* schema = holder ? member(*holder, "schema") : member(format, "schema");
  if (!schema)
    return bj::serialize(bj::value(bj::object{{"answer", plain}}));
  return bj::serialize(generator{*schema, plain}.make(*schema, "", 0, 0));
}

} // namespace parlor::llm
