#pragma once
// The compact record of what a task showed: the boundaries of its pieces, progress and retries, a
// few bytes each, beside the text itself. From it a finished task is streamed again exactly as it
// was.
//
// Format, one entry after another; all numbers are unsigned LEB128:
//   tag = (seq difference to the previous entry << 2) | kind
//   time = ms since the previous entry (0 if the wall clock stepped back)
//   kind 0, delta: length of the piece in bytes    1, progress: percent
//   kind 2, retry: attempt << 1 | discard, delay_ms
//   kind 3, what is rare: one of
//     0 stage: its name; what follows is of it   1 stage_done: the result   4 text_done
//     2 retry with a reason: as kind 2, the reason   3 progress with a text: percent, the text
//   Texts of kind 3 stand in the entry: length, bytes.
// The first entry's differences are to the base given (the task's accepted seq and time). Pure; any
// thread.

#include "protocol/event.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace parlor {

class task_log {
public:
  task_log(std::uint64_t base_seq, std::int64_t base_at) : seq_{base_seq}, at_{base_at} {}

  /// Notes an event of a running task; facts that have rows of their own are ignored.
  void note(const event& e);

  /// The text of the deltas, and the entries.
  struct pieces {
    std::string text;
    std::string entries;
  };
  /// What was noted since the last call.
  pieces take() { return std::exchange(noted_, {}); }
  /// What was taken last could not be kept: it comes before what was noted since.
  void put_back(pieces earlier) {
    noted_.text.insert(0, earlier.text);
    noted_.entries.insert(0, earlier.entries);
  }
  bool empty() const noexcept { return noted_.entries.empty(); }

private:
  std::uint64_t seq_;
  std::int64_t at_;
  std::shared_ptr<const std::string> stage_;
  pieces noted_;
};

/// Reads the entries one after another. The text is not needed for that: of an event that shows
/// some it is said where that stands.
class log_reader {
public:
  log_reader(std::uint64_t base_seq, std::int64_t base_at, std::string_view entries)
      : seq_{base_seq}, at_{base_at}, entries_{entries} {}

  /// The next event, without its task and without what stands in the text. False at the end, and at
  /// damage.
  bool next(event& e);
  bool damaged() const noexcept { return damaged_; }

  /// Where the last event's share of the text is: a delta's piece; of text_done, all that the
  /// watcher has before it.
  std::size_t text_from() const noexcept { return from_; }
  std::size_t text_size() const noexcept { return size_; }
  std::size_t text_read() const noexcept { return read_; } // by all deltas so far

private:
  bool read(event& e, std::uint64_t head, std::uint64_t time, std::uint64_t value);

  std::uint64_t seq_;
  std::int64_t at_;
  std::string_view entries_;
  std::shared_ptr<const std::string> stage_;
  std::size_t read_ = 0;
  std::size_t shown_from_ = 0; // what was before is void
  std::size_t from_ = 0;
  std::size_t size_ = 0;
  bool damaged_ = false;
};

/// The events again, in order. `text` and `entries` are concatenations of what was taken. A damaged
/// record yields the events up to the damage; `whole` (if given) says whether there was none.
std::vector<event_ptr> replay(std::uint64_t base_seq, std::int64_t base_at,
                              const task_header_ptr& task, std::string_view text,
                              std::string_view entries, bool* whole = nullptr);

} // namespace parlor
