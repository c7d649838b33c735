#pragma once
// Where a URL that a client has supplied may lead: to public addresses only, as they are when the
// connection is made. URLs of the operator's do not come here.
//
// The name is resolved once; if any of its addresses is not public, none is used; and the
// connection is made to one of these addresses, not to the name, so that a second answer of a name
// server has no effect. What uses a route must follow no redirect and no proxy.

#include "protocol/errc.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/system/error_code.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace parlor::llm {

/// Whether an address is one of the public internet: not private, loopback, link-local, shared,
/// multicast, reserved, of documentation or benchmarks, of a cloud's metadata service, nor an IPv6
/// form of such an IPv4 address. Pure.
bool is_public(const boost::asio::ip::address& address) noexcept;

/// Whether a name, in lower case, is known to a network's own servers at most: of one word, or of a
/// zone that the public DNS does not have (localhost, .local, .internal, …). Pure.
bool is_local_name(std::string_view name) noexcept;

struct dial_rules {
  bool allow_http = false; // and port 80; otherwise https and port 443 only
};

/// A URL as far as it can be judged without asking anyone.
struct dial_target {
  std::string url;
  std::string host; // a name in lower case, or the address without brackets
  unsigned short port = 443;
  std::optional<boost::asio::ip::address> address; // if the host is one; public
};

/// Nothing if the URL may not be called: another scheme or port, user or password, a fragment, an
/// address that is not public or is written in an unusual way, a name without a dot or of a local
/// kind (localhost, .local, .internal, …), more than 2048 bytes. For the moment a URL is given to
/// the server; pure.
std::optional<dial_target> read_target(std::string_view url, const dial_rules& rules);

/// The port to name servers. Shared; any thread.
class resolver {
public:
  using sink =
      std::function<void(boost::system::error_code, std::vector<boost::asio::ip::address>)>;
  virtual ~resolver() = default;
  /// Asks once. Never blocks; calls the sink exactly once, on any thread.
  virtual void resolve(const std::string& host, sink s) = 0;
};
using resolver_ptr = std::shared_ptr<resolver>;
/// The operating system's. Must not outlive the io_context.
resolver_ptr make_system_resolver(boost::asio::io_context& io);

/// Where to connect to; all addresses are public, and there is at least one.
struct dial_route {
  dial_target to;
  std::vector<boost::asio::ip::address> addresses;
};

/// Owner: whoever calls for clients, by shared_ptr. Any thread.
class guarded_dialer {
public:
  /// url_not_allowed (will not pass), or upstream_unreachable: the name has no address now.
  using result = std::variant<dial_route, errc>;
  using sink = std::function<void(result)>;

  explicit guarded_dialer(resolver_ptr names, dial_rules rules = {});
  virtual ~guarded_dialer() = default;
  const dial_rules& rules() const noexcept { return rules_; }
  /// Never blocks; calls the sink exactly once: at once if nobody need be asked, else on any
  /// thread.
  virtual void find(std::string_view url, sink s) const; // virtual: tests lead elsewhere

private:
  resolver_ptr names_;
  dial_rules rules_;
};
using guarded_dialer_ptr = std::shared_ptr<const guarded_dialer>;

} // namespace parlor::llm
