#include "app/api.hpp"

#include "app/access.hpp"
#include "app/api_context.hpp"
#include "app/assets.hpp"
#include "app/refusal_answer.hpp"
#include "app/routes.hpp"
#include "app/version.hpp"
#include "protocol/dialects/chat_sessions.hpp"
#include "protocol/dialects/generate_async.hpp"
#include "protocol/dialects/pipeline_stream.hpp"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>
#include <charconv>

namespace parlor {

namespace {

std::string sha256_hex(std::string_view text) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  static constexpr char hex[] = "0123456789abcdef";
  std::string out;
  for (auto b : digest) {
    out += hex[b >> 4];
    out += hex[b & 15];
  }
  return out;
}

/// Of sessions "<ms>.<row>", of messages "<row>"; empty is the first page.
bool is_page(std::string_view text, bool of_sessions) {
  auto dot = text.find('.');
  auto number = [](std::string_view t) {
    return !t.empty() && t.size() < 19 && t.find_first_not_of("0123456789") == t.npos;
  };
  if (text.empty() || !of_sessions)
    return text.empty() || number(text);
  return dot != text.npos && number(text.substr(0, dot)) && number(text.substr(dot + 1));
}

/// Without regard to case.
bool same_word(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
    return lower(x) == lower(y);
  });
}

/// Does not tell by its time how much of the key was right.
bool same_key(std::string_view given, std::string_view wanted) {
  auto a = sha256_hex(given), b = sha256_hex(wanted);
  return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

} // namespace

std::span<const route_name> api_routes() { return routes; }

api::api(api_options options) : options_{std::move(options)} {
  for (std::size_t i = 0; i < std::size(routes); ++i)
    router_.add(routes[i].method, routes[i].pattern, static_cast<int>(i));
}

void api::operator()(http::request&& request, http::exchange_ptr exchange) const {
  context c{std::move(request), std::move(exchange), language::en, {}, {}, {}};
  c.lang = pick_language(c.request.get("Accept-Language"));
  if (preflight(c))
    return;
  auto found = router_.find(c.request.method, c.request.path);
  if (found.error != errc::none) {
    if (!found.allow.empty())
      c.headers.push_back({"Allow", found.allow});
    return refuse(c, {found.error});
  }
  if (!found.params.empty())
    c.id = found.params.front().second;
  c.exchange->label(static_cast<std::uint8_t>(found.id + 1));
  if (auto why = barred(c, found.id); why != errc::none)
    return refuse(c, {why});
  switch (found.id) {
  case chat:
  case chat_stream:
  case generate:
    return turn(c, found.id);
  case pipeline_run:
  case pipeline_stream_run:
    return run_pipeline(c, found.id);
  case generate_one:
  case generate_stream:
  case generate_cancel:
  case task_events:
  case sessions:
  case session_one:
  case session_delete:
  case session_messages:
  case session_events:
    return read(c, found.id);
  case learning:
    return socket(c);
  case plan_stream:
  case plan_generate:
  case plan_update:
  case plan_stats:
    return plan(c, found.id);
  default:
    return page(c, found.id);
  }
}

// -- who may
// ------------------------------------------------------------------------------------------

std::optional<http::response> api::without_body(const http::request& request) const {
  context c{request, {}, language::en, {}, {}, {}};
  c.lang = pick_language(c.request.get("Accept-Language"));
  add_cors(c.request, c.headers);
  auto found = router_.find(c.request.method, c.request.path);
  auto why = found.error;
  if (!found.allow.empty())
    c.headers.push_back({"Allow", found.allow});
  if (why == errc::none)
    why = barred(c, found.id);
  if (why == errc::none && found.id == plan_update && options_.signer)
    if (auto session = query_value(c.request.query, "sessionId"); !session.empty())
      if (!options_.signer->verify({{}, session}, query_value(c.request.query, "token")))
        why = errc::bad_token;
  if (why == errc::none)
    return std::nullopt;
  return refusal_answer({why}, c.request, c.lang, std::move(c.headers));
}

errc api::barred(context& c, int route) const {
  // A service outside has no key: the token of its callback is as good, and bound to one task.
  if (open_to_all(route) || (route == plan_update && options_.signer))
    return errc::none;
  auto why = stranger(c);
  if (route == learning && why == errc::none)
    why = foreign_page(c);
  if (why != errc::none) {
    turned_away(why == errc::forbidden_host ? access_stats::host : access_stats::origin, c.request);
    return why;
  }
  if (admit(c) || (route == learning && offers_key(c)))
    return errc::none;
  turned_away(c.request.get("Authorization").empty() ? access_stats::no_key
                                                     : access_stats::wrong_key,
              c.request);
  return errc::unauthorized;
}

bool api::is_key(std::string_view given) const { return same_key(given, options_.key); }

bool api::admit(context& c) const {
  if (options_.key.empty())
    return true;
  auto given = c.request.get("Authorization");
  constexpr std::string_view bearer = "Bearer ";
  if (given.size() > bearer.size() &&
      std::equal(bearer.begin(), bearer.end(), given.begin(),
                 [](char a, char b) { return (a | 32) == (b | 32); }) &&
      is_key(given.substr(bearer.size())))
    return true;
  c.headers.push_back({"WWW-Authenticate", "Bearer"});
  return false;
}

