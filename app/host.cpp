#include "app/host.hpp"

#include "actors/asio_scheduler.hpp"
#include "actors/edge.hpp"
#include "actors/instrument.hpp"
#include "actors/keeper.hpp"
#include "actors/lobby.hpp"
#include "actors/own_thread.hpp"
#include "app/address.hpp"
#include "app/api.hpp"
#include "app/logging.hpp"
#include "app/metrics.hpp"
#include "app/version.hpp"
#include "http/server.hpp"
#include "llm/openai.hpp"
#include "llm/rehearsal.hpp"
#include "protocol/callback_token.hpp"
#include "protocol/dialects/plan_callback.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>

#include <condition_variable>
#include <cstdlib>
#include <map>
#include <mutex>
#include <random>
#include <thread>

namespace parlor {

namespace {

std::int64_t wall_clock() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

double jitter() {
  static thread_local std::mt19937_64 engine{std::random_device{}()};
  return std::uniform_real_distribution<>{0, 1}(engine);
}

/// The configured models by name, and who serves what nobody has named.
struct catalogue {
  std::map<std::string, std::shared_ptr<const model_entry>, std::less<>> by_name;
  std::shared_ptr<const model_entry> standard;
  std::shared_ptr<const model_entry> any;
  std::vector<std::pair<std::string, std::shared_ptr<llm::limiter>>> limits;
  std::vector<metrics_sources::model> calls;

