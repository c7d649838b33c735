#pragma once
// A text that is never changed, and so never copied: photos, which go from a question to the disk,
// to the history and to each call of a model. Values only; any thread.

#include <concepts>
#include <memory>
#include <string>
#include <string_view>

namespace parlor {

class shared_text {
public:
  shared_text() = default;
  shared_text(std::string text)
      : text_{text.empty() ? nullptr : std::make_shared<const std::string>(std::move(text))} {}
  shared_text(const char* text) : shared_text{std::string{text}} {}

  operator std::string_view() const noexcept {
    return text_ ? std::string_view{*text_} : std::string_view{};
  }
  bool empty() const noexcept { return text_ == nullptr; }
  std::size_t size() const noexcept { return text_ ? text_->size() : 0; }
  bool starts_with(char c) const noexcept { return text_ && text_->front() == c; }

  friend bool operator==(const shared_text& a, const shared_text& b) noexcept {
    return std::string_view{a} == std::string_view{b};
  }
  template <std::convertible_to<std::string_view> T>
  requires(!std::same_as<T, shared_text>) friend bool operator==(const shared_text& a,
                                                                 const T& b) noexcept {
    return std::string_view{a} == std::string_view{b};
  }

private:
  std::shared_ptr<const std::string> text_; // null: it is empty
};

} // namespace parlor
