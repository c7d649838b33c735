#include "app/pipeline_file.hpp"

#include "app/options.hpp"
#include "protocol/json.hpp"
#include "protocol/pipeline.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <toml++/toml.h>

namespace parlor {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t max_file = 256 * 1024;

const std::vector<std::string> pipeline_keys{"name", "request", "agent"};
const std::vector<std::string> agent_keys{"name",          "model",
                                          "system",        "system_file",
                                          "prompt",        "prompt_file",
                                          "output",        "response_format",
                                          "strict",        "temperature",
                                          "max_tokens",    "expected_tokens",
                                          "attempts",      "first_token_timeout",
                                          "token_timeout", "total_timeout"};

[[noreturn]] void fail(const std::string& where, const std::string& what) {
  throw config_error(where + ": " + what);
}

std::string did_you_mean(const std::string& name, const std::vector<std::string>& known) {
  auto near = nearest(name, known);
  return near.empty() ? "" : "; did you mean " + near + "?";
}

std::string read_file(const fs::path& path, const std::string& where) {
  std::ifstream in{path, std::ios::binary};
  std::ostringstream out;
  if (!in || !fs::is_regular_file(path) || !(out << in.rdbuf()))
    fail(where, "cannot read " + path.string());
  auto text = out.str();
  if (text.size() > max_file)
    fail(where, path.string() + " is too large: at most 256 KiB");
  if (!json::valid_utf8(text))
    fail(where, path.string() + " is not UTF-8");
  return text;
}

std::size_t line_at(std::string_view text, std::size_t offset) {
  return 1 + static_cast<std::size_t>(std::count(
                 text.begin(),
                 text.begin() + static_cast<std::ptrdiff_t>(std::min(offset, text.size())), '\n'));
}

bool is_name(std::string_view text, char separator) {
  return !text.empty() && text.size() <= 64 && text[0] >= 'a' && text[0] <= 'z' &&
         std::all_of(text.begin(), text.end(), [&](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == separator;
         });
}

/// The types that the rules which always hold leave for the root.
std::uint8_t root_types(const json::rule& r) {
  auto types = r.types;
  for (auto* a : r.all)
    types &= root_types(*a);
  return types;
}

/// Reads one file of a pipeline.
class reader {
public:
  reader(fs::path path, const settings& s) : path_{std::move(path)}, settings_{s} {}

  pipeline_ptr read() {
    text_ = read_file(path_, path_.string());
    toml::table root;
    try {
      root = toml::parse(text_, path_.string());
    } catch (const toml::parse_error& e) {
      fail(path_.string() + ":" + std::to_string(e.source().begin.line),
           std::string{e.description()});
    }
    check_keys(root, pipeline_keys);
    pipeline out;
    out.name = text(need(root, "name", path_.string()), "name");
    if (!is_name(out.name, '-'))
      fail(place(*root.get("name")), "name must be of a-z, 0-9 and -, and begin with a letter");
    auto& request = need(root, "request", path_.string());
    out.request = schema(request, "request");
    if (root_types(out.request->root()) != json::is_object)
      fail(schema_file(request, "request").string() + ":1",
           "must say \"type\": \"object\" for the whole request");
    sources_["request"] = out.request;
    auto* agents = root.get_as<toml::array>("agent");
    if (agents == nullptr || agents->empty() || !agents->is_homogeneous(toml::node_type::table))
      fail(root.contains("agent") ? place(*root.get("agent")) : path_.string(),
           "a pipeline needs at least one [[agent]]");
    for (auto& item : *agents)
      out.agents.push_back(agent(*item.as_table()));
    return std::make_shared<const pipeline>(std::move(out));
  }

private:
  std::string place(const toml::node& n) const {
    return path_.string() + ":" + std::to_string(n.source().begin.line);
  }

  void check_keys(const toml::table& t, const std::vector<std::string>& keys) const {
    for (auto&& [key, node] : t) {
      std::string name{key.str()};
      if (std::find(keys.begin(), keys.end(), name) == keys.end())
        fail(place(node), "unknown key " + name + did_you_mean(name, keys));
    }
  }

