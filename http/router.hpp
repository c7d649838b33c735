#pragma once
// Path templates. Immutable once filled; then any thread.

#include "protocol/errc.hpp"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace parlor::http {

struct match {
  int id = -1;
  std::vector<std::pair<std::string, std::string>> params; // decoded once
  errc error =
      errc::none; // route_not_found; method_not_allowed, then `allow` says which are; bad_framing
  std::string allow;
};

class router {
public:
  /// `pattern`: "/api/tasks/{id}/events". A capture matches one segment that is not empty.
  void add(std::string method, std::string_view pattern, int id);
  /// HEAD finds what GET would.
  match find(std::string_view method, std::string_view path) const;

private:
  struct route {
    std::string method;
    std::vector<std::string> segments; // "{name}" for a capture
    int id;
  };
  std::vector<route> routes_;
};

} // namespace parlor::http
