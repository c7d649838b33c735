#pragma once
// Reads what one watcher of a room is told, and proves it: every event of its room, in order, none
// twice, none of another room. An event's text is "<room>.<number>.<nanoseconds>.<filling> "; the
// number counts from 0, the time is CLOCK_MONOTONIC when it was due. Speaks the server-sent events
// of all contestants: the text is the data itself, or the content of Parlor's `chunk`.
//
// Owner: one connection of the load. Thread: one.

#include "plan.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace bench {

/// What was wrong, over all watchers.
struct watch_faults {
  std::uint64_t lost = 0;
  std::uint64_t repeated = 0;
  std::uint64_t foreign = 0;
  std::uint64_t broken = 0; // watchers whose stream was not one, or ended
  std::uint64_t total() const { return lost + repeated + foreign + broken; }
};

/// Appends an event's text, filled up to `size` bytes.
void append_event_text(std::string& out, std::uint32_t room, std::uint64_t number,
                       std::int64_t stamp, std::size_t size);

class watcher {
public:
  explicit watcher(std::uint32_t room) : room_{room} {}

  /// Takes the bytes that came next. `on_event(number, stamp)` is called for each event that is the
  /// next in order. False: this is no proper stream, see why().
  template <class OnEvent>
  bool feed(std::string_view bytes, OnEvent on_event) {
    struct calls final : sink {
      explicit calls(OnEvent& c) : call{c} {}
      void event(std::uint64_t number, std::int64_t stamp) override { call(number, stamp); }
      OnEvent& call;
    } to{on_event};
    return take(bytes, to);
  }

  bool has_head() const { return has_head_; }
  std::uint32_t room() const { return room_; }
  std::uint64_t told() const { return next_; }
  const std::string& why() const { return why_; }

  /// Adds what was wrong, when `published` events should have come.
  void count(std::uint64_t published, watch_faults& f) const;

private:
  struct sink {
    virtual void event(std::uint64_t number, std::int64_t stamp) = 0;

  protected:
    ~sink() = default;
  };

  bool take(std::string_view bytes, sink& to);
  bool take_head(std::string_view& left);
  bool take_chunks(std::string_view& left, sink& to);
  bool take_blocks(std::string_view& left, sink& to);
  bool take_data(std::string_view data, sink& to);
  bool take_text(std::string_view text, sink& to);
  bool fail(std::string_view why, std::string_view what = {});

  std::uint32_t room_;
  bool has_head_ = false;
  bool chunked_ = false;
  bool broken_ = false;
  std::uint64_t next_ = 0; // events told so far, and so the number of the next
  std::uint64_t lost_ = 0, repeated_ = 0, foreign_ = 0;
  std::string in_;     // what was not whole: the head, a chunk
  std::string blocks_; // an event that is not whole
  std::string why_;
};

} // namespace bench
