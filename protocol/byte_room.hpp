#pragma once
// How much of what clients have sent is held at once, in all. A limit for each does not help when
// there are many of them.

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

namespace parlor {

/// Any thread. Outlives everybody who holds a part of it.
class byte_room {
public:
  /// `taken`: how much is, for others to read. `small`: parts up to this size count for nothing, so
  /// that many large ones keep nobody from saying a few words.
  byte_room(std::uint64_t bytes, std::atomic<std::uint64_t>& taken, std::uint64_t small = 0)
      : size_{bytes}, small_{small}, taken_{taken} {}
  /// A part of so many, as far as is known now.
  bool fits(std::uint64_t bytes) const noexcept {
    return taken_.load(std::memory_order_relaxed) + counted(bytes) <= size_;
  }

  /// A part of the room, empty at first. One thread at a time.
  class part {
  public:
    explicit part(byte_room& of) noexcept : of_{&of} {}
    part(part&& other) noexcept : of_{other.of_}, bytes_{std::exchange(other.bytes_, 0)} {}
    part& operator=(part&&) = delete;
    ~part() { give_back(); }

    /// So many bytes from now on. False if there is no room for what that is more: then it stays.
    bool resize(std::uint64_t bytes) noexcept {
      bytes = of_->counted(bytes);
      if (bytes > bytes_ && !of_->take(bytes - bytes_))
        return false;
      if (bytes < bytes_)
        of_->taken_.fetch_sub(bytes_ - bytes, std::memory_order_relaxed);
      bytes_ = bytes;
      return true;
    }
    void give_back() noexcept { resize(0); }

  private:
    byte_room* of_;
    std::uint64_t bytes_ = 0; // as they count
  };

  /// A part of so many; null if there is no room for it.
  std::shared_ptr<const part> hold(std::uint64_t bytes) {
    auto one = std::make_shared<part>(*this);
    return one->resize(bytes) ? one : nullptr;
  }

private:
  std::uint64_t counted(std::uint64_t bytes) const noexcept { return bytes <= small_ ? 0 : bytes; }
  bool take(std::uint64_t bytes) noexcept {
    if (taken_.fetch_add(bytes, std::memory_order_relaxed) + bytes <= size_)
      return true;
    taken_.fetch_sub(bytes, std::memory_order_relaxed);
    return false;
  }

  std::uint64_t size_;
  std::uint64_t small_;
  std::atomic<std::uint64_t>& taken_;
};

} // namespace parlor
