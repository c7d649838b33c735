#pragma once
// What has been told, told again: a stored task as events, and many pieces as one. Pure; any
// thread.

#include "store/store.hpp"

#include <vector>

namespace parlor {

/// All that the store knows of the task, in the order of seq: accepted, started, pieces, end.
std::vector<event_ptr> stored_events(const store::stored_task& task);

/// The pieces of an answer that follow one another become one; nothing else changes.
std::vector<event_ptr> merge_deltas(const std::vector<event_ptr>& events);

} // namespace parlor
