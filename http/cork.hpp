#pragma once
// Part of the port of exchange.hpp. Put around pushes to many peers: what they are to write is then
// written by one handler of the loop for some dozens of them, instead of one each, which cost as
// much as all else a push does.
//
// Owner: the pusher's stack. Thread: the one that made it, and it sees only pushes from there.
// Nothing is later than without one: handlers are posted as it fills, and the last when it goes.
// One that stands inside another does nothing.

#include <boost/container/static_vector.hpp>

#include <cstdint>
#include <memory>

namespace parlor::http {

class listed;

class cork {
public:
  /// How the last ones are written when it goes: by a handler, or before its destructor returns,
  /// for which the thread has to run the loop and hold no lock.
  enum class last : std::uint8_t { posted, written };
  explicit cork(last how = last::posted) noexcept;
  ~cork();
  cork(const cork&) = delete;
  cork& operator=(const cork&) = delete;

  /// Has `peer` flushed, by this thread's cork if there is one.
  static void flush_soon(std::shared_ptr<listed> peer);

private:
  // Few enough that other threads find work, and that sockets are looked at in between.
  static constexpr std::size_t at_once = 32;
  using peers = boost::container::static_vector<std::shared_ptr<listed>, at_once>;

  void post_flushes();

  last how_;
  peers held_;
};

} // namespace parlor::http