  std::shared_ptr<const model_entry> find(const std::string& name) const {
    if (name.empty())
      return standard;
    if (auto i = by_name.find(name); i != by_name.end())
      return i->second;
    return any;
  }
};

catalogue make_catalogue(boost::asio::io_context& io, const settings& config) {
  catalogue c;
  struct served {
    llm::provider_ptr provider;
    std::shared_ptr<llm::limiter> limit;
  };
  std::map<std::string, served> providers;
  for (auto& p : config.providers) {
    served s;
    if (p.kind == provider_kind::rehearsal)
      s.provider = llm::make_rehearsal(io, {p.first_token, p.tokens_per_second, p.script});
    else
      s.provider =
          llm::make_openai(io, {p.base_url, p.api_key, p.name, p.concurrency, run_to_completion});
    s.limit = llm::make_limiter(p.concurrency, p.queue);
    c.limits.emplace_back(p.name, s.limit);
    providers.emplace(p.name, std::move(s));
  }
  for (auto& m : config.models) {
    auto& s = providers.at(m.provider);
    auto e = std::make_shared<model_entry>();
    e->name = m.name.empty() ? m.upstream_name : m.name;
    e->upstream_name = m.name.empty() ? std::string{} : m.upstream_name;
    e->provider = s.provider;
    e->provider_name = m.provider;
    e->limit = s.limit;
    e->connect = m.connect_timeout.value_or(config.task.connect_timeout);
    e->first_token = m.first_token_timeout.value_or(config.task.first_token_timeout);
    e->between_tokens = m.token_timeout.value_or(config.task.token_timeout);
    e->total = m.total_timeout.value_or(config.task.total_timeout);
    e->backoff.attempts = static_cast<std::uint32_t>(m.attempts.value_or(config.task.attempts));
    e->backoff.first = config.task.backoff;
    e->any_name = m.name.empty();
    c.calls.push_back({m.provider, e->any_name ? "*" : e->name, e->seen});
    if (e->any_name)
      c.any = e;
    else
      c.by_name.emplace(m.name, e);
    if (m.is_default || !c.standard)
      c.standard = e;
  }
  return c;
}

std::string own_address(const std::string& host, unsigned port) {
  auto shown = host.find(':') == std::string::npos ? host : '[' + host + ']';
  return "http://" + shown + ':' + std::to_string(port);
}

/// The service that makes plans. It is called by the rules that models are called by.
template <class CallbackUrl>
external_service_ptr make_service(boost::asio::io_context& io, const settings& config,
                                  CallbackUrl callback_at) {
  auto service = std::make_shared<external_service>();
  service->url = config.plan.external_url;
  service->poster = llm::make_poster(io);
  service->request = [callback_at](const task_order& order, std::uint32_t attempt) {
    auto& h = *order.header;
    return plan_callback::outbound_json(h.session, order.messages.back().content,
                                        callback_at({{}, h.session}, h.id, attempt));
  };
  service->connect = config.task.connect_timeout;
  service->result = config.plan.result_timeout;
  service->backoff.attempts = static_cast<std::uint32_t>(config.task.attempts);
  service->backoff.first = config.task.backoff;
  service->backoff.jitter = 0; // the contract's 1 s and 2 s
  return service;
}

void print_welcome(const settings& config, const std::string& base) {
  std::printf("Parlor %s\n"
              "  listening   %s\n"
              "  API page    %s/docs\n"
              "  model       %s (%s)\n"
              "  store       %s\n\n"
              "Try it:\n"
              "  curl -N %s/api/chat/stream -H 'Content-Type: application/json'%s -d "
              "'{\"message\": \"Hello, I am Zhang San\", "
              "\"conversation_id\": \"user_001\"}'\n\n",
              std::string{version()}.c_str(), base.c_str(), base.c_str(),
              config.models.front().name.c_str(), config.models.front().provider.c_str(),
              config.store.path.c_str(), base.c_str(),
              config.server.key.empty() ? "" : " -H \"Authorization: Bearer $PARLOR_SERVER_KEY\"");
  std::fflush(stdout);
}

} // namespace

int serve(const settings& config) {
  auto [host, port] = split_address(config.server.listen);
  auto threads = config.server.threads != 0 ? config.server.threads
                                            : std::max(1U, std::thread::hardware_concurrency());
  boost::asio::io_context io{static_cast<int>(threads)}; // one alone needs to wake no other

  auto storage = store::open_sqlite(config.store.path);
  auto models = make_catalogue(io, config);
  std::atomic<bool> draining{false}, store_failed{false};

  caf::actor_system_config actor_config;
  host_on(actor_config, io, threads);
  std::mutex mutex;
  std::condition_variable told;
  int signals = 0;
  {
    // Filled below and then never changed: they are read by actors and connections for as long as
    // the pool of `system` runs.
    std::vector<lobby_actor> lobbies;
    std::vector<edge_actor> edges;
    own_thread keeper_thread{"keeper"}, archive_thread{"archive"};
    caf::actor_system system{actor_config};
    keeper_options keeping;
    keeping.task_retention = config.task.retention;
    keeping.wall = wall_clock;
    keeping.on_broken = [&](const std::string& why) {
      store_failed = true;
      log(log_level::error, "store_failed", {{"error", why}});
      flush_logs();
      std::_Exit(70); // nothing that was not durable has been acknowledged; nothing more may be
    };
    auto keep = keeper_thread.spawn(
        system, keeper, std::shared_ptr<store::writer>{storage->open_writer()}, keeping);
    auto recall = archive_thread.spawn(system, archive,
                                       std::shared_ptr<store::reader>{storage->open_reader()});

    auto world = std::make_shared<session_world>();
    world->epoch = storage->epoch();
    world->keeper = keep;
    world->archive = recall;
    world->limits.max_turns = config.session.max_turns;
    world->limits.token_budget = static_cast<std::int64_t>(config.session.token_budget);
    world->limits.image_bytes = config.session.image_budget;
    world->limits.retry_interrupted = config.session.recover == recovery::retry;
    world->turn_memory = std::make_shared<byte_room>(
        std::max(config.session.turn_memory, config.server.max_body), all_turns.bytes);
    world->idle_expiry = config.session.idle_expiry;
    world->memory_for = config.session.memory;
    world->find_model = [&models](const std::string& name) { return models.find(name); };
    auto find_pipeline = [&config](const std::string& name) -> pipeline_ptr {
      for (auto& p : config.pipelines.loaded)
        if (p->name == name)
          return p;
      return nullptr;
    };
    world->find_pipeline = find_pipeline;
    world->wall = wall_clock;
    world->random = jitter;

    auto port_now = std::make_shared<std::atomic<unsigned>>(static_cast<unsigned>(port));
    std::shared_ptr<const callback_signer> signer;
    if (config.plan.tokens)
      signer = std::make_shared<const callback_signer>(storage->secret());
    auto callback_at = [signer, port_now, host = host, base = config.server.public_url](
                           const session_key& key, const std::string& task, std::uint32_t attempt) {
      return callback_url(base.empty() ? own_address(host, *port_now) : base, key.id,
                          signer ? signer->sign(key, task, attempt) : std::string{});
    };
    if (!config.plan.external_url.empty())
      world->external = make_service(io, config, callback_at);

    auto lost = [&edges](const session_key& key) {
      auto shared = std::make_shared<const session_key>(key);
      for (auto& e : edges)
        caf::anon_send(e, session_lost{shared});
    };
    for (std::size_t i = 0; i < threads; ++i)
      lobbies.push_back(system.spawn(lobby, session_world_ptr{world},
                                     lobby_options{std::chrono::seconds{60}, i, threads, lost}));
    auto door = [&lobbies](const session_key& key) -> door_actor {
      return lobbies[std::hash<session_key>{}(key) % lobbies.size()];
    };
    edge_options edging;
    edging.epoch = storage->epoch();
    edging.door = door;
    edging.archive = recall;
    edging.wall = wall_clock;
    edging.draining = [&] { return draining.load(); };
    edging.sockets.limits.max_images = config.learning.max_images;
    edging.sockets.limits.max_image_bytes = config.learning.max_image_bytes;
    edging.sockets.keepalive = config.learning.keepalive;
    edging.sockets.wire.ping_every = config.server.ping_interval;
    edging.sockets.allow_script = config.rehearsal.allow_script;
    if (world->external)
      edging.callback_url = callback_at;
    edging.max_streams = config.server.max_streams != 0 ? config.server.max_streams
                                                        : config.server.max_connections * 9 / 10;
    edging.max_session_streams = config.session.max_streams;
    edging.disconnect_grace = config.session.disconnect_grace;
    edging.gate = std::make_shared<turn_gate>(config.server.max_turn_wait);
    edging.stream_lifetime = config.plan.stream_lifetime;
    for (std::size_t i = 0; i < threads; ++i) {
      edging.counts_plans = i == 0 && world->external;
      edges.push_back(system.spawn(edge, edging));
    }

    http::server* web = nullptr;
    api_options routes;
    routes.key = config.server.key;
    routes.cors_origins = config.server.cors_origins;
    routes.epoch = storage->epoch();
    routes.plans = !config.plan.external_url.empty();
    routes.signer = signer;
    routes.allow_script = config.rehearsal.allow_script;
    routes.edge_for = [&edges](const std::string& by) {
      return edges[std::hash<std::string>{}(by) % edges.size()];
    };
    routes.find_pipeline = find_pipeline;
    routes.wall = wall_clock;
    routes.gate = edging.gate;
    routes.draining = [&] { return draining.load(); };
    routes.healthy = [&] { return !store_failed.load(); };
    routes.metrics = [&] {
      return metrics_text({web != nullptr ? &web->stats() : nullptr, models.limits, models.calls,
                           config.store.path, draining.load()});
    };
    routes.actors = actors_json;
    routes.stream_actors = [&io](http::exchange_ptr e, std::vector<http::header> h) {
      stream_actors(io, std::move(e), std::move(h));
    };
    auto handler = std::make_shared<const api>(std::move(routes));
    http::server_options serving;
    serving.address = host;
    serving.port = port;
    serving.max_body = config.server.max_body;
    serving.body_memory = std::max(config.server.body_memory, config.server.max_body);
    serving.header_timeout = config.server.header_timeout;
    serving.body_timeout = config.server.body_timeout;
    serving.idle_timeout = config.server.idle_timeout;
    serving.write_timeout = config.server.write_timeout;
    serving.max_connections = config.server.max_connections;
    serving.max_connections_per_client = config.server.max_connections_per_client;
    for (auto& text : config.server.proxies)
      for (auto& n : http::networks_of(text))
        serving.many_clients.push_back(n);
    serving.max_requests = static_cast<std::uint32_t>(config.server.max_requests);
    serving.max_age = config.server.max_connection_age;
    auto make_web = [&] {
      return std::make_unique<http::server>(
          io, serving,
          [handler](http::request&& r, http::exchange_ptr e) {
            (*handler)(std::move(r), std::move(e));
          },
          [handler](errc code, const http::request& seen) { return handler->refused(code, seen); },
          [handler](const http::request& r) { return handler->without_body(r); });
    };
    auto stop_actors = [&] {
      for (auto& e : edges)
        caf::anon_send_exit(e, caf::exit_reason::kill);
      for (auto& l : lobbies)
        caf::anon_send_exit(l, caf::exit_reason::user_shutdown); // takes its sessions along
    };
    std::unique_ptr<http::server> server;
    try {
      server = make_web();
      web = server.get();
      server->start();
      *port_now = server->port();
    } catch (...) {
      stop_actors();
      caf::anon_send_exit(keep, caf::exit_reason::user_shutdown);
      caf::anon_send_exit(recall, caf::exit_reason::user_shutdown);
      world->keeper = nullptr;
      world->archive = nullptr;
      throw;
    }

    // What a dead server left open is gone on with, though nobody may ask.
    for (auto& key : storage->open_reader()->unfinished_sessions()) {
      auto wake = std::make_shared<session_ask>();
      wake->what = session_ask::kind::wake;
      wake->key = key;
      caf::anon_send(door(key), session_ask_ptr{std::move(wake)});
    }

    boost::asio::signal_set stop{io, SIGTERM, SIGINT};
    std::function<void(const boost::system::error_code&, int)> on_signal = [&](auto& error, int) {
      if (error)
        return;
      std::lock_guard lock{mutex};
      if (++signals > 1)
        std::_Exit(1); // asked twice: as hard as kill -9, and as safe
      told.notify_all();
      stop.async_wait(on_signal);
    };
    stop.async_wait(on_signal);
    auto base = own_address(host, server->port());
    if (logs_as_text()) // else every line is JSON
      print_welcome(config, base);
    log(log_level::info, "started",
        {{"version", version()},
         {"listen", config.server.listen},
         {"url", base},
         {"model", config.models.front().name},
         {"provider", config.models.front().provider},
         {"store", config.store.path}});

    {
      std::unique_lock lock{mutex};
      told.wait(lock, [&] { return signals > 0; });
    }
    log(log_level::info, "draining");
    draining = true;
    server->stop_accepting();
    auto until = std::chrono::steady_clock::now() + config.drain.timeout;
    while (stats_of(actor_kind::task).living.load() > 0 && std::chrono::steady_clock::now() < until)
      std::this_thread::sleep_for(std::chrono::milliseconds{20});
    { // How they ended is on its way to the disk, and then to whoever watches.
      constexpr auto moment = std::chrono::milliseconds{20};
      std::this_thread::sleep_for(moment);
      caf::scoped_actor me{system};
      me->request(keep, std::chrono::seconds{5},
                  fact_group_ptr{std::make_shared<const store::fact_group>()})
          .receive([](const recorded_ptr&) {}, [](caf::error&) { /* it is as good as it gets */ });
      std::this_thread::sleep_for(moment);
      for (auto& e : edges)
        me->request(e, std::chrono::seconds{5}, end_streams{})
            .receive([] {}, [](caf::error&) { /* they just end, then */ });
    }
    server->close_all();
    stop_actors();
    // What sessions still have to say is in the keeper's mailbox when they have gone, before the
    // exit message, with which it commits what is left.
    for (auto late = std::chrono::steady_clock::now() + std::chrono::seconds{5};
         stats_of(actor_kind::session).living.load() > 0 &&
         std::chrono::steady_clock::now() < late;)
      std::this_thread::sleep_for(std::chrono::milliseconds{1});
    caf::anon_send_exit(keep, caf::exit_reason::user_shutdown);
    caf::anon_send_exit(recall, caf::exit_reason::user_shutdown);
    boost::system::error_code ignored;
    stop.cancel(ignored);
    world->keeper = nullptr;
    world->archive = nullptr;
    world.reset();
    keep = nullptr;
    recall = nullptr;
    edging = {};
    server.reset();
  }
  log(log_level::info, "stopped");
  flush_logs();
  return 0;
}

} // namespace parlor
