#pragma once
// Beast's parser of one request, past the framing gate. Only what reads or destroys it includes
// this.

#include "http/connection.hpp"

#include <boost/beast/http.hpp>

namespace parlor::http {

struct connection::parser {
  boost::beast::http::request_parser<boost::beast::http::string_body> p;
};

} // namespace parlor::http
