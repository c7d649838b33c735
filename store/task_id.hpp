#pragma once
// The row of a task, found by its name without an index. Pure; any thread.

#include <cstdint>
#include <string_view>

namespace parlor::store {

/// A task's row has the first free id of this range. Names made by make_task_id begin with the
/// time: their rows are appended, and an id is not used again. The rest of the id is from a hash of
/// the name; whoever looks compares the name. Names of another form are all at the beginning.
struct task_ids {
  std::int64_t first = 0;
  std::int64_t last = 0;
};
task_ids task_ids_of(std::string_view name) noexcept;

/// Above the ids of all names that make_task_id made before this moment (ms), and of all names of
/// another form.
std::int64_t task_ids_before(std::int64_t at) noexcept;

} // namespace parlor::store
