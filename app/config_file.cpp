// The TOML file, by toml++: this file only, for it is slow to compile.

#include "app/options.hpp"

#include <algorithm>
#include <sstream>
#include <toml++/toml.h>

namespace parlor {

namespace {

using row = std::map<std::string, given, std::less<>>;

const std::vector<std::string> provider_keys{
    "name",  "kind",        "base_url",          "api_key", "concurrency",
    "queue", "first_token", "tokens_per_second", "script"};
const std::vector<std::string> model_keys{
    "name",          "provider",      "upstream_name", "connect_timeout", "first_token_timeout",
    "token_timeout", "total_timeout", "attempts",      "default"};

struct reader {
  const std::string& path;
  const environment& env;

  std::string place(const toml::source_region& r) const {
    return path + ":" + std::to_string(r.begin.line);
  }

  [[noreturn]] void unknown(const std::string& where, const std::string& name,
                            const std::vector<std::string>& names) const {
    auto near = nearest(name, names);
    throw config_error(where + ": unknown key " + name +
                       (near.empty() ? "" : "; did you mean " + near + "?"));
  }

  // ${NAME} becomes that variable's value; one that is not set is an error, not an empty text.
  std::string expand(const std::string& text, const std::string& where) const {
    std::string out;
    for (std::size_t i = 0; i < text.size();) {
      auto open = text.find("${", i);
      auto close = open == std::string::npos ? open : text.find('}', open);
      if (close == std::string::npos)
        return out + text.substr(i);
      out += text.substr(i, open - i);
      auto name = text.substr(open + 2, close - open - 2);
      auto found = env.find(name);
      if (found == env.end())
        throw config_error(where + ": ${" + name + "} is not set in the environment");
      out += found->second;
      i = close + 1;
    }
    return out;
  }

  given read(const toml::node& node, const std::string& name) const {
    auto where = place(node.source());
    if (auto* s = node.as_string())
      return {expand(s->get(), where), where};
    if (auto* i = node.as_integer())
      return {std::to_string(i->get()), where};
    if (auto* b = node.as_boolean())
      return {b->get() ? "true" : "false", where};
    if (auto* f = node.as_floating_point()) {
      std::ostringstream out;
      out << f->get();
      return {out.str(), where};
    }
    if (auto* a = node.as_array()) {
      std::string joined;
      for (auto& item : *a) {
        auto* s = item.as_string();
        if (s == nullptr)
          throw config_error(where + ": " + name + " must be a list of texts");
        joined += (joined.empty() ? "" : ",") + expand(s->get(), where);
      }
      return {joined, where};
    }
    throw config_error(where + ": " + name + " must be one value");
  }

  row read_row(const toml::table& t, const std::vector<std::string>& keys) const {
    row out;
    for (auto&& [key, node] : t) {
      std::string name{key.str()};
      if (std::find(keys.begin(), keys.end(), name) == keys.end())
        unknown(place(node.source()), name, keys);
      out[name] = read(node, name);
    }
    return out;
  }

  void read_rows(const toml::node& node, const std::string& name,
                 const std::vector<std::string>& keys, std::vector<row>& rows,
                 std::vector<std::string>& places) const {
    auto* list = node.as_array();
    if (list == nullptr || !list->is_homogeneous(toml::node_type::table))
      throw config_error(place(node.source()) + ": write [[" + name + "]]");
    for (auto& item : *list) {
      rows.push_back(read_row(*item.as_table(), keys));
      places.push_back(place(item.source()));
    }
  }
};

} // namespace

file_values read_config(std::string_view text, const std::string& path, const environment& env) {
  toml::table root;
  try {
    root = toml::parse(text, path);
  } catch (const toml::parse_error& e) {
    throw config_error(path + ":" + std::to_string(e.source().begin.line) + ": " +
                       std::string{e.description()});
  }
  std::vector<std::string> names{"provider", "model"};
  for (auto& o : option_table())
    names.emplace_back(o.name);
  auto is_section = [&](const std::string& name) {
    return std::any_of(names.begin(), names.end(),
                       [&](auto& n) { return n.starts_with(name + "."); });
  };
  std::vector<std::string> sections{"provider", "model"};
  for (auto& o : option_table())
    sections.emplace_back(o.name.substr(0, o.name.find('.')));
  file_values out;
  reader in{path, env};
  for (auto&& [key, node] : root) {
    std::string name{key.str()};
    if (name == "provider") {
      in.read_rows(node, name, provider_keys, out.providers, out.provider_places);
    } else if (name == "model") {
      in.read_rows(node, name, model_keys, out.models, out.model_places);
    } else if (!is_section(name)) {
      in.unknown(in.place(node.source()), name, sections);
    } else if (auto* section = node.as_table()) {
      for (auto&& [inner, value] : *section) {
        auto full = name + "." + std::string{inner.str()};
        if (std::find(names.begin(), names.end(), full) == names.end())
          in.unknown(in.place(value.source()), full, names);
        out.options[full] = in.read(value, full);
      }
    } else {
      throw config_error(in.place(node.source()) + ": write [" + name + "]");
    }
  }
  return out;
}

} // namespace parlor
