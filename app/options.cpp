// The one table of options, and what is written out from it.

#include "app/options.hpp"

#include "app/address.hpp"
#include "app/pipeline_file.hpp"
#include "http/network.hpp"
#include "protocol/callback_token.hpp"

#include <algorithm>
#include <cctype>

namespace parlor {

namespace {

using enum option_type;
using text = const std::string&;

template <class T>
T bounded(text t, std::int64_t low, std::int64_t high) {
  auto n = parse_integer(t);
  if (n < low || n > high)
    throw config_error("must be from " + std::to_string(low) + " to " + std::to_string(high));
  return static_cast<T>(n);
}

std::chrono::milliseconds positive(text t) {
  auto d = parse_duration(t);
  if (d.count() <= 0)
    throw config_error("must be more than 0");
  return d;
}

constexpr std::int64_t million = 1'000'000;

std::string public_address(text t) {
  if (t.empty())
    return t;
  auto base = public_base(t);
  if (!base)
    throw config_error("must be an http or https address without a query");
  return *base;
}

std::vector<std::string> networks(text t) {
  auto items = parse_list(t);
  for (auto& i : items)
    if (http::networks_of(i).empty())
      throw config_error("must be of loopback, private, and addresses like 192.0.2.1 or "
                         "2001:db8::/32");
  return items;
}

/// As browsers send them (RFC 6454 section 6.2): others would never match, and what is no address
/// must not be taken for one that is trusted.
std::vector<std::string> origins(text t) {
  auto items = parse_list(t);
  for (auto& i : items) {
    auto host = i.starts_with("https://") ? 8U : i.starts_with("http://") ? 7U : 0U;
    auto fit = [](unsigned char c) {
      return std::isdigit(c) != 0 || std::islower(c) != 0 ||
             std::string_view{"-._[]:"}.find(static_cast<char>(c)) != std::string_view::npos;
    };
    if (host == 0 || i.size() == host || !std::all_of(i.begin() + host, i.end(), fit))
      throw config_error("must be origins as browsers send them, like https://app.example.org");
    if (i.ends_with(host == 8 ? ":443" : ":80"))
      throw config_error("must be origins as browsers send them, which is without " +
                         i.substr(i.rfind(':')));
  }
  return items;
}

// clang-format off
constexpr option table[] = {
  {"server.listen", string, "127.0.0.1:8080", "", "address and port to listen on; port 0 takes a free one",
   [](settings& s, text t) { split_address(t); s.server.listen = t; }},
  {"server.key", secret, "", "", "the key clients must send as a bearer token; empty asks for none",
   [](settings& s, text t) { s.server.key = t; }},
  {"server.public_url", string, "", "", "this server's address as others reach it; empty is where it listens",
   [](settings& s, text t) { s.server.public_url = public_address(t); }},
  {"server.cors_origins", list, "", "", "origins, comma-separated, whose pages may call",
   [](settings& s, text t) { s.server.cors_origins = origins(t); }},
  {"server.max_body", size, "25MiB", "", "largest request body",
   [](settings& s, text t) { s.server.max_body = parse_size(t); }},
  {"server.body_memory", size, "256MiB", "", "for bodies and WebSocket messages that are not answered yet, all together",
   [](settings& s, text t) { s.server.body_memory = parse_size(t); }},
  {"server.header_timeout", duration, "10s", "", "for the head of a request to arrive",
   [](settings& s, text t) { s.server.header_timeout = positive(t); }},
  {"server.body_timeout", duration, "10s", "", "for the body of a request to go on, and a second more for each 16 KiB that comes",
   [](settings& s, text t) { s.server.body_timeout = positive(t); }},
  {"server.idle_timeout", duration, "75s", "", "an unused connection is kept for this long",
   [](settings& s, text t) { s.server.idle_timeout = parse_duration(t); }},
  {"server.write_timeout", duration, "30s", "", "a client that takes no byte for this long is cut",
   [](settings& s, text t) { s.server.write_timeout = positive(t); }},
  {"server.threads", integer, "0", "", "threads for connections, as many as are needed up to this; 0 is one for each core",
   [](settings& s, text t) { s.server.threads = bounded<std::size_t>(t, 0, 1024); }},
  {"server.max_connections", integer, "10000", "", "connections at once; more wait in the kernel",
   [](settings& s, text t) { s.server.max_connections = bounded<std::size_t>(t, 1, million); }},
  {"server.max_connections_per_client", integer, "64", "", "connections at once from one address (IPv6: /64)",
   [](settings& s, text t) { s.server.max_connections_per_client = bounded<std::size_t>(t, 1, million); }},
  {"server.proxies", list, "loopback,private", "", "addresses and networks that connect for many clients: they are not counted",
   [](settings& s, text t) { s.server.proxies = networks(t); }},
  {"server.max_requests", integer, "1000", "", "requests on one connection, which is closed then",
   [](settings& s, text t) { s.server.max_requests = bounded<std::size_t>(t, 1, million * 1000); }},
  {"server.max_connection_age", duration, "1h", "", "a connection this old is closed after its next answer",
   [](settings& s, text t) { s.server.max_connection_age = positive(t); }},
  {"server.max_streams", integer, "0", "", "streams and WebSockets at once; 0 is nine tenths of server.max_connections",
   [](settings& s, text t) { s.server.max_streams = bounded<std::size_t>(t, 0, million); }},
  {"server.max_turn_wait", duration, "500ms", "", "a turn is refused if it would wait longer than this to be accepted; 0 never",
   [](settings& s, text t) { s.server.max_turn_wait = parse_duration(t); }},
  {"server.ping_interval", duration, "20s", "", "a WebSocket client silent for this long is asked whether it is there",
   [](settings& s, text t) { s.server.ping_interval = positive(t); }},
  {"store.path", string, "parlor.db", "", "the database file, made when missing",
   [](settings& s, text t) { s.store.path = t; }},
  {"session.idle_expiry", duration, "30m", "", "a session nobody uses for this long is deleted; 0 never",
   [](settings& s, text t) { s.session.idle_expiry = parse_duration(t); }},
  {"session.memory", duration, "60s", "", "an idle session stays in memory for this long",
   [](settings& s, text t) { s.session.memory = parse_duration(t); }},
  {"session.max_turns", integer, "16", "", "turns of one session that may run or wait",
   [](settings& s, text t) { s.session.max_turns = bounded<std::size_t>(t, 1, million); }},
  {"session.max_streams", integer, "1024", "", "streams and WebSockets that may watch one session",
   [](settings& s, text t) { s.session.max_streams = bounded<std::size_t>(t, 1, million); }},
  {"session.disconnect_grace", duration, "10s", "", "a turn with cancel_on_disconnect goes on this long when its client has gone",
   [](settings& s, text t) { s.session.disconnect_grace = parse_duration(t); }},
  {"session.turn_memory", size, "512MiB", "", "for what has been said in turns that run or wait, of all sessions together",
   [](settings& s, text t) { s.session.turn_memory = parse_size(t); }},
  {"session.token_budget", integer, "100000", "", "tokens of history sent to the model with a turn",
   [](settings& s, text t) { s.session.token_budget = bounded<std::uint64_t>(t, 1, million * million); }},
  {"session.image_budget", size, "8MiB", "", "of earlier turns' images sent with a turn, as they are sent; its own always are",
   [](settings& s, text t) { s.session.image_budget = parse_size(t); }},
  {"session.recover", string, "retry", "retry|fail", "what becomes of turns a restart found unfinished",
   [](settings& s, text t) { s.session.recover = t == "fail" ? recovery::fail : recovery::retry; }},
  {"task.connect_timeout", duration, "10s", "", "to connect to the model's provider",
   [](settings& s, text t) { s.task.connect_timeout = parse_duration(t); }},
  {"task.first_token_timeout", duration, "120s", "", "from the call to the first token",
   [](settings& s, text t) { s.task.first_token_timeout = parse_duration(t); }},
  {"task.token_timeout", duration, "90s", "", "between two tokens",
   [](settings& s, text t) { s.task.token_timeout = parse_duration(t); }},
  {"task.total_timeout", duration, "10m", "", "for all attempts of a turn together, from its first call",
   [](settings& s, text t) { s.task.total_timeout = parse_duration(t); }},
  {"task.attempts", integer, "3", "", "calls made for a turn before it fails",
   [](settings& s, text t) { s.task.attempts = bounded<int>(t, 1, 100); }},
  {"task.backoff", duration, "1s", "", "before the second attempt; doubles with each",
   [](settings& s, text t) { s.task.backoff = parse_duration(t); }},
  {"task.retention", duration, "24h", "", "a finished task stays readable for this long",
   [](settings& s, text t) { s.task.retention = parse_duration(t); }},
  {"learning.max_images", integer, "10", "", "images of one question",
   [](settings& s, text t) { s.learning.max_images = bounded<std::size_t>(t, 0, 1000); }},
  {"learning.max_image_bytes", size, "20MiB", "", "of a question's images in all, decoded",
   [](settings& s, text t) { s.learning.max_image_bytes = parse_size(t); }},
  {"learning.keepalive", duration, "5s", "", "a WebSocket with an open question is silent no longer",
   [](settings& s, text t) { s.learning.keepalive = positive(t); }},
  {"plan.external_url", string, "", "", "the service that makes plans and calls back; also EXTERNAL_API_URL",
   [](settings& s, text t) { s.plan.external_url = service_address(t); }},
  {"plan.tokens", boolean, "true", "", "callbacks must carry the token they were given in their URL",
   [](settings& s, text t) { s.plan.tokens = parse_boolean(t); }},
  {"plan.result_timeout", duration, "3m", "", "for the service to call back once it has taken a request",
   [](settings& s, text t) { s.plan.result_timeout = parse_duration(t); }},
  {"plan.stream_lifetime", duration, "30m", "", "a page's stream of plans ends after this, and comes back",
   [](settings& s, text t) { s.plan.stream_lifetime = parse_duration(t); }},
  {"pipelines.path", string, default_pipelines_path, "", "the directory of the pipelines' files; empty for none",
   [](settings& s, text t) { s.pipelines.path = t; }},
  {"rehearsal.first_token", duration, "0ms", "", "the built-in model waits this long before it answers",
   [](settings& s, text t) { s.rehearsal.first_token = parse_duration(t); }},
  {"rehearsal.tokens_per_second", integer, "0", "", "how fast the built-in model writes; 0 is at once",
   [](settings& s, text t) { s.rehearsal.tokens_per_second = bounded<double>(t, 0, million); }},
  {"rehearsal.allow_script", boolean, "false", "", "lets requests script the built-in model; for tests",
   [](settings& s, text t) { s.rehearsal.allow_script = parse_boolean(t); }},
  {"log.format", string, "auto", "auto|text|json", "auto is text on a terminal, JSON lines otherwise",
   [](settings& s, text t) {
     s.log.format = t == "text" ? log_format::text : t == "json" ? log_format::json : log_format::automatic; }},
  {"log.level", string, "info", "trace|debug|info|warn|error|off", "the least that is logged",
   [](settings& s, text t) { s.log.level = t; }},
  {"drain.timeout", duration, "30s", "", "running turns may take this long to finish at the end",
   [](settings& s, text t) { s.drain.timeout = parse_duration(t); }},
};
// clang-format on

// toml++ reads these back as they are.
std::string toml_text(std::string_view t) {
  std::string out = "\"";
  for (char c : t) {
    if (c == '"' || c == '\\')
      out += '\\';
    if (static_cast<unsigned char>(c) < 0x20) {
      constexpr char hex[] = "0123456789abcdef";
      out += "\\u00";
      out += hex[(c >> 4) & 15];
      out += hex[c & 15];
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string toml_value(const option& o, const std::string& value) {
  switch (o.type) {
  case integer:
  case boolean:
    return value;
  case list: {
    std::string out = "[";
    for (auto& item : parse_list(value))
      out += (out.size() > 1 ? ", " : "") + toml_text(item);
    return out + "]";
  }
  default:
    return toml_text(value);
  }
}

} // namespace

std::span<const option> option_table() { return table; }

std::string option::flag() const { return "--" + std::string{name}; }

std::string option::variable() const {
  std::string out = "PARLOR_";
  for (char c : name)
    out += c == '.' ? '_' : c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return out;
}

std::string_view to_string(option_type t) noexcept {
  constexpr std::string_view names[] = {"text", "number", "true|false", "duration",
                                        "size", "list",   "secret"};
  return names[static_cast<std::size_t>(t)];
}

std::string usage_text() {
  std::string out =
      "Usage: parlor [serve] [--name=value ...]\n"
      "       parlor version\n"
      "       parlor config default|show\n"
      "       parlor check-config\n\n"
      "Every option is a flag, an environment variable (PARLOR_SERVER_LISTEN) and a key of\n"
      "the file, in this order of precedence; but secrets are no flags, as others can read\n"
      "them. The names of the models and their providers are in the file only.\n\n"
      "  --config FILE\n      a TOML file (PARLOR_CONFIG)\n";
  for (auto& o : table) {
    out += "  " + (o.type == option_type::secret ? o.variable() : o.flag()) + " " +
           std::string{o.allowed.empty() ? to_string(o.type) : o.allowed};
    if (!o.value.empty())
      out += "  [" + std::string{o.value} + "]";
    out += "\n      " + std::string{o.help} + "\n";
  }
  return out;
}

namespace {

template <class Value>
std::string write_config(bool comments, Value value) {
  std::string out, section;
  for (auto& o : table) {
    auto dot = o.name.find('.');
    auto here = std::string{o.name.substr(0, dot)};
    if (here != section) {
      out += (out.empty() ? "[" : "\n[") + here + "]\n";
      section = here;
    }
    if (comments) {
      out += "# " + std::string{o.help} + " (" + o.variable();
      if (!o.allowed.empty())
        out += "; " + std::string{o.allowed};
      out += ")\n";
    }
    out += std::string{o.name.substr(dot + 1)} + " = " + toml_value(o, value(o)) + "\n";
  }
  return out;
}

} // namespace

std::string default_config() {
  auto out = write_config(true, [](const option& o) { return std::string{o.value}; });
  return out + R"(
# Where models come from. Without any, the OpenAI API is used when OPENAI_API_KEY is set, and the
# built-in rehearsal model otherwise. ${NAME} is replaced by that variable of the environment.
#
# [[provider]]
# name = "openai"
# kind = "openai"            # or "rehearsal"
# base_url = "https://api.openai.com/v1"
# api_key = "${OPENAI_API_KEY}"
# concurrency = 64           # calls at once
# queue = 1024               # calls that may wait
#
# [[model]]
# name = "gpt-4o-mini"       # what clients ask for; "*" is every name no other model has
# provider = "openai"
# upstream_name = ""         # what the provider calls it, when different
# default = true
# first_token_timeout = "120s" # also connect_timeout, token_timeout, total_timeout, attempts
)";
}

std::string show_config(const settings& s) {
  auto join = [](const std::vector<std::string>& items) {
    std::string out;
    for (auto& i : items)
      out += (out.empty() ? "" : ",") + i;
    return out;
  };
  auto d = [](std::chrono::milliseconds v) { return format_duration(v); };
  auto n = [](auto v) { return std::to_string(static_cast<std::int64_t>(v)); };
  const char* formats[] = {"auto", "text", "json"};
  const std::map<std::string_view, std::string> now{
      {"server.listen", s.server.listen},
      {"server.key", s.server.key.empty() ? "" : "***"},
      {"server.public_url", s.server.public_url},
      {"server.cors_origins", join(s.server.cors_origins)},
      {"server.max_body", format_size(s.server.max_body)},
      {"server.body_memory", format_size(s.server.body_memory)},
      {"server.header_timeout", d(s.server.header_timeout)},
      {"server.body_timeout", d(s.server.body_timeout)},
      {"server.idle_timeout", d(s.server.idle_timeout)},
      {"server.write_timeout", d(s.server.write_timeout)},
      {"server.threads", n(s.server.threads)},
      {"server.max_connections", n(s.server.max_connections)},
      {"server.max_connections_per_client", n(s.server.max_connections_per_client)},
      {"server.proxies", join(s.server.proxies)},
      {"server.max_requests", n(s.server.max_requests)},
      {"server.max_connection_age", d(s.server.max_connection_age)},
      {"server.max_streams", n(s.server.max_streams)},
      {"server.max_turn_wait", d(s.server.max_turn_wait)},
      {"server.ping_interval", d(s.server.ping_interval)},
      {"store.path", s.store.path},
      {"session.idle_expiry", d(s.session.idle_expiry)},
      {"session.memory", d(s.session.memory)},
      {"session.max_turns", n(s.session.max_turns)},
      {"session.max_streams", n(s.session.max_streams)},
      {"session.disconnect_grace", d(s.session.disconnect_grace)},
      {"session.turn_memory", format_size(s.session.turn_memory)},
      {"session.token_budget", n(s.session.token_budget)},
      {"session.image_budget", format_size(s.session.image_budget)},
      {"session.recover", s.session.recover == recovery::fail ? "fail" : "retry"},
      {"task.connect_timeout", d(s.task.connect_timeout)},
      {"task.first_token_timeout", d(s.task.first_token_timeout)},
      {"task.token_timeout", d(s.task.token_timeout)},
      {"task.total_timeout", d(s.task.total_timeout)},
      {"task.attempts", n(s.task.attempts)},
      {"task.backoff", d(s.task.backoff)},
      {"task.retention", d(s.task.retention)},
      {"learning.max_images", n(s.learning.max_images)},
      {"learning.max_image_bytes", format_size(s.learning.max_image_bytes)},
      {"learning.keepalive", d(s.learning.keepalive)},
      {"plan.external_url", without_secrets(s.plan.external_url)},
      {"plan.tokens", s.plan.tokens ? "true" : "false"},
      {"plan.result_timeout", d(s.plan.result_timeout)},
      {"plan.stream_lifetime", d(s.plan.stream_lifetime)},
      {"pipelines.path", s.pipelines.path},
      {"rehearsal.first_token", d(s.rehearsal.first_token)},
      {"rehearsal.tokens_per_second", n(s.rehearsal.tokens_per_second)},
      {"rehearsal.allow_script", s.rehearsal.allow_script ? "true" : "false"},
      {"log.format", formats[static_cast<std::size_t>(s.log.format)]},
      {"log.level", s.log.level},
      {"drain.timeout", d(s.drain.timeout)},
  };
  auto out = write_config(false, [&](const option& o) { return now.at(o.name); });
  for (auto& p : s.providers) {
    out += "\n[[provider]]\nname = " + toml_text(p.name) +
           "\nkind = " + (p.kind == provider_kind::openai ? "\"openai\"" : "\"rehearsal\"") +
           "\nconcurrency = " + n(p.concurrency) + "\nqueue = " + n(p.queue) + "\n";
    if (!p.base_url.empty())
      out += "base_url = " + toml_text(without_secrets(p.base_url)) + "\n";
    if (!p.api_key.empty())
      out += "api_key = \"***\"\n";
  }
  for (auto& m : s.models) {
    out += "\n[[model]]\nname = " + toml_text(m.name.empty() ? "*" : m.name) +
           "\nprovider = " + toml_text(m.provider) +
           "\nupstream_name = " + toml_text(m.upstream_name) +
           "\ndefault = " + (m.is_default ? "true" : "false") + "\n";
    for (auto& [name, own] :
         {std::pair{"connect_timeout", m.connect_timeout},
          std::pair{"first_token_timeout", m.first_token_timeout},
          std::pair{"token_timeout", m.token_timeout}, std::pair{"total_timeout", m.total_timeout}})
      if (own)
        out += std::string{name} + " = " + toml_text(d(*own)) + "\n";
    if (m.attempts)
      out += "attempts = " + n(*m.attempts) + "\n";
  }
  return out;
}

} // namespace parlor
