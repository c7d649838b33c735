#pragma once
// The threads that run an io_context: the first always, the others while it has too much to do.
//
// Asio wakes another thread for every event that it hands out. What comes alone then costs more in
// wakings than in work (docs/decisions/0002-actors-on-asio.md), so only the first thread waits for
// events. Each of the others watches the one before it: it sleeps until that one has used some
// processor time, by a timer on that thread's clock, which costs nothing while nothing is done.

#include <boost/asio/io_context.hpp>

#include <cstddef>
#include <list>
#include <thread>

namespace parlor {

class io_threads {
public:
  /// Starts them. `io` must have work to wait for, outlive this, and be run by nobody else.
  io_threads(boost::asio::io_context& io, std::size_t threads);
  io_threads(const io_threads&) = delete;
  io_threads& operator=(const io_threads&) = delete;
  ~io_threads(); // stops `io` and waits for them

private:
  void help(pthread_t before);

  boost::asio::io_context& io_;
  std::list<std::thread> threads_;
};

} // namespace parlor
