#pragma once
// What all who read a URL have to be careful with. Pure; any thread.

#include <boost/url/url_view.hpp>

#include <optional>
#include <string>
#include <string_view>

namespace parlor {

/// An absolute URI (RFC 3986, section 3) whose path is empty or absolute; nothing if it is none. A
/// view of `text`. It may have no host.
std::optional<boost::urls::url_view> parse_url(std::string_view text);

/// Its host, not decoded, in lower case; an IPv6 address without brackets.
std::string host_of(const boost::urls::url_view& url);

} // namespace parlor
