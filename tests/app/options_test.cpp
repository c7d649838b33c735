#include "support/catch.hpp"

#include "app/address.hpp"
#include "app/options.hpp"

using namespace parlor;
using namespace std::chrono_literals;

namespace {

template <class F>
std::string complaint(F f) {
  try {
    f();
  } catch (const config_error& e) {
    return e.what();
  }
  return "";
}

settings with(std::string_view file, const environment& env = {}, const given_values& flags = {}) {
  return merge_settings(flags, env, read_config(file, "parlor.toml", env));
}

std::string refused(std::string_view file, const environment& env = {}) {
  return complaint([&] { with(file, env); });
}

template <class... Words>
command_line line(Words... words) {
  const char* argv[] = {"parlor", words...};
  return read_command_line(1 + int{sizeof...(words)}, argv);
}

} // namespace

TEST_CASE("a flag wins over the environment, that over the file, that over the default") {
  CHECK(with("").store.path == "parlor.db");
  CHECK(with("store.path = 'file'").store.path == "file");
  environment env{{"PARLOR_STORE_PATH", "env"}};
  CHECK(with("store.path = 'file'", env).store.path == "env");
  auto flags = line("--store.path", "flag").flags;
  CHECK(with("store.path = 'file'", env, flags).store.path == "flag");
}

