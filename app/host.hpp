#pragma once
// The whole server put together: what is started, in which order, and how it ends.
//
// Owner and thread: main. run() blocks until the server has been told to stop and has stopped.

#include "app/settings.hpp"

namespace parlor {

/// Serves until SIGTERM or SIGINT; returns the exit code (0; 70 if the store could no longer be
/// trusted). Throws std::exception with a clear text if it cannot start. A second signal ends the
/// process at once.
int serve(const settings& config);

} // namespace parlor
