// The judge is valijson: this file only, for it is slow to compile. It is given the compiled rules
// as a plain schema of its own, and never a pattern: it would run them by std::regex, which
// overflows the stack on long texts. Those, and what it counts by C strings or in quadratic time,
// are one constraint of ours, which also ends a check that takes too many steps.

#include "protocol/json_schema.hpp"

#include "protocol/json.hpp"
#include "protocol/json_reader.hpp"

#include <boost/json.hpp>
#include <re2/re2.h>

#include <valijson/adapters/boost_json_adapter.hpp>
#include <valijson/constraint_builder.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validation_results.hpp>
#include <valijson/validator.hpp>

#include <algorithm>
#include <unordered_set>

namespace parlor::json {

namespace {

namespace bj = boost::json;
using valijson::adapters::Adapter;
using valijson::adapters::BoostJsonAdapter;

constexpr std::size_t max_schema = 256 * 1024;
constexpr std::size_t max_document = 4 * 1024 * 1024;
constexpr std::size_t max_depth = 64;
constexpr std::uint64_t max_steps = 1'000'000;
constexpr const char* own_keyword = "parlor";

struct too_many_steps {};
thread_local std::uint64_t steps_left = 0;

void spend(std::uint64_t steps) {
  if (steps_left < steps)
    throw too_many_steps{};
  steps_left -= steps;
}

// The same text for equal values, whatever the order of their members.
void append_canonical(std::string& out, const Adapter& v) {
  spend(1);
  if (v.isObject()) {
    std::vector<std::string> members;
    v.applyToObject([&](const std::string& name, const Adapter& member) {
      auto text = quoted(name) + ":";
      append_canonical(text, member);
      members.push_back(std::move(text));
      return true;
    });
    std::sort(members.begin(), members.end());
    out += '{';
    for (auto& m : members)
      out += m + ",";
    out += '}';
  } else if (v.isArray()) {
    out += '[';
    v.applyToArray([&](const Adapter& item) {
      append_canonical(out, item);
      out += ',';
      return true;
    });
    out += ']';
  } else if (v.isString()) {
    append_quoted(out, v.asString());
  } else if (v.isInteger()) {
    out += std::to_string(v.asInteger());
  } else if (v.isDouble()) {
    char text[40];
    std::snprintf(text, sizeof text, "%.17g", v.asDouble());
    out += text;
  } else {
    out += v.isNull() ? "null" : v.asBool() ? "true" : "false";
  }
}

// What valijson leaves to us, about one value.
class own_constraint final : public valijson::constraints::PolyConstraint {
public:
  explicit own_constraint(const rule& asks)
      : asks_{&asks}, cost_{1 + (asks.properties.size() + asks.required.size()) / 16} {
    for (auto& values : asks.allowed)
      cost_ += values.size() / 16;
  }

  bool validate(const Adapter& v, const std::vector<std::string>& context,
                valijson::ValidationResults* results) const override {
    spend(cost_);
    auto good =
        v.isString()  ? text_fits(v.asString())
        : v.isArray() ? !asks_->unique_items || all_differ(v)
        : v.isNumber() && asks_->multiple_of
            ? is_multiple(v.isInteger() ? bj::value(v.asInteger()) : bj::value(v.asDouble()),
                          *asks_->multiple_of)
            : true;
    if (!good && results != nullptr)
      results->pushError(context, v.isArray() ? "must not have equal items" : "is not allowed");
    return good;
  }

private:
  bool text_fits(const std::string& text) const {
    spend(text.size() / 1024);
    auto length = count_characters(text);
    if ((asks_->min_length && length < *asks_->min_length) ||
        (asks_->max_length && length > *asks_->max_length))
      return false;
    return std::all_of(asks_->patterns.begin(), asks_->patterns.end(),
                       [&](auto& p) { return re2::RE2::PartialMatch(text, *p.expression); });
  }

  static bool all_differ(const Adapter& array) {
    std::unordered_set<std::string> seen;
    auto differ = true;
    array.applyToArray([&](const Adapter& item) {
      std::string text;
      append_canonical(text, item);
      differ = differ && seen.insert(std::move(text)).second;
      return differ;
    });
    return differ;
  }

  Constraint* cloneInto(void* place) const override { return new (place) own_constraint{*this}; }
  std::size_t sizeOf() const override { return sizeof *this; }

