// The command line, by CLI11: this file only, for it is slow to compile.

#include "app/options.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>

namespace parlor {

namespace {

// --listn is also near to --server.listen.
std::string nearest_flag(const std::string& name, const std::vector<std::string>& names) {
  auto near = nearest(name, names);
  if (!near.empty() || name.find('.') != std::string::npos)
    return near;
  std::vector<std::string> shorter;
  for (auto& n : names)
    shorter.push_back("--" + n.substr(n.rfind('.') == n.npos ? 2 : n.rfind('.') + 1));
  near = nearest(name, shorter);
  auto found = std::find(shorter.begin(), shorter.end(), near);
  return near.empty() ? near : names[static_cast<std::size_t>(found - shorter.begin())];
}

} // namespace

command_line read_command_line(int argc, const char* const* argv) {
  command_line out;
  CLI::App app{"Parlor"};
  app.set_help_flag();
  bool help = false;
  app.add_flag("-h,--help", help);
  bool version = false;
  app.add_flag("--version", version);
  app.allow_extras();
  std::map<std::string, std::string, std::less<>> texts;
  std::vector<std::pair<std::string, CLI::Option*>> flags;
  std::vector<std::string> names{"--config", "--help"};
  auto add = [&](const std::string& name) {
    auto* o = app.add_option("--" + name, texts[name])->expected(1);
    o->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    flags.emplace_back(name, o);
  };
  add("config");
  for (auto& o : option_table())
    if (o.type != option_type::secret) {
      add(std::string{o.name});
      names.push_back(o.flag());
    }
  for (int i = 1; i < argc; ++i) {
    std::string_view word{argv[i]};
    auto name = std::string{word.substr(0, word.find('='))};
    for (auto& o : option_table())
      if (o.type == option_type::secret && name == o.flag())
        throw config_error(name + ": others can read a command line; set " + o.variable() + " or " +
                           o.variable() + "_FILE");
    if (word.starts_with("--") && word.size() == name.size() + 1) // CLI11 would take the next word
      throw config_error(name + " needs a value");
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    auto name = std::string{e.what()}.substr(0, std::string_view{e.what()}.find(':'));
    throw config_error(e.get_name() == "ArgumentMismatch" ? name + " needs a value" : e.what());
  }
  for (auto& [name, o] : flags)
    if (o->count() > 0)
      out.flags[name] = {texts[name], "--" + name};
  if (help) {
    out.command = "help";
    out.help = usage_text();
    return out;
  }
  if (version) {
    out.command = "version";
    return out;
  }
  std::vector<std::string> words;
  for (auto& extra : app.remaining()) {
    if (extra.starts_with("-")) {
      auto name = extra.substr(0, extra.find('='));
      auto near = nearest_flag(name, names);
      throw config_error(name + ": unknown option" +
                         (near.empty() ? "" : "; did you mean " + near + "?"));
    }
    words.push_back(extra);
  }
  std::string said;
  for (auto& w : words)
    said += (said.empty() ? "" : " ") + w;
  const std::map<std::string, std::string> commands{{"", "serve"},
                                                    {"serve", "serve"},
                                                    {"version", "version"},
                                                    {"help", "help"},
                                                    {"config default", "config-default"},
                                                    {"config show", "config-show"},
                                                    {"check-config", "check-config"},
                                                    {"config check", "check-config"}};
  auto found = commands.find(said);
  if (found == commands.end()) {
    std::vector<std::string> known;
    for (auto& c : commands)
      known.push_back(c.first);
    auto near = nearest(said, known);
    throw config_error(said + ": unknown command" +
                       (near.empty() ? "; see parlor --help" : "; did you mean " + near + "?"));
  }
  out.command = found->second;
  if (out.command == "help")
    out.help = usage_text();
  return out;
}

} // namespace parlor
