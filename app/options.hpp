#pragma once
// Where settings come from: flag > environment > file > default, for every option of one table.
//
// Used by the main thread before anything else starts. Every mistake is a config_error whose text
// says where (file:line, flag or variable), what, and the nearest name that exists.

#include "app/settings.hpp"

#include <functional>
#include <map>
#include <span>
#include <stdexcept>
#include <string_view>

namespace parlor {

class config_error : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

enum class option_type : std::uint8_t { string, integer, boolean, duration, size, list, secret };

/// A row of the table. `store` takes the checked text into the settings.
struct option {
  std::string_view name; // server.listen: also the file's key and --server.listen
  option_type type;
  std::string_view value;   // the default, as an operator would write it
  std::string_view allowed; // "a|b|c", or empty
  std::string_view help;
  void (*store)(settings&, const std::string&);

  std::string flag() const;     // --server.listen
  std::string variable() const; // PARLOR_SERVER_LISTEN
};
std::span<const option> option_table();
/// Empty, or where requests can be posted: an http or https URL. Throws config_error.
std::string service_address(const std::string& text);
std::string_view to_string(option_type t) noexcept;

/// What a source says for a name, and where: "parlor.toml:12", "--log.level", "PARLOR_LOG_LEVEL".
struct given {
  std::string text;
  std::string where;
};
using given_values = std::map<std::string, given, std::less<>>;

/// A file's options and tables.
struct file_values {
  given_values options;
  std::vector<std::map<std::string, given, std::less<>>> providers;
  std::vector<std::map<std::string, given, std::less<>>> models;
  std::vector<std::string> provider_places, model_places; // file:line of each table
};

/// Looks up a variable of the environment.
using environment = std::map<std::string, std::string, std::less<>>;

struct command_line {
  std::string command; // serve, version, config-default, config-show, check-config
  given_values flags;
  std::string help; // not empty: print it and leave
};

/// app/cli.cpp
command_line read_command_line(int argc, const char* const* argv);
/// app/config_file.cpp: `text` is TOML; `path` is for messages only. Replaces ${NAME} in strings.
file_values read_config(std::string_view text, const std::string& path, const environment& env);

/// All sources together. `command` becomes serve, version, help, config-default, config-show or
/// check-config; what the last four ask for has been printed when this returns.
settings load_settings(int argc, char** argv, char** envp, std::string& command);
settings merge_settings(const given_values& flags, const environment& env, const file_values& file);

std::string usage_text();
/// The table as a TOML file with comments: `parlor config default`.
std::string default_config();
/// What is in force, as TOML, secrets shown as "***": `parlor config show`.
std::string show_config(const settings& s);

/// The name nearest to `name`, or empty when none is near.
std::string nearest(std::string_view name, const std::vector<std::string>& names);

/// 250ms, 10s, 5m, 24h, 0; bytes: 1024, 64KiB, 25MiB, 1GiB. Throw config_error with what is
/// allowed.
std::chrono::milliseconds parse_duration(std::string_view text);
std::uint64_t parse_size(std::string_view text);
std::int64_t parse_integer(std::string_view text);
bool parse_boolean(std::string_view text);
std::vector<std::string> parse_list(std::string_view text); // comma-separated

std::string format_duration(std::chrono::milliseconds d);
std::string format_size(std::uint64_t bytes);

} // namespace parlor
