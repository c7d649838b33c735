// All sources of settings together, and the models when the file names none.

#include "app/options.hpp"

#include "app/address.hpp"
#include "app/pipeline_file.hpp"

#include <algorithm>
#include <fstream>
#include <iostream>
#include <set>
#include <sstream>

namespace parlor {

namespace {

using row = std::map<std::string, given, std::less<>>;

// Runs `f` on the text; its complaint gets the place and the name.
template <class F>
void take(const given& g, std::string_view name, F f) {
  try {
    f(g.text);
  } catch (const config_error& e) {
    auto place = g.where == "--" + std::string{name} ? "" : g.where + ": ";
    throw config_error(place + (place.empty() ? "--" : "") + std::string{name} + " " + e.what());
  }
}

template <class F>
void take(const row& r, std::string_view name, F f) {
  if (auto found = r.find(name); found != r.end())
    take(found->second, name, f);
}

std::string read_text(const std::string& path, const std::string& where) {
  std::ifstream in{path, std::ios::binary};
  std::ostringstream text;
  if (!in || !(text << in.rdbuf()))
    throw config_error(where + ": cannot read " + path);
  return text.str();
}

std::string join(std::string_view allowed) {
  std::string out{allowed};
  for (std::size_t i = 0; (i = out.find('|', i)) != std::string::npos; i += 2)
    out.replace(i, 1, ", ");
  return out;
}

void check_allowed(const option& o, const std::string& text) {
  if (o.allowed.empty())
    return;
  std::string_view rest = o.allowed;
  while (!rest.empty()) {
    auto bar = std::min(rest.find('|'), rest.size());
    if (rest.substr(0, bar) == text)
      return;
    rest.remove_prefix(std::min(bar + 1, rest.size()));
  }
  throw config_error("must be one of " + join(o.allowed));
}

void check_environment(const environment& env) {
  // PARLOR_BIN and PARLOR_YES belong to the project's scripts, which pass their environment on.
  std::vector<std::string> names{"PARLOR_CONFIG", "PARLOR_BIN", "PARLOR_YES"};
  for (auto& o : option_table()) {
    names.push_back(o.variable());
    if (o.type == option_type::secret)
      names.push_back(o.variable() + "_FILE");
  }
  for (auto& [name, value] : env) {
    if (!name.starts_with("PARLOR_") || std::find(names.begin(), names.end(), name) != names.end())
      continue;
    auto near = nearest(name, names);
    throw config_error(name + ": unknown variable of the environment" +
                       (near.empty() ? "" : "; did you mean " + near + "?"));
  }
}

given find_value(const option& o, const given_values& flags, const environment& env,
                 const file_values& file) {
  if (auto found = flags.find(o.name); found != flags.end())
    return found->second;
  auto variable = o.variable();
  if (auto found = env.find(variable); found != env.end())
    return {found->second, variable};
  if (o.type == option_type::secret) {
    if (auto found = env.find(variable + "_FILE"); found != env.end()) {
      auto text = read_text(found->second, variable + "_FILE");
      while (!text.empty() && (text.back() == '\n' || text.back() == '\r'))
        text.pop_back();
      return {text, variable + "_FILE"};
    }
  }
  if (auto found = file.options.find(o.name); found != file.options.end())
    return found->second;
  return {std::string{o.value}, "default"};
}

std::size_t count(const std::string& text, std::int64_t low) {
  auto n = parse_integer(text);
  if (n < low || n > 1'000'000)
    throw config_error("must be from " + std::to_string(low) + " to 1000000");
  return static_cast<std::size_t>(n);
}

std::string http_address(std::string t) {
  if (!t.starts_with("http://") && !t.starts_with("https://"))
    throw config_error("must begin with http:// or https://");
  while (t.ends_with('/'))
    t.pop_back();
  return t;
}

/// It becomes a header, and nobody between may read it.
void check_key(const provider_settings& p) {
  auto control = [](unsigned char c) { return c < 0x20 || c == 0x7f; };
  if (std::any_of(p.api_key.begin(), p.api_key.end(), control))
    throw config_error("the key of provider " + p.name + " has a line break or the like in it");
  if (!p.api_key.empty() && is_sent_in_the_open(p.base_url))
    throw config_error("the key of provider " + p.name +
                       " would be sent unencrypted: its address must begin with https://");
}

provider_settings read_provider(const row& r, const std::string& where, const settings& s) {
  provider_settings p;
  p.first_token = s.rehearsal.first_token;
  p.tokens_per_second = s.rehearsal.tokens_per_second;
  take(r, "name", [&](auto& t) { p.name = t; });
  take(r, "kind", [&](auto& t) {
    if (t != "openai" && t != "rehearsal")
      throw config_error("must be one of openai, rehearsal");
    p.kind = t == "openai" ? provider_kind::openai : provider_kind::rehearsal;
  });
  take(r, "base_url", [&](auto& t) { p.base_url = http_address(t); });
  take(r, "api_key", [&](auto& t) { p.api_key = t; });
  take(r, "concurrency", [&](auto& t) { p.concurrency = count(t, 1); });
  take(r, "queue", [&](auto& t) { p.queue = count(t, 0); });
  take(r, "first_token", [&](auto& t) { p.first_token = parse_duration(t); });
  take(r, "tokens_per_second", [&](auto& t) { p.tokens_per_second = double(count(t, 0)); });
  take(r, "script", [&](auto& t) { p.script = t; });
  if (p.name.empty())
    throw config_error(where + ": a provider needs a name");
  if (p.kind == provider_kind::openai && p.base_url.empty())
    throw config_error(where + ": provider " + p.name + " needs a base_url");
  check_key(p);
  return p;
}

model_settings_entry read_model(const row& r, const std::string& where) {
  model_settings_entry m;
  take(r, "name", [&](auto& t) { m.name = t; });
  take(r, "provider", [&](auto& t) { m.provider = t; });
  take(r, "upstream_name", [&](auto& t) { m.upstream_name = t; });
  take(r, "connect_timeout", [&](auto& t) { m.connect_timeout = parse_duration(t); });
  take(r, "first_token_timeout", [&](auto& t) { m.first_token_timeout = parse_duration(t); });
  take(r, "token_timeout", [&](auto& t) { m.token_timeout = parse_duration(t); });
  take(r, "total_timeout", [&](auto& t) { m.total_timeout = parse_duration(t); });
  take(r, "attempts", [&](auto& t) { m.attempts = static_cast<int>(count(t, 1)); });
  take(r, "default", [&](auto& t) { m.is_default = parse_boolean(t); });
  if (m.name.empty())
    throw config_error(where + ": a model needs a name");
  if (m.name == "*")
    m.name.clear();
  return m;
}

std::string variable_or(const environment& env, std::string_view name, std::string otherwise) {
  auto found = env.find(name);
  return found == env.end() || found->second.empty() ? otherwise : found->second;
}

// Without providers in the file: the OpenAI API when there is a key for it, else the rehearsal.
void default_models(settings& s, const environment& env) {
  provider_settings p;
  model_settings_entry m;
  m.is_default = true;
  p.api_key = variable_or(env, "OPENAI_API_KEY", "");
  auto address = variable_or(env, "OPENAI_BASE_URL", ""); // one's own may need no key
  if (!p.api_key.empty() || !address.empty()) {
    p.name = "openai";
    take(given{address.empty() ? "https://api.openai.com/v1" : address, "the environment"},
         "OPENAI_BASE_URL", [&](auto& t) { p.base_url = http_address(t); });
    check_key(p);
    m.name = variable_or(env, "OPENAI_MODEL", "gpt-4o-mini");
    m.provider = p.name;
    s.models.push_back(m);
    model_settings_entry any;
    any.provider = p.name;
    s.models.push_back(any);
  } else {
    p.name = m.name = m.provider = "rehearsal";
    p.kind = provider_kind::rehearsal;
    p.first_token = s.rehearsal.first_token;
    p.tokens_per_second = s.rehearsal.tokens_per_second;
    s.models.push_back(m);
    model_settings_entry any; // clients that name a model get on without one
    any.provider = p.name;
    s.models.push_back(any);
  }
  s.providers.push_back(p);
}

void read_models(settings& s, const file_values& file) {
  std::set<std::string> providers, models;
  for (std::size_t i = 0; i < file.providers.size(); ++i) {
    auto& where = file.provider_places[i];
    s.providers.push_back(read_provider(file.providers[i], where, s));
    if (!providers.insert(s.providers.back().name).second)
      throw config_error(where + ": there are two providers named " + s.providers.back().name);
  }
  bool has_default = false;
  for (std::size_t i = 0; i < file.models.size(); ++i) {
    auto& where = file.model_places[i];
    auto m = read_model(file.models[i], where);
    if (m.provider.empty() && s.providers.size() == 1)
      m.provider = s.providers.front().name;
    if (!providers.contains(m.provider)) {
      auto near = nearest(m.provider, {providers.begin(), providers.end()});
      throw config_error(where + ": model " + m.name + " names an unknown provider " + m.provider +
                         (near.empty() ? "" : "; did you mean " + near + "?"));
    }
    if (!models.insert(m.name).second)
      throw config_error(where + ": there are two models named " + m.name);
    if (m.is_default && has_default)
      throw config_error(where + ": there are two default models");
    has_default = has_default || m.is_default;
    s.models.push_back(std::move(m));
  }
  if (s.models.empty())
    throw config_error(file.provider_places.front() + ": there are providers but no [[model]]");
  if (!has_default)
    s.models.front().is_default = true;
}

} // namespace

settings merge_settings(const given_values& flags, const environment& env,
                        const file_values& file) {
  check_environment(env);
  settings s;
  for (auto& o : option_table())
    take(find_value(o, flags, env, file), o.name, [&](const std::string& text) {
      check_allowed(o, text);
      o.store(s, text);
    });
  if (auto url = env.find("EXTERNAL_API_URL"); s.plan.external_url.empty() && url != env.end())
    take(given{url->second, url->first}, "plan.external_url",
         [&](auto& text) { s.plan.external_url = service_address(text); });
  auto host = split_address(s.server.listen).first;
  if (!s.plan.external_url.empty() && s.server.public_url.empty() &&
      (host == "0.0.0.0" || host == "::"))
    throw config_error("server.public_url is needed: plan.external_url is told where to call back, "
                       "and " +
                       s.server.listen + " is no address that it could call");
  if (!file.providers.empty())
    read_models(s, file);
  else if (!file.models.empty())
    throw config_error(file.model_places.front() + ": there are models but no [[provider]]");
  else
    default_models(s, env);
  return s;
}

settings load_settings(int argc, char** argv, char** envp, std::string& command) {
  environment env;
  for (; envp != nullptr && *envp != nullptr; ++envp) {
    std::string_view entry{*envp};
    if (auto eq = entry.find('='); eq != std::string_view::npos)
      env.emplace(entry.substr(0, eq), entry.substr(eq + 1));
  }
  auto line = read_command_line(argc, argv);
  command = line.command;
  // These must work however wrong the rest is.
  if (command == "help")
    std::cout << line.help;
  if (command == "config-default")
    std::cout << default_config();
  if (command == "help" || command == "config-default" || command == "version")
    return {};
  given path;
  if (auto flag = line.flags.find("config"); flag != line.flags.end())
    path = flag->second;
  else if (auto var = env.find("PARLOR_CONFIG"); var != env.end())
    path = {var->second, "PARLOR_CONFIG"};
  file_values file;
  if (!path.text.empty())
    file = read_config(read_text(path.text, path.where), path.text, env);
  auto s = merge_settings(line.flags, env, file);
  s.config_path = path.text;
  if (auto why = unsafe_listener(s); !why.empty() && command != "config-show")
    throw config_error(why);
  if (command != "config-show")
    s.pipelines.loaded = load_pipelines(s);
  if (command == "config-show")
    std::cout << show_config(s);
  if (command == "check-config")
    std::cout << (path.text.empty() ? "the configuration" : path.text) << " is valid\n";
  return s;
}

} // namespace parlor
