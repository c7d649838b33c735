#pragma once
// A stored task as events again. Pure; any thread.

#include "store/store.hpp"

#include <vector>

namespace parlor {

/// All that the store knows of the task, in the order of seq: accepted, started, pieces, end.
std::vector<event_ptr> stored_events(const store::stored_task& task);

} // namespace parlor
