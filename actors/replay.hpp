#pragma once
// What has been told, told again in fewer words. Pure; any thread.

#include "protocol/event.hpp"

#include <vector>

namespace parlor {

/// The pieces of an answer that follow one another become one; nothing else changes.
std::vector<event_ptr> merge_deltas(const std::vector<event_ptr>& events);

} // namespace parlor
