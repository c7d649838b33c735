#pragma once
// The whole server put together: what is started, in which order, and how it ends.
//
// Owner and thread: main. run() blocks until the server has been told to stop and has stopped.

#include "app/settings.hpp"

#include <string>

namespace parlor {

/// Serves until SIGTERM or SIGINT; returns the exit code (0; 70 if the store could no longer be
/// trusted). Throws std::exception with a clear text if it cannot start. A second signal ends the
/// process at once.
int serve(const settings& config);

/// The reason why these settings must not be served, or empty: a listener that others can reach
/// needs a key.
std::string unsafe_listener(const settings& config);

/// "127.0.0.1:8080" or "[::1]:8080" taken apart; throws std::invalid_argument.
std::pair<std::string, unsigned short> split_address(const std::string& listen);

} // namespace parlor
