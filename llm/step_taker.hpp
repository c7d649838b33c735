#pragma once
// Who takes the steps of a loop: is given each, calls it once before it returns, and sees to what
// follows from it. Thread: the loop's.

#include <functional>

namespace parlor::llm {

using step_taker = std::function<void(const std::function<void()>&)>;

} // namespace parlor::llm
