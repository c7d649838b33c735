#include "http/chunk_frame.hpp"

#include <charconv>
#include <iterator>

namespace parlor::http {

namespace {

// Bytes. To copy more would cost more than it saves, and each thread keeps its last frame.
constexpr std::size_t large = 4096;

} // namespace

void append_chunk_head(std::string& to, std::size_t size) {
  char digits[16];
  to.append(std::begin(digits), std::to_chars(std::begin(digits), std::end(digits), size, 16).ptr);
  to += "\r\n";
}

chunk framed_for_many(const chunk& piece) {
  if (piece->size() > large || piece.use_count() < 2)
    return {};
  thread_local std::weak_ptr<const std::string> last;
  thread_local chunk frame;
  if (last.owner_before(piece) || piece.owner_before(last)) {
    std::string s;
    s.reserve(piece->size() + 8);
    append_chunk_head(s, piece->size());
    s += *piece;
    s += "\r\n";
    frame = std::make_shared<const std::string>(std::move(s));
    last = piece;
  }
  return frame;
}

} // namespace parlor::http
