#pragma once
// A hierarchical timer wheel: adding, removing and firing cost the same however many timers there
// are, and finding the next one costs a few words of bitmap.
//
// Pure: time is a number of ticks, handed in. Timers are intrusive links that belong to the caller;
// a linked one must be removed before it dies. One thread at a time.
// Source: Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", scheme 7.

#include <array>
#include <bit>
#include <cstdint>
#include <optional>

namespace parlor {

class timer_wheel {
public:
  using tick = std::uint64_t;

  struct link {
    link* next = nullptr; // null: not in a wheel
    link* prev = nullptr;
    tick due = 0;
    link() = default;
    link(const link&) = delete;
    link& operator=(const link&) = delete;
    bool linked() const noexcept { return next != nullptr; }
    void unlink() noexcept {
      next->prev = prev;
      prev->next = next;
      next = prev = nullptr;
    }
  };

  explicit timer_wheel(tick now = 0) : now_{now} {
    for (auto& l : levels_)
      for (auto& head : l.slots)
        head.next = head.prev = &head;
  }
  timer_wheel(const timer_wheel&) = delete;
  timer_wheel& operator=(const timer_wheel&) = delete;

  tick now() const noexcept { return now_; }

  /// Fires at `due`, or at the next tick if that is past.
  void add(link& timer, tick due) noexcept {
    timer.due = due > now_ ? due : now_ + 1;
    place(timer);
  }

  static void remove(link& timer) noexcept { timer.unlink(); }

  /// When advance() has something to do: a timer is due then, or later and has to be sorted more
  /// finely. Never later than the earliest timer.
  std::optional<tick> next() noexcept {
    std::optional<tick> earliest;
    for (std::size_t l = 0; l < level_count; ++l) {
      auto base = now_ >> (slot_bits * l);
      if (auto distance = levels_[l].distance_from(base & slot_mask)) {
        auto at = (base + *distance) << (slot_bits * l);
        if (!earliest || at < *earliest)
          earliest = at;
      }
    }
    return earliest;
  }

  /// Moves the time to `to` and calls `fire(link&)` for every timer due until then, in the order of
  /// their ticks. The link is out of the wheel when `fire` sees it; `fire` may add and remove
  /// others.
  template <class F>
  void advance(tick to, F fire) {
    while (auto at = next()) {
      if (*at > to)
        break;
      now_ = *at;
      for (auto l = level_count - 1; l > 0; --l)
        if ((now_ & ((tick{1} << (slot_bits * l)) - 1)) == 0)
          cascade(levels_[l].slots[(now_ >> (slot_bits * l)) & slot_mask]);
      auto& due = levels_[0].slots[now_ & slot_mask];
      while (due.next != &due) {
        auto& timer = *due.next;
        timer.unlink();
        fire(timer);
      }
    }
    if (to > now_)
      now_ = to;
  }

  /// Takes every timer out, in no particular order.
  template <class F>
  void clear(F each) {
    for (auto& l : levels_)
      for (auto& head : l.slots)
        while (head.next != &head) {
          auto& timer = *head.next;
          timer.unlink();
          each(timer);
        }
  }

private:
  static constexpr unsigned slot_bits = 8;
  static constexpr std::size_t slot_count = 1U << slot_bits;
  static constexpr tick slot_mask = slot_count - 1;
  static constexpr std::size_t level_count = 4;
  // What lies further away waits in the last level and is placed again when it is reached.
  static constexpr tick horizon = (tick{1} << (slot_bits * level_count)) - 1;

  struct level {
    std::array<link, slot_count> slots;
    std::array<std::uint64_t, slot_count / 64> occupied{}; // may claim slots that are empty by now

    /// From slot `from` (exclusive) forward to the next slot in use; a whole turn is slot_count.
    std::optional<tick> distance_from(tick from) noexcept {
      for (tick step = 1; step <= slot_count;) {
        auto slot = (from + step) & slot_mask;
        auto word = occupied[slot / 64] >> (slot % 64);
        if (word == 0) { // on to the next word
          step += 64 - slot % 64;
          continue;
        }
        auto skip = static_cast<tick>(std::countr_zero(word));
        if (step + skip > slot_count)
          return std::nullopt;
        step += skip;
        slot += skip;
        if (slots[slot].next != &slots[slot])
          return step;
        occupied[slot / 64] &= ~(std::uint64_t{1} << (slot % 64));
      }
      return std::nullopt;
    }
  };

  void place(link& timer) noexcept {
    auto due = timer.due - now_ <= horizon ? timer.due : now_ + horizon;
    std::size_t l = 0;
    while (l + 1 < level_count && due - now_ >= tick{1} << (slot_bits * (l + 1)))
      ++l;
    auto slot = (due >> (slot_bits * l)) & slot_mask;
    auto& head = levels_[l].slots[slot];
    timer.prev = head.prev;
    timer.next = &head;
    head.prev->next = &timer;
    head.prev = &timer;
    levels_[l].occupied[slot / 64] |= std::uint64_t{1} << (slot % 64);
  }

  void cascade(link& head) noexcept {
    link mine; // a timer may come back to the very slot
    mine.next = mine.prev = &mine;
    if (head.next != &head) {
      mine.next = head.next;
      mine.prev = head.prev;
      mine.next->prev = mine.prev->next = &mine;
      head.next = head.prev = &head;
    }
    while (mine.next != &mine) {
      auto& timer = *mine.next;
      timer.unlink();
      place(timer);
    }
  }

  tick now_;
  std::array<level, level_count> levels_;
};

} // namespace parlor
