#pragma once
// A provider that speaks to an OpenAI-compatible HTTP service: POST <base_url>/chat/completions,
// streaming.

#include "llm/provider.hpp"
#include "llm/step_taker.hpp"

#include <boost/asio/io_context.hpp>

#include <cstddef>
#include <string>

namespace parlor::llm {

struct openai_options {
  std::string base_url; // "https://api.example.org/v1"; a slash at the end does not matter
  std::string api_key;  // sent as a bearer token to base_url's origin only; empty: none is sent
  std::string name;     // as configured; for failure details
  std::size_t max_connections = 256; // of each of its loops (llm/curl_loops.hpp)
  step_taker one_by_one;             // what comes on few connections (llm/curl_loop.hpp)
};

/// Proxies come from the environment; certificates are verified, against the authorities of
/// SSL_CERT_FILE if the environment names that; redirects are never followed. Must not outlive the
/// io_context. Deadlines beyond connect_timeout are the caller's: it cancels.
provider_ptr make_openai(boost::asio::io_context& io, openai_options options);

} // namespace parlor::llm