errc api::stranger(const context& c) const {
  if (!options_.key.empty())
    return errc::none; // a page does not have it
  std::string_view host = c.request.get("Host"), origin = c.request.get("Origin");
  auto& known = options_.cors_origins;
  auto listed = [&known](auto matches) { return std::any_of(known.begin(), known.end(), matches); };
  if (!origin.empty() && origin != "http://" + std::string{host} &&
      !listed([&](const std::string& o) { return o == origin; }))
    return errc::forbidden_origin;
  // An image of a foreign page, for one, is asked for without an Origin; what it would start
  // counts.
  if (origin.empty() && c.request.get("Sec-Fetch-Site") == "cross-site" &&
      c.request.get("Sec-Fetch-Mode") != "navigate")
    return errc::forbidden_origin;
  auto colon = host.rfind(':');
  auto name = host.substr(0, host.ends_with(']') ? host.size() : colon);
  auto address = name.substr(0, 4) == "127." && // not a name like 127.example.com
                 name.find_first_not_of("0123456789.") == std::string_view::npos;
  if (address || same_word(name, "localhost") || name == "[::1]" ||
      listed([&](const std::string& o) { return o.substr(o.find("://") + 3) == host; }))
    return errc::none;
  return errc::forbidden_host;
}

bool api::preflight(context& c) const {
  if (!add_cors(c.request, c.headers) || c.request.method != "OPTIONS" ||
      c.request.get("Access-Control-Request-Method").empty())
    return false;
  http::response r;
  r.status = 204;
  r.headers = c.headers;
  r.headers.push_back({"Access-Control-Allow-Methods", "GET, POST, DELETE"});
  r.headers.push_back({"Access-Control-Allow-Headers",
                       "Accept-Language, Authorization, Content-Type, Idempotency-Key, "
                       "If-None-Match, Last-Event-ID, X-Request-Id"});
  r.headers.push_back({"Access-Control-Max-Age", "7200"});
  c.exchange->respond(std::move(r));
  return true;
}

// -- answers
// ------------------------------------------------------------------------------------------

void api::refuse(context& c, refusal why) const {
  c.exchange->respond(refusal_answer(why, c.request, c.lang, c.headers));
}

void api::text(context& c, unsigned status, std::string type, std::string body) const {
  http::response r;
  r.status = status;
  r.headers = c.headers;
  r.headers.push_back({"Content-Type", std::move(type)});
  r.body = std::move(body);
  c.exchange->respond(std::move(r));
}

void api::send(context& c, visit v) const {
  v.exchange = c.exchange;
  v.request_id = c.request.id;
  v.lang = c.lang;
  v.headers = c.headers;
  auto& by = v.turn.session.id.empty() ? (v.key.id.empty() ? v.task : v.key.id) : v.turn.session.id;
  auto edge = options_.edge_for(by);
  auto whole = std::make_shared<const visit>(std::move(v));
  auto go = [edge, whole] { caf::anon_send(edge, visit_ptr{whole}); };
  if (whole->inside)
    options_.gate->begin(whole->inside, go);
  else
    go();
}

// -- routes
// -------------------------------------------------------------------------------------------

bool api::json_body(context& c, bool trusted) const {
  auto type = c.request.get("Content-Type");
  type = type.substr(0, type.find(';'));
  type = type.substr(0, type.find_last_not_of(" \t") + 1);
  // A page of another origin can send a body of no type unasked, but none of this type.
  auto good = type.empty() ? trusted || !options_.key.empty() : same_word(type, "application/json");
  if (!good)
    refuse(c, {errc::unsupported_media_type});
  return good;
}

bool api::gate_open(context& c) const {
  if (!options_.gate)
    return true;
  c.inside = options_.gate->enter(turn_gate::clock::now());
  if (!c.inside)
    refuse(c, {errc::saturated});
  return c.inside != nullptr;
}

void api::turn(context& c, int route) const {
  if (!gate_open(c) || !json_body(c)) // before anything that costs
    return;
  auto read = route == generate ? generate_async::parse_create(c.request.body)
                                : chat_sessions::parse_chat(c.request.body);
  if (auto* why = std::get_if<refusal>(&read))
    return refuse(c, std::move(*why));
  visit v;
  v.what = route == chat          ? visit::kind::chat
           : route == chat_stream ? visit::kind::chat_stream
                                  : visit::kind::generate;
  v.shape = &chat_sessions::shape;
  v.turn = std::move(std::get<turn_request>(read));
  take(c, std::move(v));
}