  static const toml::node& need(const toml::table& t, std::string_view key,
                                const std::string& where) {
    auto* n = t.get(key);
    if (n == nullptr)
      fail(where, std::string{key} + " is missing");
    return *n;
  }

  std::string text(const toml::node& n, const std::string& key) const {
    auto* s = n.as_string();
    if (s == nullptr)
      fail(place(n), key + " must be a text");
    return s->get();
  }

  std::string text_or(const toml::table& t, const std::string& key, std::string otherwise) const {
    auto* n = t.get(key);
    return n == nullptr ? std::move(otherwise) : text(*n, key);
  }

  std::int64_t number_or(const toml::table& t, const std::string& key, std::int64_t most,
                         std::int64_t otherwise) const {
    auto* n = t.get(key);
    if (n == nullptr)
      return otherwise;
    auto* i = n->as_integer();
    if (i == nullptr || i->get() < 1 || i->get() > most)
      fail(place(*n), key + " must be a whole number from 1 to " + std::to_string(most));
    return i->get();
  }

  bool flag(const toml::table& t, const std::string& key) const {
    auto* n = t.get(key);
    if (n != nullptr && !n->is_boolean())
      fail(place(*n), key + " must be true or false");
    return n != nullptr && n->as_boolean()->get();
  }

  void duration(const toml::table& t, const std::string& key,
                std::optional<std::chrono::milliseconds>& out) const {
    auto* n = t.get(key);
    if (n == nullptr)
      return;
    auto given = text(*n, key);
    try {
      out = parse_duration(given);
    } catch (const config_error& e) {
      fail(place(*n), key + " " + e.what());
    }
    if (out->count() == 0)
      fail(place(*n), key + " must not be 0");
  }

  fs::path schema_file(const toml::node& n, const std::string& key) const {
    return path_.parent_path() / text(n, key);
  }

  json::schema_ptr schema(const toml::node& n, const std::string& key) const {
    auto file = schema_file(n, key);
    auto document = read_file(file, place(n));
    json::schema_fault why;
    if (auto made = json::compile_schema(document, why))
      return made;
    auto offset = why.offset > 0        ? why.offset
                  : why.pointer.empty() ? 0
                                        : json::offset_of(document, why.pointer);
    fail(file.string() + ":" + std::to_string(line_at(document, offset)),
         (why.pointer.empty() ? "the schema" : why.pointer) + " " + why.text);
  }

  /// `key` or `key_file`, checked against what is there by then.
  std::optional<prompt_template> prompt(const toml::table& t, const std::string& key) const {
    auto* inside = t.get(key);
    auto* beside = t.get(key + "_file");
    if (inside != nullptr && beside != nullptr)
      fail(place(*beside), "there is already a " + key);
    if (inside == nullptr && beside == nullptr)
      return std::nullopt;
    std::string body, file = path_.string();
    std::size_t before = 0; // lines of the file before the first of the template
    if (inside != nullptr) {
      body = text(*inside, key);
      before = first_line(*inside) - 1;
    } else {
      auto path = path_.parent_path() / text(*beside, key + "_file");
      body = read_file(path, place(*beside));
      file = path.string();
    }
    template_fault why;
    auto made = prompt_template::parse(body, why);
    auto wrong = made ? made->check(sources_) : std::optional{why};
    if (wrong)
      fail(file + ":" + std::to_string(before + wrong->line),
           wrong->text + did_you_mean(wrong->name, wrong->known));
    return made;
  }

  // A line break right behind the quotes of a text of several lines is not part of it.
  std::size_t first_line(const toml::node& n) const {
    auto line = n.source().begin.line;
    std::size_t at = 0;
    for (std::size_t i = 1; i < line; ++i)
      at = text_.find('\n', at) + 1;
    auto rest = std::string_view{text_}.substr(at);
    rest = rest.substr(0, rest.find('\n'));
    while (rest.ends_with('\r') || rest.ends_with(' '))
      rest.remove_suffix(1);
    return line + (rest.ends_with("\"\"\"") || rest.ends_with("'''") ? 1 : 0);
  }

