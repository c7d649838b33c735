#include "http/exchange.hpp"

#include <boost/beast/core/string.hpp>

namespace parlor::http {

std::string_view request::get(std::string_view name) const noexcept {
  for (auto& h : headers)
    if (boost::beast::iequals({h.name.data(), h.name.size()}, {name.data(), name.size()}))
      return h.value;
  return {};
}

} // namespace parlor::http
