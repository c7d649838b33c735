#include "protocol/event.hpp"

namespace parlor {

std::string_view to_string(task_status s) noexcept {
  switch (s) {
  case task_status::pending:
    return "pending";
  case task_status::running:
    return "running";
  case task_status::completed:
    return "completed";
  case task_status::failed:
    return "failed";
  case task_status::cancelled:
    return "cancelled";
  }
  return "failed";
}

} // namespace parlor
