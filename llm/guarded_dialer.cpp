#include "llm/guarded_dialer.hpp"

#include "protocol/url.hpp"

#include <boost/asio/ip/tcp.hpp>

#include <algorithm>
#include <array>
#include <utility>

namespace parlor::llm {

namespace {

namespace asio = boost::asio;
namespace ip = asio::ip;

constexpr std::size_t max_url = 2048;
constexpr std::size_t max_name = 253;

struct block4 {
  std::uint32_t from;
  int bits;
};
constexpr std::uint32_t v4(unsigned a, unsigned b, unsigned c, unsigned d) {
  return a << 24 | b << 16 | c << 8 | d;
}

// IANA's special-purpose registry, and what clouds have added on public-looking ground.
constexpr block4 closed4[] = {
    {v4(0, 0, 0, 0), 8},        // this network
    {v4(10, 0, 0, 0), 8},       // private
    {v4(100, 64, 0, 0), 10},    // shared by carriers; Alibaba's metadata
    {v4(127, 0, 0, 0), 8},      // loopback
    {v4(168, 63, 129, 16), 32}, // Azure's metadata
    {v4(169, 254, 0, 0), 16},   // link-local; most clouds' metadata
    {v4(172, 16, 0, 0), 12},    // private
    {v4(192, 0, 0, 0), 24},     // protocol assignments; Oracle's metadata
    {v4(192, 0, 2, 0), 24},     // documentation
    {v4(192, 88, 99, 0), 24},   // 6to4 relays
    {v4(192, 168, 0, 0), 16},   // private
    {v4(198, 18, 0, 0), 15},    // benchmarks
    {v4(198, 51, 100, 0), 24},  // documentation
    {v4(203, 0, 113, 0), 24},   // documentation
    {v4(224, 0, 0, 0), 4},      // multicast
    {v4(240, 0, 0, 0), 4},      // reserved, broadcast
};

bool is_public4(std::uint32_t a) noexcept {
  return std::none_of(std::begin(closed4), std::end(closed4),
                      [a](const block4& b) { return (a ^ b.from) >> (32 - b.bits) == 0; });
}

using bytes6 = ip::address_v6::bytes_type;

bool begins(const bytes6& a, std::initializer_list<unsigned char> with,
            int last_bits = 8) noexcept {
  auto it = a.begin();
  std::size_t i = 0;
  for (auto b : with) {
    auto shift = ++i == with.size() ? 8 - last_bits : 0;
    if (*it++ >> shift != b >> shift)
      return false;
  }
  return true;
}

bool is_public6(const ip::address_v6& address) noexcept {
  auto a = address.to_bytes();
  auto embedded = [&a] { return is_public4(v4(a[12], a[13], a[14], a[15])); };
  if (address.scope_id() != 0)
    return false;
  if (address.is_v4_mapped())
    return embedded();
  if (begins(a, {0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0})) // a name server's way to IPv4
    return embedded();
  return begins(a, {0x20}, 3)                    // all that is global unicast,
         && !begins(a, {0x20, 0x01, 0x00}, 7)    // but protocols' (Teredo, ORCHID, …),
         && !begins(a, {0x20, 0x01, 0x0d, 0xb8}) // documentation,
         && !begins(a, {0x20, 0x02})             // 6to4,
         && !begins(a, {0x3f, 0xff, 0x00}, 4);   // documentation
}

bool under(std::string_view name, std::string_view zone) {
  return name == zone || (name.size() > zone.size() && name.ends_with(zone) &&
                          name[name.size() - zone.size() - 1] == '.');
}

/// A name as the public DNS has them: labels of letters, digits, `-` and `_`, at least two, of
/// which the last is no number in any base (that would be an address in disguise).
bool is_public_name(std::string_view name) {
  if (name.size() > max_name || is_local_name(name))
    return false;
  std::string_view label;
  for (auto rest = name;;) {
    auto dot = rest.find('.');
    label = rest.substr(0, dot);
    if (label.empty() || label.size() > 63)
      return false;
    for (char c : label)
      if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_'))
        return false;
    if (dot == std::string_view::npos)
      break;
    rest.remove_prefix(dot + 1);
  }
  return label.front() < '0' || label.front() > '9';
}

} // namespace

bool is_local_name(std::string_view name) noexcept {
  if (name.find('.') == std::string_view::npos)
    return true;
  for (auto zone : {"localhost", "local", "internal", "intranet", "lan", "home", "corp", "private",
                    "localdomain", "home.arpa"})
    if (under(name, zone))
      return true;
  return false;
}

bool is_public(const ip::address& address) noexcept {
  return address.is_v4() ? is_public4(address.to_v4().to_uint()) : is_public6(address.to_v6());
}

std::optional<dial_target> read_target(std::string_view url, const dial_rules& rules) {
  if (url.size() > max_url)
    return std::nullopt;
  auto read = parse_url(url);
  if (!read)
    return std::nullopt;
  auto& u = *read;
  auto https = u.scheme_id() == boost::urls::scheme::https;
  if (!https && !(rules.allow_http && u.scheme_id() == boost::urls::scheme::http))
    return std::nullopt;
  dial_target out{std::string{url}, {}, static_cast<unsigned short>(https ? 443 : 80), {}};
  if (u.has_userinfo() || u.has_fragment() || (u.has_port() && u.port_number() != out.port))
    return std::nullopt;
  out.host = host_of(u);
  boost::system::error_code ec;
  switch (u.host_type()) {
  case boost::urls::host_type::name:
    if (!is_public_name(out.host))
      return std::nullopt;
    return out;
  case boost::urls::host_type::ipv6:
  case boost::urls::host_type::ipv4:
    out.address = ip::make_address(out.host, ec);
    if (ec || !is_public(*out.address))
      return std::nullopt;
    return out;
  default:
    return std::nullopt;
  }
}

// -- names

namespace {

class system_resolver final : public resolver {
public:
  explicit system_resolver(asio::io_context& io) : io_{io} {}
  void resolve(const std::string& host, sink s) override {
    auto names = std::make_shared<ip::tcp::resolver>(io_);
    names->async_resolve(host, "",
                         [names, s = std::move(s)](boost::system::error_code ec,
                                                   ip::tcp::resolver::results_type found) {
                           std::vector<ip::address> addresses;
                           for (auto& entry : found)
                             addresses.push_back(entry.endpoint().address());
                           s(ec, std::move(addresses));
                         });
  }

private:
  asio::io_context& io_;
};

} // namespace

resolver_ptr make_system_resolver(asio::io_context& io) {
  return std::make_shared<system_resolver>(io);
}

guarded_dialer::guarded_dialer(resolver_ptr names, dial_rules rules)
    : names_{std::move(names)}, rules_{rules} {}

void guarded_dialer::find(std::string_view url, sink s) const {
  auto to = read_target(url, rules_);
  if (!to)
    return s(errc::url_not_allowed);
  if (to->address) {
    auto address = *to->address;
    return s(dial_route{std::move(*to), {address}});
  }
  auto host = to->host;
  names_->resolve(host, [to = std::move(*to), s = std::move(s)](boost::system::error_code ec,
                                                                std::vector<ip::address> found) {
    if (ec || found.empty())
      return s(errc::upstream_unreachable);
    // One that is not public beside others is a trap, or a name that is not for us.
    if (!std::all_of(found.begin(), found.end(), is_public))
      return s(errc::url_not_allowed);
    s(dial_route{to, std::move(found)});
  });
}

} // namespace parlor::llm