TEST_CASE("an address is checked where it was given") {
  CHECK(with("server.listen = '[::1]:0'").server.listen == "[::1]:0");
  for (auto bad :
       {"", "8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "host:1"})
    CHECK(refused("", {{"PARLOR_SERVER_LISTEN", bad}}) ==
          "PARLOR_SERVER_LISTEN: server.listen must be address:port, for example 127.0.0.1:8080");
  CHECK(unsafe_listener(with("")).empty());
  CHECK(unsafe_listener(with("server.listen = 'localhost:1'")).empty());
  CHECK_FALSE(unsafe_listener(with("server.listen = '0.0.0.0:1'")).empty());
  auto keyed = [](const std::string& key) {
    return unsafe_listener(with("server.listen = '0.0.0.0:1'\nserver.key = '" + key + "'"));
  };
  CHECK(keyed("0123456789abcdef").empty());
  CHECK(keyed("changeme").find("can be guessed") != std::string::npos);
  CHECK(unsafe_listener(with("server.key = 'k'")).empty()); // who is on this machine knows it
}

TEST_CASE("origins are as browsers send them") {
  for (auto good : {"https://a.example", "http://127.0.0.1:3000", "http://[::1]:8080",
                    "https://a.example:8443"})
    CHECK(with(std::string{"[server]\ncors_origins = ['"} + good + "']").server.cors_origins ==
          std::vector<std::string>{good});
  for (auto bad : {"*", "a", "a.b", "https://", "https://a.b/", "https://A.B", "https://a.b:443",
                   "http://a.b:80", "ftp://a.b", "https://a.b?c", "https://u@a.b", "null"})
    CHECK(refused(std::string{"[server]\ncors_origins = ['https://ok.example', '"} + bad + "']")
              .find("parlor.toml:2: server.cors_origins must be origins as browsers send them") ==
          0);
}

TEST_CASE("a secret is no flag, and a flag has a value") {
  CHECK(complaint([] {
          line("--server.key=0123456789abcdef");
        }).find("--server.key: others can read a command line; set PARLOR_SERVER_KEY") == 0);
  CHECK(complaint([] { line("--server.key", "0123456789abcdef"); }).find("--server.key: ") == 0);
  CHECK(complaint([] { line("--store.path=", "--log.level=info"); }) ==
        "--store.path needs a value");
}

TEST_CASE("a key goes over the internet encrypted, and is one line") {
  for (auto own : {"https://api.example.com/v1", "http://127.0.0.1:1/v1", "http://[::1]:1",
                   "http://localhost:11434/v1", "http://vllm:8000/v1", "http://10.1.2.3/v1",
                   "http://models.internal/v1", "http://192.168.0.4:80"})
    CHECK_FALSE(is_sent_in_the_open(own));
  for (auto open : {"http://api.example.com/v1", "http://8.8.8.8:80/v1", "http://api.example.com",
                    "http://localhost@api.example.com/v1", "http://[2600::1]/"})
    CHECK(is_sent_in_the_open(open));
  auto complaint_of = [](std::string url, std::string key) {
    return refused("", {{"OPENAI_API_KEY", key}, {"OPENAI_BASE_URL", url}});
  };
  CHECK(complaint_of("http://api.example.com/v1", "k").find("unencrypted") != std::string::npos);
  CHECK(complaint_of("https://api.example.com/v1", "k\r\nX: y").find("line break") !=
        std::string::npos);
  CHECK(complaint_of("localhost:11434/v1", "k") ==
        "the environment: OPENAI_BASE_URL must begin with http:// or https://");
  CHECK(refused("[[provider]]\nname='a'\nkind='openai'\nbase_url='http://a.b/v1'\napi_key='k'\n"
                "[[model]]\nname='m'")
            .find("unencrypted") != std::string::npos);
}

TEST_CASE("A4 an address is shown without what may be a password") {
  for (auto [is, shown] : {std::pair{"https://api.openai.com/v1", "https://api.openai.com/v1"},
                           {"http://me:pa@ss@host:1/v1", "http://***@host:1/v1"},
                           {"http://token@host", "http://***@host"},
                           {"http://host/a@b", "http://host/a@b"},
                           {"http://host/?to=a@b#c", "http://host/?***"},
                           {"https://u:p@[::1]/?key=k", "https://***@[::1]/?***"},
                           {"", ""}})
    CHECK(without_secrets(is) == shown);
}

TEST_CASE("a flag without its section is still near to the whole name") {
  CHECK(complaint([] { line("--listn=1"); }) ==
        "--listn: unknown option; did you mean --server.listen?");
  CHECK(complaint([] { line("--zzzzzz=1"); }) == "--zzzzzz: unknown option");
  CHECK(complaint([] { line("--server.listen"); }) == "--server.listen needs a value");
}

TEST_CASE("the defaults are typed") {
  auto s = with("");
  CHECK(s.server.max_body == 25u * 1024 * 1024);
  CHECK(s.server.idle_timeout == 75s);
  CHECK(s.session.idle_expiry == 30min);
  CHECK(s.task.attempts == 3);
  CHECK(s.task.retention == 24h);
  CHECK(s.session.recover == recovery::retry);
  CHECK_FALSE(s.rehearsal.allow_script);
}

TEST_CASE("an unknown name is refused with its place and the nearest name") {
  CHECK(refused("[server]\nlisen = 'x'") ==
        "parlor.toml:2: unknown key server.lisen; did you mean server.listen?");
  CHECK(refused("\n[sever]\n").find("parlor.toml:2: unknown key sever; did you mean server?") == 0);
  CHECK(refused("[[provider]]\nname='a'\nkinde='openai'") ==
        "parlor.toml:3: unknown key kinde; did you mean kind?");
  CHECK(refused("", {{"PARLOR_SERVER_LISTN", "x"}}) ==
        "PARLOR_SERVER_LISTN: unknown variable of the environment; did you mean "
        "PARLOR_SERVER_LISTEN?");
  CHECK(complaint([] { line("--server.lisen=x"); }) ==
        "--server.lisen: unknown option; did you mean --server.listen?");
  CHECK(complaint([] { line("--server.lisen", "x"); }) ==
        "--server.lisen: unknown option; did you mean --server.listen?");
  CHECK(complaint([] { line("serv"); }) == "serv: unknown command; did you mean serve?");
}

TEST_CASE("a bad value is refused with its place and what is allowed") {
  CHECK(refused("[task]\nbackoff = 'soon'") ==
        "parlor.toml:2: task.backoff must be a duration like 250ms, 10s, 5m or 24h");
  CHECK(refused("", {{"PARLOR_SERVER_THREADS", "-1"}}) ==
        "PARLOR_SERVER_THREADS: server.threads must be from 0 to 1024");
  CHECK(refused("log.format = 'xml'") ==
        "parlor.toml:1: log.format must be one of auto, text, json");
  CHECK(complaint([] { with("", {}, line("--server.max_body=big").flags); }) ==
        "--server.max_body must be a size like 65536, 64KiB or 25MiB");
  for (auto bad : {"example.org", "10.0.0.0/33", "local"})
    CHECK(refused(std::string{"[server]\nproxies = ['loopback', '"} + bad + "']") ==
          "parlor.toml:2: server.proxies must be of loopback, private, and addresses like "
          "192.0.2.1 or 2001:db8::/32");
  CHECK(with("server.proxies = []").server.proxies.empty());
  CHECK(refused("a = = 1").find("parlor.toml:1: ") == 0);
}

TEST_CASE("durations") {
  CHECK(parse_duration("250ms") == 250ms);
  CHECK(parse_duration("10s") == 10s);
  CHECK(parse_duration("5m") == 5min);
  CHECK(parse_duration("24h") == 24h);
  CHECK(parse_duration("0") == 0ms);
  for (auto* bad : {"", "10", "s", "-1s", "1.5s", "1 s", "1d", "99999999999999999h"})
    CHECK_THROWS_AS(parse_duration(bad), config_error);
  CHECK(format_duration(90s) == "90s");
  CHECK(format_duration(24h) == "24h");
  CHECK(format_duration(0ms) == "0ms");
}

TEST_CASE("sizes and lists") {
  CHECK(parse_size("65536") == 65536);
  CHECK(parse_size("64KiB") == 65536);
  CHECK(parse_size("1GiB") == 1ull << 30);
  for (auto* bad : {"", "-1", "1KB", "1.5MiB", "99999999999GiB"})
    CHECK_THROWS_AS(parse_size(bad), config_error);
  CHECK(parse_list(" a, b ,,c") == std::vector<std::string>{"a", "b", "c"});
  CHECK(with("server.cors_origins = ['https://a', 'https://b']").server.cors_origins ==
        std::vector<std::string>{"https://a", "https://b"});
}

TEST_CASE("without providers: the OpenAI API with a key, the rehearsal without") {
  auto s = with("rehearsal.tokens_per_second = 7");
  REQUIRE(s.providers.size() == 1);
  CHECK(s.providers[0].kind == provider_kind::rehearsal);
  CHECK(s.providers[0].tokens_per_second == 7);
  REQUIRE(s.models.size() == 2);
  CHECK(s.models[0].name == "rehearsal");
  CHECK(s.models[0].is_default);
  CHECK(s.models[1].name.empty()); // it plays whatever model a client names
  s = with("", {{"OPENAI_API_KEY", "k"}, {"OPENAI_BASE_URL", "http://x/v1/"}});
  CHECK(s.providers.at(0).base_url == "http://x/v1");
  CHECK(s.providers.at(0).api_key == "k");
  REQUIRE(s.models.size() == 2);
  CHECK(s.models[0].name == "gpt-4o-mini");
  CHECK(s.models[1].name.empty()); // any name is passed on
  s = with("", {{"OPENAI_API_KEY", "k"}, {"OPENAI_BASE_URL", ""}});
  CHECK(s.providers.at(0).base_url == "https://api.openai.com/v1");
  s = with("", {{"OPENAI_BASE_URL", "http://127.0.0.1:11434/v1"}, {"OPENAI_MODEL", "small"}});
  CHECK(s.providers.at(0).kind == provider_kind::openai);
  CHECK(s.providers.at(0).base_url == "http://127.0.0.1:11434/v1");
  CHECK(s.providers.at(0).api_key.empty());
  CHECK(s.models.at(0).name == "small");
}

TEST_CASE("providers and models of the file") {
  auto s = with(R"(
[[provider]]
name = "deep"
kind = "openai"
base_url = "https://api.example.com/v1"
api_key = "${KEY}"
concurrency = 8
[[model]]
name = "chat"
provider = "deep"
upstream_name = "deep-chat"
token_timeout = "5s"
attempts = 1
)",
                {{"KEY", "secret"}});
  REQUIRE(s.providers.size() == 1);
  CHECK(s.providers[0].api_key == "secret");
  CHECK(s.providers[0].concurrency == 8);
  REQUIRE(s.models.size() == 1);
  CHECK(s.models[0].is_default);
  CHECK(s.models[0].token_timeout == std::optional<std::chrono::milliseconds>{5s});
  CHECK_FALSE(s.models[0].total_timeout);
  CHECK(show_config(s).find("secret") == std::string::npos);
  CHECK(refused("[[provider]]\nname='a'\nkind='openai'\napi_key='${NOPE}'") ==
        "parlor.toml:4: ${NOPE} is not set in the environment");
  CHECK(refused("[[provider]]\nname='deep'\nkind='rehearsal'\n[[model]]\nname='m'\n"
                "provider='depe'") ==
        "parlor.toml:4: model m names an unknown provider depe; did you mean deep?");
}

TEST_CASE("the commands") {
  CHECK(line().command == "serve");
  CHECK(line("serve", "--log.level", "debug").flags.at("log.level").text == "debug");
  CHECK(line("config", "default").command == "config-default");
  CHECK(line("config", "show").command == "config-show");
  CHECK(line("check-config", "--config=x").command == "check-config");
  CHECK(line("--help").help == usage_text());
}

TEST_CASE("the default file says the defaults, and what is shown can be read back") {
  auto s = with(default_config());
  CHECK(show_config(s) == show_config(with("")));
  CHECK(show_config(with(show_config(s))) == show_config(s));
  environment key{{"OPENAI_API_KEY", "k"}};
  CHECK(show_config(with(show_config(with("", key)))) == show_config(with("", key)));
}
