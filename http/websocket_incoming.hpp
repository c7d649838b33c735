#pragma once
// A message of a WebSocket's peer on its way in. Exists only from its first byte to its last; only
// who reads or ends a WebSocket includes this.

#include "http/shared.hpp"
#include "http/websocket_frames.hpp"
#include "http/websocket_stream.hpp"

namespace parlor::http {

struct websocket_stream::incoming {
  incoming(const frame_reader::rules& rules, clock::time_point d, byte_room& of)
      : frames{rules}, due{d}, room{of} {}
  frame_reader frames;
  clock::time_point due; // it takes too long then
  byte_room::part room;  // of the message
  std::string rest;      // came after a message that somebody still has
};

} // namespace parlor::http