  const rule* asks_;
  std::uint64_t cost_;
};

class own_builder final : public valijson::ConstraintBuilder {
public:
  explicit own_builder(const rules& all) : all_{all} {}
  valijson::constraints::Constraint* make(const Adapter& index) const override {
    return new own_constraint{all_.all.at(static_cast<std::size_t>(index.asInteger()))};
  }

private:
  const rules& all_;
};

// -- the rules as valijson reads them -------------------------------------------------------------

bj::value reference(const rule* r) {
  return bj::object{{"$ref", "#/definitions/" + std::to_string(r->index)}};
}

bj::array references(const std::vector<const rule*>& list) {
  bj::array out;
  for (auto* r : list)
    out.push_back(reference(r));
  return out;
}

bj::value for_judge(const rule& r) {
  if (r.types == 0)
    return false;
  bj::object out;
  // Read first, and so counted, whatever else becomes of the value.
  bj::array all{bj::object{{own_keyword, static_cast<std::int64_t>(r.index)}}};
  for (auto* a : r.all)
    all.push_back(reference(a));
  for (auto& values : r.allowed)
    all.push_back(bj::object{{"enum", bj::array(values.begin(), values.end())}});
  if (r.types != is_anything) {
    bj::array types;
    constexpr std::pair<std::uint8_t, const char*> names[] = {
        {is_null, "null"},       {is_boolean, "boolean"}, {is_fraction, "number"},
        {is_integer, "integer"}, {is_string, "string"},   {is_array, "array"},
        {is_object, "object"}};
    for (auto& [bit, name] : names)
      if ((r.types & bit) != 0)
        types.emplace_back(name);
    out["type"] = types;
  }
  auto number = [&](const char* key, const std::optional<double>& n) {
    if (n)
      out[key] = *n;
  };
  number("minimum", r.minimum);
  number("maximum", r.maximum);
  number("exclusiveMinimum", r.above);
  number("exclusiveMaximum", r.below);
  auto count = [&](const char* key, const std::optional<std::uint64_t>& n) {
    if (n)
      out[key] = static_cast<std::int64_t>(*n);
  };
  count("minItems", r.min_items);
  count("maxItems", r.max_items);
  count("minProperties", r.min_properties);
  count("maxProperties", r.max_properties);
  if (r.items != nullptr)
    out["items"] = reference(r.items);
  if (!r.properties.empty()) {
    bj::object members;
    for (auto& [name, child] : r.properties)
      members[name] = reference(child);
    out["properties"] = members;
  }
  if (!r.required.empty())
    out["required"] = bj::array(r.required.begin(), r.required.end());
  if (r.closed)
    out["additionalProperties"] = false;
  else if (r.additional != nullptr)
    out["additionalProperties"] = reference(r.additional);
  for (auto& list : r.any)
    out["anyOf"] = references(list);
  for (auto& list : r.one)
    out["oneOf"] = references(list);
  for (auto* n : r.none)
    out["not"] = reference(n);
  if (r.condition != nullptr && (r.then != nullptr || r.otherwise != nullptr)) {
    out["if"] = reference(r.condition);
    if (r.then != nullptr)
      out["then"] = reference(r.then);
    if (r.otherwise != nullptr)
      out["else"] = reference(r.otherwise);
  }
  out["allOf"] = all;
  return out;
}

bj::value for_judge(const rules& all) {
  bj::object definitions;
  for (auto& r : all.all)
    definitions[std::to_string(r.index)] = for_judge(r);
  return bj::object{{"allOf", bj::array{reference(all.root)}}, {"definitions", definitions}};
}

// -- what it says ---------------------------------------------------------------------------------

std::string pointer_of(const std::vector<std::string>& context) {
  std::string out;
  for (std::size_t i = 1; i < context.size(); ++i) // the first is "<root>"
    out += pointer_token(std::string_view{context[i]}.substr(1, context[i].size() - 2));
  return out;
}

std::string in_our_words(std::string text) {
  if (text.find("'not' constraint") != text.npos)
    return "has a form that is not allowed";
  if (text.find("exactly one child") != text.npos)
    return "fits more than one of the forms of which exactly one is allowed";
  if (text.find("if-then-else") != text.npos)
    return "does not fit what its other values ask for";
  return text.starts_with("must") || text.starts_with("is ") ? text : "is refused: " + text;
}

bool too_deep(const bj::value& v, std::size_t left = max_depth) {
  if (auto* object = v.if_object())
    return left == 0 || std::any_of(object->begin(), object->end(), [&](auto& member) {
             return too_deep(member.value(), left - 1);
           });
  if (auto* array = v.if_array())
    return left == 0 || std::any_of(array->begin(), array->end(),
                                    [&](auto& item) { return too_deep(item, left - 1); });
  return false;
}

// White space outside of strings goes. The text is valid JSON.
std::string compact(std::string_view text) {
  std::string out;
  auto in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    auto c = text[i];
    if (!in_string && (c == ' ' || c == '\n' || c == '\r' || c == '\t'))
      continue;
    out += c;
    if (in_string && c == '\\')
      out += text[++i];
    else if (c == '"')
      in_string = !in_string;
  }
  return out;
}

} // namespace

