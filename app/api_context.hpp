#pragma once
// For api*.cpp only: one request on its way through them.

#include "app/api.hpp"

namespace parlor {

struct api::context {
  http::request request;
  http::exchange_ptr exchange;
  language lang = language::en;
  std::vector<http::header> headers; // CORS, of every answer
  std::string id;                    // the {id} of the route
  turn_gate::ticket_ptr inside;      // of a turn that the gate has let in
};

} // namespace parlor
