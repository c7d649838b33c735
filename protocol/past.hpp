#pragma once
// Part of what has been told. Whoever comes for a long past is given it page by page, at the pace
// at which it reads: it costs no more memory than its connection holds. Values only; any thread.

#include "protocol/event.hpp"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace parlor {

/// About so many bytes of events are told at once. More would wait in the memory of the server for
/// whoever reads slowly; with less the store would be asked, and the record of a task be read from
/// its beginning, so often that a quick reader noticed it.
inline constexpr std::size_t page_bytes = 1024 * 1024;

/// What an event takes of a page: what it says, and about as much as its frame is long.
inline std::size_t size_in_page(const event& e) noexcept {
  return 128 + e.text.size() + (e.end ? e.end->content.size() : 0);
}

/// Which events are asked for.
struct past {
  std::uint64_t after = 0;                                        // those numbered above this
  std::uint64_t upto = std::numeric_limits<std::uint64_t>::max(); // and not above this
  std::size_t room = page_bytes; // about as much of them; one at least, if there is one
};

struct past_page {
  std::vector<event_ptr> events; // in order
  std::uint64_t upto = 0;        // nothing that was asked for is missing up to here
  bool gap = false;              // some of it is not kept any more
};

} // namespace parlor
