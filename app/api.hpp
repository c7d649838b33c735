#pragma once
// From HTTP requests to what the edge serves: routes, keys, CORS, languages, cursors.
//
// Owner: main. Thread: called on connections' strands; immutable after construction.

#include "actors/interfaces.hpp"
#include "actors/turn_gate.hpp"
#include "http/router.hpp"
#include "protocol/callback_token.hpp"
#include "protocol/pipeline.hpp"

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace parlor {

struct api_options {
  std::string key;                       // the bearer key; empty: none is asked for
  std::vector<std::string> cors_origins; // exact origins
  std::string epoch;
  bool plans = false;                            // there is a service that makes them
  std::shared_ptr<const callback_signer> signer; // of callbacks; null: they carry no tokens
  bool allow_script = false; // requests may carry a script for the rehearsal model
  std::function<edge_actor(const std::string& key)> edge_for;
  std::function<pipeline_ptr(const std::string& name)> find_pipeline; // null: unknown
  std::function<std::int64_t()> wall;                                 // ms since the epoch
  std::function<bool()> draining;
  std::shared_ptr<turn_gate> gate;      // null: none
  std::function<bool()> healthy;        // the store has not failed
  std::function<std::string()> metrics; // Prometheus text
  std::function<std::string()> actors;  // JSON
  std::function<void(http::exchange_ptr, std::vector<http::header>)> stream_actors;
};

class api {
public:
  explicit api(api_options options);
  void operator()(http::request&& request, http::exchange_ptr exchange) const;
  /// The answer to what was refused before it was a request for operator(): in the shape, in the
  /// language and with the headers that its path would have answered with, as far as `seen` tells.
  http::response refused(errc code, const http::request& seen) const;
  /// The answer to a request whose body need not be read: there is nobody to want it, or who sends
  /// it may not.
  std::optional<http::response> without_body(const http::request& request) const;

private:
  struct context; // one request on its way
  /// Why the client may not go there; operators are told.
  errc barred(context& c, int route) const;
  bool admit(context& c) const;
  /// Where no key is asked for, any page in a browser on this machine could call, across origins or
  /// by a name of its own that it lets point here: such calls get the code they are refused with.
  errc stranger(const context& c) const;
  bool is_key(std::string_view given) const;
  // app/api_socket.cpp
  void socket(context& c) const;
  /// A page of another origin that is not listed; browsers let any page open a WebSocket.
  errc foreign_page(const context& c) const;
  /// The key among the subprotocols: browsers let pages set no other header of a WebSocket.
  bool offers_key(context& c) const;
  bool preflight(context& c) const;
  /// Adds what an answer to a page of another origin says; true if that origin is allowed.
  bool add_cors(const http::request& request, std::vector<http::header>& headers) const;
  /// Whether the body is said to be JSON; else refuses it. Nothing need be said of it where a key
  /// or, if `trusted`, a token is asked for.
  bool json_body(context& c, bool trusted = false) const;
  /// Whether another turn may come in; else refuses it.
  bool gate_open(context& c) const;
  void turn(context& c, int route) const;
  void run_pipeline(context& c, int route) const;
  /// Names the turn and its parts, and sends it on; its session and what is said are there.
  void take(context& c, visit v) const;
  void read(context& c, int route) const;
  void page(context& c, int route) const;
  void plan(context& c, int route) const;
  /// False: it was wrong, and has been refused.
  bool read_cursor(context& c, visit& v) const;
  void send(context& c, visit v) const;
  void refuse(context& c, refusal why) const;
  void text(context& c, unsigned status, std::string type, std::string body) const;

  api_options options_;
  http::router router_;
};

/// Every route: the label of the first is 1 (http::exchange::label), and so on.
struct route_name {
  const char* method;
  const char* pattern;
};
std::span<const route_name> api_routes();

/// The value of a query parameter, percent-decoded; empty if absent.
std::string query_value(std::string_view query, std::string_view name);

} // namespace parlor
