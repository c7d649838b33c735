#pragma once
// Addresses as connections are counted by: networks that are excepted, and whose address it is.
// Pure; any thread.

#include <boost/asio/ip/address.hpp>

#include <cstdint>
#include <string_view>
#include <vector>

namespace parlor::http {

/// All addresses that begin with the same bits. IPv4 is a part of IPv6 here (::ffff:0:0/96).
struct network {
  boost::asio::ip::address_v6::bytes_type from{};
  unsigned bits = 128;
  bool has(const boost::asio::ip::address& a) const noexcept;
};

/// Of `loopback`, `private` (of RFC 1918, RFC 4193 and link-local ones), an address, or one with
/// the number of its bits ("10.1.0.0/16", "2001:db8::/32"). Empty if it is none of these.
std::vector<network> networks_of(std::string_view text);

/// One number for one client: an IPv4 address, or the /64 of an IPv6 one, for whoever has one
/// address of these has them all. Never 0.
std::uint64_t client_of(const boost::asio::ip::address& a) noexcept;

} // namespace parlor::http
