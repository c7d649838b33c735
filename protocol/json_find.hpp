#pragma once
// Where the JSON document is in what a model has written: bare, in a fenced block, or with prose
// around it. Pure; a locator is used by one thread at a time.
//
// The document is the first place that begins like one, and the rest follows from there: a place
// once taken is never given up. So a streaming reader knows as early as one who has the whole text.
// Like a document begins
//  - `{` and a quoted name (at most 256 bytes) with its colon; or `{}` first on its line;
//  - `[`, first on its line, and a value or `]`;
//  - `[`, anywhere, and something of the first kind.
// Not looked at: fenced blocks of another language than JSON, and a <think> block at the beginning.

#include <cstdint>
#include <string>
#include <string_view>

namespace parlor::json {

/// Finds the document while the text arrives. Linear in the text; keeps at most 512 bytes of it.
class locator {
public:
  /// Takes the next piece and appends to `document` what of it belongs to the document.
  void feed(std::string_view piece, std::string& document);
  bool begun() const noexcept { return state_ >= state::inside; }
  /// The bracket that closes the document has been seen. What follows is ignored.
  bool whole() const noexcept { return state_ == state::after; }
  /// Where it begins in the text, in bytes, once it has begun.
  std::uint64_t offset() const noexcept { return offset_; }

private:
  enum class state : std::uint8_t { before, thinking, foreign_block, inside, after };
  enum class verdict : std::uint8_t { no, yes, open };

  void seek(std::string_view piece, std::string& document);
  std::size_t follow(std::string_view piece);
  verdict special(std::string_view rest, std::size_t& skip);
  static verdict begins(std::string_view rest, bool first_on_line, int depth);

  state state_ = state::before;
  bool line_start_ = true;   // only white space since the line began
  bool text_start_ = true;   // only white space since the text began
  std::string pending_;      // not decided yet
  std::uint64_t passed_ = 0; // bytes of the text before `pending_`
  std::uint64_t offset_ = 0;
  std::string_view end_of_thinking_;
  // Inside the document:
  std::size_t depth_ = 0;
  bool in_string_ = false, escaped_ = false;
};

struct found_document {
  std::string_view text; // of the document, not yet checked; empty if there is none
  bool whole = false;    // else the text ended within it
};
found_document find_document(std::string_view text);

} // namespace parlor::json
