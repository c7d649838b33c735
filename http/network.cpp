#include "http/network.hpp"

#include <algorithm>
#include <charconv>
#include <string>

namespace parlor::http {

namespace ip = boost::asio::ip;

namespace {

ip::address_v6::bytes_type bytes_of(const ip::address& a) noexcept {
  if (a.is_v6())
    return a.to_v6().to_bytes();
  ip::address_v6::bytes_type out{};
  out[10] = out[11] = 0xff;
  auto four = a.to_v4().to_bytes();
  std::copy(four.begin(), four.end(), out.begin() + 12);
  return out;
}

std::uint64_t number_of(const unsigned char* from, std::size_t n) noexcept {
  std::uint64_t out = 0;
  for (std::size_t i = 0; i < n; ++i)
    out = out << 8 | from[i];
  return out;
}

} // namespace

bool network::has(const ip::address& a) const noexcept {
  auto other = bytes_of(a);
  for (std::size_t i = 0; i * 8 < bits; ++i) {
    auto rest = std::min(8U, bits - static_cast<unsigned>(i) * 8);
    if ((from[i] ^ other[i]) >> (8 - rest) != 0)
      return false;
  }
  return true;
}

std::vector<network> networks_of(std::string_view text) {
  auto all = [](auto... named) {
    std::vector<network> out;
    (out.push_back(networks_of(named).front()), ...);
    return out;
  };
  if (text == "loopback")
    return all("127.0.0.0/8", "::1");
  if (text == "private")
    return all("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7",
               "fe80::/10");
  auto slash = text.find('/');
  boost::system::error_code e;
  auto address = ip::make_address(std::string{text.substr(0, slash)}, e);
  if (e || (address.is_v6() && address.to_v6().scope_id() != 0))
    return {};
  auto most = address.is_v4() ? 32U : 128U, bits = most;
  if (slash != text.npos) {
    auto digits = text.substr(slash + 1);
    auto [end, fault] = std::from_chars(digits.data(), digits.data() + digits.size(), bits);
    if (fault != std::errc{} || end != digits.data() + digits.size() || bits > most)
      return {};
  }
  return {{bytes_of(address), bits + (128 - most)}};
}

std::uint64_t client_of(const ip::address& a) noexcept {
  auto bytes = bytes_of(a);
  static constexpr unsigned char mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  // The numbers of IPv4 addresses are those of networks that IPv6 has reserved (::/8).
  auto four = std::equal(std::begin(mapped), std::end(mapped), bytes.begin());
  auto n = four ? number_of(bytes.data() + 12, 4) : number_of(bytes.data(), 8);
  return n == 0 ? 1 : n;
}

} // namespace parlor::http
