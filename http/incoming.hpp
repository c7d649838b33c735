#pragma once
// A request on its way in, past the framing gate: what its header section says, and Beast's parser
// for the body. Exists only while it is read; only who reads or destroys it includes this.

#include "http/connection.hpp"

#include <boost/beast/http.hpp>

namespace parlor::http {

struct connection::incoming {
  request head; // without the body
  boost::beast::http::request_parser<boost::beast::http::string_body> parser;
  clock::time_point since;    // the header section was complete
  clock::time_point due;      // the body comes too slowly then
  std::size_t body_taken = 0; // bytes of the body with what is around it
};

} // namespace parlor::http
