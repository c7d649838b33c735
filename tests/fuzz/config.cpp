// A configuration file: settings, or one line that says what is wrong.

#include "app/options.hpp"

#include "fuzz.hpp"

using namespace parlor;

PARLOR_FUZZ(input) {
  const environment env{{"KEY", "secret"}};
  try {
    auto file = read_config(input, "parlor.toml", env);
    auto s = merge_settings({}, env, file);
    fuzz::must(!s.providers.empty() && !s.models.empty(), "there is someone to ask");
    auto shown = show_config(s);
    if (!s.server.key.empty())
      fuzz::must(shown.find("key = \"***\"") != shown.npos, "no key is shown");
  } catch (const config_error& e) {
    std::string_view what = e.what();
    fuzz::must(!what.empty(), "a mistake is said");
  }
}