void api::take(context& c, visit v) const {
  if (!options_.allow_script)
    v.turn.settings.script.clear();
  v.turn.task_id = make_task_id(options_.wall());
  v.turn.message_id = make_message_id();
  v.turn.request_id = c.request.id;
  v.inside = std::move(c.inside);
  v.turn.fresh = v.turn.session.id.empty();
  if (v.turn.fresh)
    v.turn.session.id = make_session_id();
  if (auto key = c.request.get("Idempotency-Key"); !key.empty()) {
    if (key.size() > 255)
      return refuse(c, {errc::invalid_field, "Idempotency-Key", "must be at most 255 bytes"});
    v.turn.once.scope_and_key = v.turn.session.tenant + '\n' + c.request.method + '\n' +
                                c.request.path + '\n' + std::string{key};
    v.turn.once.fingerprint = sha256_hex(c.request.body);
  }
  send(c, std::move(v));
}

bool api::read_cursor(context& c, visit& v) const {
  auto text = std::string{c.request.get("Last-Event-ID")};
  if (text.empty())
    text = query_value(c.request.query, "lastEventId");
  if (text.empty())
    return true;
  v.after = parse_cursor(text);
  if (!v.after)
    refuse(c, {errc::bad_cursor, "Last-Event-ID"});
  return v.after.has_value();
}

void api::read(context& c, int route) const {
  visit v;
  if (route == generate_stream || route == task_events || route == session_events)
    if (!read_cursor(c, v))
      return;
  if (route == sessions || route == session_messages) {
    auto limit = query_value(c.request.query, "limit");
    if (!limit.empty()) {
      std::size_t n = 0;
      auto [end, error] = std::from_chars(limit.data(), limit.data() + limit.size(), n);
      if (error != std::errc{} || end != limit.data() + limit.size() || n < 1 || n > 1000)
        return refuse(c, {errc::invalid_field, "limit", "must be a whole number from 1 to 1000"});
      v.limit = n;
    }
    auto name = route == sessions ? "cursor" : "before";
    v.page = query_value(c.request.query, name);
    if (!is_page(v.page, route == sessions))
      return refuse(c, {errc::invalid_field, name, "must be what the page before said"});
  }
  switch (route) {
  case generate_one:
    v.what = visit::kind::generate_poll;
    v.task = c.id;
    v.if_none_match = c.request.get("If-None-Match");
    break;
  case generate_stream:
    v.what = visit::kind::task_stream;
    v.task = c.id;
    v.shape = query_value(c.request.query, "deltas") == "1" ? &generate_async::shape_with_deltas
                                                            : &generate_async::shape;
    break;
  case generate_cancel:
    v.what = visit::kind::generate_cancel;
    v.task = c.id;
    break;
  case task_events:
    v.what = visit::kind::task_stream;
    v.task = c.id;
    v.shape = &chat_sessions::shape;
    v.pipeline_shape = query_value(c.request.query, "progress") == "1"
                           ? &pipeline_stream::shape_with_progress
                           : &pipeline_stream::shape;
    break;
  case sessions:
    v.what = visit::kind::sessions;
    break;
  case session_one:
    v.what = visit::kind::session;
    break;
  case session_delete:
    v.what = visit::kind::remove;
    break;
  case session_messages:
    v.what = visit::kind::messages;
    break;
  default:
    v.what = visit::kind::session_stream;
    v.shape = &chat_sessions::shape;
  }
  if (v.task.empty() && route != sessions) {
    if (!valid_session_id(c.id))
      return refuse(c, {errc::session_not_found});
    v.key.id = c.id;
  }
  send(c, std::move(v));
}

void api::page(context& c, int route) const {
  constexpr auto json = "application/json; charset=utf-8";
  switch (route) {
  case health: {
    if (options_.draining() || !options_.healthy())
      return text(c, 503, json,
                  chat_sessions::health_json(
                      false, 0, options_.draining() ? "draining" : "the store has failed"));
    visit v;
    v.what = visit::kind::health;
    return send(c, std::move(v));
  }
  case livez:
    return text(c, 200, json, R"({"status":"alive"})");
  case readyz: {
    auto draining = options_.draining(), healthy = options_.healthy();
    return text(c, draining || !healthy ? 503 : 200, json,
                std::string{R"({"ready":)"} + (draining || !healthy ? "false" : "true") +
                    R"(,"checks":{"store":")" + (healthy ? "ok" : "failed") + R"(","draining":)" +
                    (draining ? "true" : "false") + "}}");
  }
  case version_page:
    return text(c, 200, json, version_json());
  case metrics:
    return text(c, 200, "text/plain; version=0.0.4; charset=utf-8", options_.metrics());
  case openapi:
    return text(c, 200, json, std::string{openapi_json()});
  case docs:
    return text(c, 200, "text/html; charset=utf-8", std::string{docs_html()});
  case docs_script:
    return text(c, 200, "text/javascript; charset=utf-8", std::string{docs_js()});
  case actors:
    return text(c, 200, json, options_.actors());
  case actors_stream:
    return options_.stream_actors(c.exchange, c.headers);
  default: {
    auto code = errc_from_name(c.id);
    if (to_string(code) != c.id || code == errc::none)
      return refuse(c, {errc::route_not_found});
    return text(c, 200, "text/plain; charset=utf-8",
                std::string{parlor::text(code, c.lang)} + "\n");
  }
  }
}

} // namespace parlor
