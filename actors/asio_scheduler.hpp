#pragma once
// CAF on the threads that run Asio: no thread switch between a socket and an actor
// (docs/decisions/0002).
//
// The scheduler owns the threads that run the io_context (io_threads.hpp): a thread that has ever
// spawned an actor keeps CAF's logger alive, and the actor system waits for it when it ends.

#include <boost/asio/io_context.hpp>

#include <caf/actor_system_config.hpp>

#include <cstddef>
#include <functional>

namespace parlor {

/// The actor system made from `config` runs its actors on up to `threads` threads (io_threads.hpp),
/// which it starts and which run `io`. `io` must outlive the system; nobody else runs it.
void host_on(caf::actor_system_config& config, boost::asio::io_context& io, std::size_t threads);

/// Takes `step`, then runs the actors that it wakes and those that they wake, and writes what they
/// push, all before it returns, where they would otherwise wait behind what is ready already. Some
/// dozens of them: more wait as ever. Within another one it only takes the step. On a thread that
/// runs `io`, holding no lock that an actor or a connection may want.
void run_to_completion(const std::function<void()>& step);

} // namespace parlor
