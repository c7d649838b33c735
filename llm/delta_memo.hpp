#pragma once
// Most chunks of a stream differ in one JSON string. Once what stands around it is known, that
// string is the answer's next piece, without parsing the rest again: 700 instructions instead of
// 8000 (docs/decisions/0011). Pure. Thread: any; a memo belongs to one call.

#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace parlor::llm {

class delta_memo {
public:
  /// The text of a chunk that is like the one learnt but for its text; it points into `chunk`.
  /// Nothing: the chunk has to be parsed. A text with an escape in it is left to the parser.
  std::optional<std::string_view> match(std::string_view chunk) const;

  /// `chunk` was parsed and says nothing but `text`. `says` parses a chunk and tells whether it
  /// says nothing but a text: a probe with another text in the same place proves that the place is
  /// the right one. Gives up on services whose chunks differ in more than their text.
  void learn(std::string_view chunk, std::string_view text,
             const std::function<bool(std::string_view chunk, std::string_view text)>& says);

private:
  std::string before_, after_; // with the quotes; empty: nothing is known
  int attempts_ = 0;
};

} // namespace parlor::llm
