#include "protocol/url.hpp"

#include <boost/url/parse.hpp>

namespace parlor {

std::optional<boost::urls::url_view> parse_url(std::string_view text) {
  auto read = boost::urls::parse_uri({text.data(), text.size()});
  if (!read)
    return std::nullopt;
  // Boost.URL 1.81 takes the beginning of 8.8.8.8.example.org for an address, the rest for a path.
  if (!read->encoded_path().empty() && !read->encoded_path().starts_with('/'))
    return std::nullopt;
  return *read;
}

std::string host_of(const boost::urls::url_view& url) {
  std::string host{url.encoded_host().data(), url.encoded_host().size()};
  if (url.host_type() == boost::urls::host_type::ipv6)
    host = host.substr(1, host.size() - 2);
  for (auto& c : host)
    c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return host;
}

} // namespace parlor