  void check_model(const toml::table& t, const std::string& model) const {
    std::vector<std::string> known;
    for (auto& m : settings_.models) {
      if (m.name == model || m.name.empty()) // the empty one takes every name
        return;
      known.push_back(m.name);
    }
    fail(place(*t.get("model")), "there is no model " + model + did_you_mean(model, known));
  }

  pipeline_agent agent(const toml::table& t) {
    auto where = place(t);
    check_keys(t, agent_keys);
    pipeline_agent out;
    out.name = text(need(t, "name", where), "name");
    if (!is_name(out.name, '_'))
      fail(place(*t.get("name")), "name must be of a-z, 0-9 and _, and begin with a letter");
    if (sources_.contains(out.name))
      fail(place(*t.get("name")), "there is already something named " + out.name);
    out.model = text_or(t, "model", "");
    if (!out.model.empty())
      check_model(t, out.model);
    out.system = prompt(t, "system");
    auto user = prompt(t, "prompt");
    if (!user)
      fail(where, "agent " + out.name + " needs a prompt or a prompt_file");
    out.prompt = *user;
    auto& output = need(t, "output", where);
    out.output = schema(output, "output");
    auto types = root_types(out.output->root());
    if (types != json::is_object && types != json::is_array)
      fail(schema_file(output, "output").string() + ":1",
           "must say \"type\": \"object\" or \"array\" for the whole answer");
    auto format = text_or(t, "response_format", "json_schema");
    if (format == "json_schema")
      out.response_format = json::response_format(*out.output, out.name, flag(t, "strict"));
    else if (format == "json_object")
      out.response_format = R"({"type":"json_object"})";
    else if (format != "text")
      fail(place(*t.get("response_format")),
           "response_format must be one of json_schema, json_object, text");
    if (auto* n = t.get("temperature")) {
      auto value = n->value<double>();
      if (!n->is_number() || !(*value >= 0 && *value <= 2))
        fail(place(*n), "temperature must be a number from 0 to 2");
      std::ostringstream digits;
      digits << *value;
      out.temperature = digits.str();
    }
    if (t.contains("max_tokens"))
      out.max_tokens = number_or(t, "max_tokens", 10'000'000, 1);
    out.expected_tokens = number_or(t, "expected_tokens", 10'000'000, out.expected_tokens);
    out.attempts = static_cast<std::uint32_t>(number_or(t, "attempts", 100, out.attempts));
    duration(t, "first_token_timeout", out.first_token_timeout);
    duration(t, "token_timeout", out.token_timeout);
    duration(t, "total_timeout", out.total_timeout);
    sources_[out.name] = out.output;
    return out;
  }

  fs::path path_;
  const settings& settings_;
  std::string text_;
  prompt_template::schemas sources_; // the request, and the agents read so far
};

} // namespace

std::vector<pipeline_ptr> load_pipelines(const settings& s) {
  std::vector<pipeline_ptr> out;
  if (s.pipelines.path.empty())
    return out;
  std::error_code error;
  if (!fs::is_directory(s.pipelines.path, error)) {
    if (s.pipelines.path == default_pipelines_path)
      return out;
    throw config_error("pipelines.path: there is no directory " + s.pipelines.path);
  }
  std::vector<fs::path> files;
  for (fs::directory_iterator i{s.pipelines.path, error}, end; !error && i != end;
       i.increment(error))
    if (i->path().extension() == ".toml")
      files.push_back(i->path());
  if (error)
    throw config_error("pipelines.path: cannot read " + s.pipelines.path + ": " + error.message());
  std::sort(files.begin(), files.end());
  for (auto& file : files) {
    auto made = reader{file, s}.read();
    for (std::size_t i = 0; i < out.size(); ++i)
      if (out[i]->name == made->name)
        fail(file.string(),
             "there is already a pipeline " + made->name + " in " + files[i].string());
    out.push_back(std::move(made));
  }
  return out;
}

} // namespace parlor
