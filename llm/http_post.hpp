#pragma once
// The port to services that are told something and answer later, or not at all: one POST of a JSON
// document, of whose answer only the status counts.
//
// A poster is shared by all sessions, owns its sockets and pools, and may be called from any
// thread.

#include "llm/guarded_dialer.hpp"
#include "protocol/errc.hpp"

#include <boost/asio/io_context.hpp>

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace parlor::llm {

struct post_request {
  std::string url;
  std::string body;                 // JSON
  std::vector<std::string> headers; // "Name: value", beside Content-Type; see valid_header_line
  std::chrono::milliseconds connect_timeout{10'000};
  std::chrono::milliseconds total_timeout{30'000}; // until the header of the answer has come
};

struct post_result {
  errc code = errc::none; // none: the answer was 2xx
  int status = 0;         // of the answer, 0 if there was none
  bool can_pass = false;  // may another attempt succeed? (connect errors, 408, 409, 429, 5xx, …)
  std::optional<std::chrono::milliseconds> retry_after; // as the service asked, not yet capped
  std::string detail; // for the log: nothing that the service or a client has written
  bool ok() const noexcept { return code == errc::none; }
};

/// Called exactly once, unless the post is cancelled before; on the poster's strand. Must only send
/// messages or post. May still be called once while another thread is in cancel().
using post_sink = std::function<void(post_result)>;

/// A post under way. Destroying it cancels it.
class post {
public:
  virtual ~post() = default;
  /// Closes the connection at once, if the answer has not come. Any thread; idempotent.
  virtual void cancel() = 0;
};

class poster {
public:
  virtual ~poster() = default;
  /// Never blocks, never throws, never calls the sink before it has returned. A header line that
  /// is not valid is errc::invalid_field, and nothing is sent.
  virtual std::unique_ptr<post> start(post_request request, post_sink sink) = 0;
};
using poster_ptr = std::shared_ptr<poster>;

/// A name of tokens, a colon, and a value without control characters (reliability C2); and none of
/// the headers that belong to the transport. Pure.
bool valid_header_line(std::string_view line) noexcept;

struct post_options {
  std::size_t max_connections = 256;
};

/// For URLs of the operator's: any address, any port, proxies from the environment. Certificates
/// are verified, redirects never followed; of the body no more than 64 KiB are read, and dropped.
/// Must not outlive the io_context.
poster_ptr make_poster(boost::asio::io_context& io, post_options options = {});

/// For URLs that a client has supplied: the same, but only where the dialer lets it, always
/// directly, and a connection serves one request.
poster_ptr make_guarded_poster(boost::asio::io_context& io, guarded_dialer_ptr dialer,
                               post_options options = {});

} // namespace parlor::llm
