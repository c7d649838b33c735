#pragma once
// Everything an operator can set, as typed values. Plain data; any thread once loaded. Durations
// are milliseconds, sizes bytes. Names, defaults and help are in the one table of app/options.cpp.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace parlor {

struct pipeline; // protocol/pipeline.hpp
using pipeline_ptr = std::shared_ptr<const pipeline>;

enum class recovery : std::uint8_t { retry, fail };
enum class log_format : std::uint8_t { automatic, text, json };
enum class provider_kind : std::uint8_t { openai, rehearsal };

/// One [[provider]] of the file.
struct provider_settings {
  std::string name;
  provider_kind kind = provider_kind::openai;
  std::string base_url; // of an OpenAI-compatible API, up to and with /v1
  std::string api_key;  // a secret: never logged or shown
  std::size_t concurrency = 64;
  std::size_t queue = 1024;
  // Only for rehearsal; by default what rehearsal.* says.
  std::chrono::milliseconds first_token{0};
  double tokens_per_second = 0; // 0 = as fast as possible
  std::string script;           // path, or empty
};

/// One [[model]] of the file: the name clients use.
struct model_settings_entry {
  std::string name; // "" takes every name that no other model has
  std::string provider;
  std::string upstream_name; // "" = the name the client asked for
  std::optional<std::chrono::milliseconds> connect_timeout;
  std::optional<std::chrono::milliseconds> first_token_timeout;
  std::optional<std::chrono::milliseconds> token_timeout;
  std::optional<std::chrono::milliseconds> total_timeout;
  std::optional<int> attempts;
  bool is_default = false; // for requests that name none; exactly one
};

struct settings {
  std::string config_path; // the file that was read, or empty

  struct {
    std::string listen;     // host:port
    std::string key;        // a secret; empty = no key is asked for
    std::string public_url; // as others reach it; empty = as it listens
    std::vector<std::string> cors_origins;
    std::uint64_t max_body = 0;
    std::uint64_t body_memory = 0;
    std::chrono::milliseconds header_timeout{};
    std::chrono::milliseconds body_timeout{};
    std::chrono::milliseconds idle_timeout{};
    std::chrono::milliseconds write_timeout{};
    std::size_t threads = 0; // 0 = one a core
    std::size_t max_connections = 0;
    std::size_t max_connections_per_client = 0;
    std::vector<std::string> proxies; // as http::networks_of reads them
    std::size_t max_requests = 0;
    std::chrono::milliseconds max_connection_age{};
    std::size_t max_streams = 0;                  // 0 = nine tenths of max_connections
    std::chrono::milliseconds max_turn_wait{500}; // 0: turns are never refused for it
    std::chrono::milliseconds ping_interval{};
  } server;
  struct {
    std::string path;
  } store;
  struct {
    std::chrono::milliseconds idle_expiry{};
    std::chrono::milliseconds memory{};
    std::size_t max_turns = 0;
    std::size_t max_streams = 0;
    std::chrono::milliseconds disconnect_grace{};
    std::uint64_t turn_memory = 0;
    std::uint64_t token_budget = 0;
    std::size_t image_budget = 0; // bytes
    recovery recover = recovery::retry;
  } session;
  struct {
    std::chrono::milliseconds connect_timeout{};
    std::chrono::milliseconds first_token_timeout{};
    std::chrono::milliseconds token_timeout{};
    std::chrono::milliseconds total_timeout{};
    int attempts = 0;
    std::chrono::milliseconds backoff{};
    std::chrono::milliseconds retention{};
  } task;
  struct {
    std::size_t max_images = 0;
    std::uint64_t max_image_bytes = 0;
    std::chrono::milliseconds keepalive{};
  } learning;
  struct {
    std::string external_url; // of the service that makes plans; empty = there is none
    bool tokens = true;       // callbacks must carry the token of their task
    std::chrono::milliseconds result_timeout{};
    std::chrono::milliseconds stream_lifetime{};
  } plan;
  struct {
    std::string path;                 // a directory
    std::vector<pipeline_ptr> loaded; // for serve and check-config
  } pipelines;
  struct {
    std::chrono::milliseconds first_token{};
    double tokens_per_second = 0;
    bool allow_script = false;
  } rehearsal;
  struct {
    log_format format = log_format::automatic;
    std::string level; // trace debug info warn error off
  } log;
  struct {
    std::chrono::milliseconds timeout{};
  } drain;

  std::vector<provider_settings> providers; // never empty once loaded
  std::vector<model_settings_entry> models; // never empty once loaded
};

} // namespace parlor