struct schema::impl {
  std::string text;
  rules compiled;
  valijson::Schema judged;

  bool judge(const bj::value& document, valijson::ValidationResults* results) const {
    steps_left = max_steps;
    return valijson::Validator{}.validate(judged, BoostJsonAdapter{document}, results);
  }

  // Where the checker has found nothing.
  std::vector<violation> last_word(const bj::value& document, std::size_t most) const {
    try {
      if (judge(document, nullptr))
        return {};
      valijson::ValidationResults results;
      judge(document, &results);
      std::vector<violation> out;
      valijson::ValidationResults::Error error;
      while (out.size() < most && results.popError(error)) // the cause first, then what follows
        if (!error.description.starts_with("Failed to validate against child") &&
            !error.description.starts_with("Failed to validate against schema") &&
            !error.description.starts_with("Failed to validate item"))
          out.push_back({pointer_of(error.context), in_our_words(error.description)});
      if (out.empty())
        out.push_back({"", "does not fit the schema"});
      return out;
    } catch (const too_many_steps&) {
      return {{"", "is too large to be checked"}};
    } catch (const std::exception&) { // valijson's, where it meets a type it does not expect
      return {{"", "cannot be checked"}};
    }
  }
};

schema::schema(std::unique_ptr<impl> p) : impl_{std::move(p)} {}
schema::~schema() = default;
const rule& schema::root() const noexcept { return *impl_->compiled.root; }
const std::string& schema::text() const noexcept { return impl_->text; }

bool schema::judged_valid(const bj::value& document) const {
  return impl_->last_word(document, 1).empty();
}

std::vector<violation> schema::check(const bj::value& document, std::size_t most) const {
  if (too_deep(document))
    return {{"", "is nested too deeply"}};
  auto normal = document;
  make_normal(normal);
  checker c{root(), most};
  c.tell(normal);
  return c.violations().empty() ? impl_->last_word(normal, most) : c.violations();
}

std::vector<violation> schema::check_text(std::string_view text, std::size_t most) const {
  if (text.size() > max_document)
    return {{"", "is too large to be checked"}};
  fault why{};
  auto document = parse(text, why); // also sees names that are there twice at the top
  if (why == fault::depth)
    return {{"", "is nested too deeply"}};
  if (why == fault::syntax)
    return {{"", "is not valid JSON"}};
  checker c{root(), most}; // told the text, it sees those further inside
  reader{c}.write(text, true);
  if (!c.violations().empty())
    return c.violations();
  if (why == fault::duplicate_key)
    return {{"", "has a name twice"}};
  make_normal(document);
  return impl_->last_word(document, most);
}

schema_ptr compile_schema(std::string_view text, schema_fault& why) {
  if (text.size() > max_schema) {
    why = {"", "is too large: at most 256 KiB", 0};
    return nullptr;
  }
  try {
    bj::parse_options options;
    options.max_depth = max_depth;
    bj::stream_parser parser{{}, options};
    bj::error_code error;
    why.offset = parser.write_some(text.data(), text.size(), error);
    if (!error && why.offset < text.size())
      error = bj::error::extra_data;
    if (!error)
      parser.finish(error);
    if (error)
      throw schema_fault{"", "is not valid JSON: " + error.message(), why.offset};
    fault doubled{};
    auto document = parse(text, doubled);
    if (doubled != fault::none)
      throw schema_fault{"", "has a name twice", 0};
    make_normal(document);
    auto made = std::make_unique<schema::impl>();
    made->text = compact(text);
    if (made->text.find("\\u0000") != made->text.npos)
      throw schema_fault{"", "holds the character U+0000, which is not supported", 0};
    made->compiled = compile_rules(document);
    valijson::SchemaParser reader;
    reader.addConstraintBuilder(own_keyword, new own_builder{made->compiled}); // the reader's now
    auto plain = for_judge(made->compiled);
    reader.populateSchema(BoostJsonAdapter{plain}, made->judged);
    return schema_ptr{new schema{std::move(made)}};
  } catch (const schema_fault& fault) {
    why = fault;
  } catch (const std::exception& e) {
    why = {"", std::string{"is not supported: "} + e.what(), 0};
  }
  return nullptr;
}

std::string response_format(const schema& s, std::string_view name, bool strict) {
  std::string out = R"({"type":"json_schema","json_schema":{"name":)";
  append_quoted(out, name);
  out += strict ? R"(,"strict":true,"schema":)" : R"(,"schema":)";
  return out + s.text() + "}}";
}

} // namespace parlor::json
