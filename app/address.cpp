#include "app/address.hpp"

#include "app/options.hpp"
#include "llm/guarded_dialer.hpp"
#include "protocol/url.hpp"

#include <boost/asio/ip/address.hpp>

#include <cstdlib>

namespace parlor {

namespace {
constexpr std::size_t least_key = 16;
}

std::pair<std::string, unsigned short> split_address(const std::string& listen) {
  auto colon = listen.rfind(':');
  auto host = listen.substr(0, colon);
  if (host.size() > 1 && host.front() == '[' && host.back() == ']')
    host = host.substr(1, host.size() - 2);
  if (host == "localhost")
    host = "127.0.0.1";
  auto digits = colon == std::string::npos ? std::string{} : listen.substr(colon + 1);
  auto port = digits.empty() || digits.find_first_not_of("0123456789") != std::string::npos
                  ? 65536UL
                  : std::strtoul(digits.c_str(), nullptr, 10);
  boost::system::error_code error;
  boost::asio::ip::make_address(host, error);
  if (port > 65535 || error)
    throw config_error{"must be address:port, for example 127.0.0.1:8080"};
  return {host, static_cast<unsigned short>(port)};
}

std::string unsafe_listener(const settings& config) {
  auto address = boost::asio::ip::make_address(split_address(config.server.listen).first);
  if (address.is_loopback())
    return {};
  auto& key = config.server.key;
  auto open = "server.listen is " + config.server.listen + ", which others can reach, and ";
  if (key.empty())
    return open + "no key is configured: set PARLOR_SERVER_KEY, or listen on 127.0.0.1";
  if (key.size() < least_key)
    return open + "server.key can be guessed: it has less than " + std::to_string(least_key) +
           " characters; openssl rand -hex 16 makes one";
  return {};
}

bool is_sent_in_the_open(std::string_view base_url) {
  if (!base_url.starts_with("http://"))
    return false;
  auto read = parse_url(base_url);
  if (!read)
    return true; // as far as can be told
  auto host = host_of(*read);
  boost::system::error_code error;
  auto address = boost::asio::ip::make_address(host, error);
  if (!error)
    return llm::is_public(address);
  for (auto own : {".svc", ".test", ".invalid"}) // a cluster's, and RFC 6761's
    if (host.ends_with(own))
      return false;
  return !llm::is_local_name(host);
}

std::string without_secrets(std::string url) {
  if (auto query = url.find('?'); query != url.npos)
    url.replace(query + 1, url.npos, "***");
  auto scheme = url.find("://");
  auto from = scheme == url.npos ? 0 : scheme + 3;
  if (auto at = url.substr(from, url.find_first_of("/?#", from) - from).rfind('@'); at != url.npos)
    url.replace(from, at, "***");
  return url;
}

} // namespace parlor
