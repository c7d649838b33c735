#pragma once
// Where the events of a room come from, for the load of fan.cpp. A server like nchan is told an
// event by POST. Parlor's come from its model: a turn is begun in each room, this program is the
// model that is asked, and an event is a token it writes.
//
// Thread: the load's own; all sockets are in its poller, tagged with their `endpoint`.

#include "poller.hpp"

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace bench {

/// What a socket in the poller is tagged with.
struct endpoint {
  virtual ~endpoint() = default;
  virtual void on_event(std::uint32_t events) = 0;
};

/// A socket that answers one request after the other; what it cannot write now it writes later.
class kept_connection : public endpoint {
public:
  kept_connection(poller& p, int fd);
  ~kept_connection() override;
  void on_event(std::uint32_t events) final;
  void write(std::string_view bytes);

protected:
  /// Takes what is whole from the front of `in`.
  virtual void on_bytes(std::string& in) = 0;
  virtual void on_end() {}

private:
  int fd_;
  std::string in_, out_;
};

/// A connection to 127.0.0.1; throws.
int connect_to(unsigned short port, int receive_buffer = 0);

class event_source {
public:
  virtual ~event_source() = default;
  /// Whether every room can be published in.
  virtual bool ready() const = 0;
  virtual void publish(std::uint32_t room, std::string_view text) = 0;
  /// Nothing more comes.
  virtual void finish() = 0;
};

/// POST <path><room> over `connections` of them.
std::unique_ptr<event_source> make_posts(poller& p, unsigned short port, std::size_t connections);

/// Begins a turn in each of `rooms` sessions named `prefix` and the room, and answers it as the
/// model that listens on `model_port`.
std::unique_ptr<event_source> make_turns(poller& p, unsigned short port, unsigned short model_port,
                                         std::uint32_t rooms, std::string prefix);

} // namespace bench
