#include "http/frame_writer.hpp"

#include <algorithm>
#include <utility>

namespace parlor::http {

namespace {

/// A longer message goes in fragments (RFC 6455 section 5.4), so that a ping and its answer need
/// not wait for the end of it.
constexpr std::size_t fragment = 64 * 1024;
constexpr std::size_t enough = 256 * 1024; // for one write

} // namespace

void frame_writer::gathered::add(std::string_view bytes) noexcept {
  if (!bytes.empty())
    parts[count++] = {const_cast<char*>(bytes.data()), bytes.size()};
}

void frame_writer::load(std::vector<chunk> messages) {
  messages_.clear();
  next_ = 0;
  messages_.reserve(messages.size());
  for (auto& m : messages) {
    auto size = m->size();
    messages_.push_back({std::move(m), size});
  }
}

void frame_writer::drop_messages() {
  if (!has_messages())
    return;
  if (done_ == 0) {
    messages_.clear();
    next_ = from_ = 0;
    return;
  }
  messages_.erase(messages_.begin() + static_cast<std::ptrdiff_t>(next_) + 1, messages_.end());
  messages_[next_].abandoned = true;
}

frame_writer::frame frame_writer::frame_at(const message& m, std::size_t from) const {
  frame f;
  f.size = std::min(m.bytes->size() - from, fragment);
  f.header_size =
      put_frame_header(f.header.data(), from == 0 ? opcode::text : opcode::more,
                       from + f.size == m.bytes->size(), m.deflated && from == 0, f.size);
  return f;
}

/// Not before it is its turn: a slow reader's messages need not be there twice.
void frame_writer::prepare(message& m) const {
  if (std::exchange(m.looked_at, true) || window_bits_ == 0 || m.pushed < deflate_from_)
    return;
  auto smaller = deflated(m.bytes, window_bits_);
  if (smaller->size() >= m.bytes->size())
    return;
  m.bytes = std::move(smaller);
  m.deflated = true;
}

void frame_writer::gather(gathered& g) {
  g.count = 0;
  std::size_t bytes = 0, headers = 0;
  auto interject = [&] {
    g.add(std::string_view{between_}.substr(between_taken_));
    bytes += interjected();
  };
  if (done_ == 0)
    interject();
  auto i = next_;
  auto from = from_;
  for (auto skip = done_;
       i < messages_.size() && bytes < enough && headers + max_frame_header <= g.headers.size() &&
       g.count + 3 <= g.parts.size();
       skip = 0) {
    auto& m = messages_[i];
    prepare(m);
    auto f = frame_at(m, from);
    auto* header = g.headers.data() + headers;
    std::copy_n(f.header.data(), f.header_size, header);
    headers += f.header_size;
    auto of_header = std::min(skip, f.header_size);
    g.add({header + of_header, f.header_size - of_header});
    auto payload = std::string_view{*m.bytes}.substr(from, f.size);
    g.add(payload.substr(skip - of_header));
    bytes += f.size;
    if (skip > 0) // what is under way comes first, whatever has come since
      interject();
    from += f.size;
    if (from == m.bytes->size() || m.abandoned) {
      ++i;
      from = 0;
    }
  }
}

std::size_t frame_writer::took(std::size_t n) {
  std::size_t whole = 0;
  if (done_ > 0)
    whole += advance(n);
  if (n > 0) { // else nothing between has been reached
    auto some = std::min(n, interjected());
    between_taken_ += some;
    n -= some;
    if (interjected() == 0) {
      between_.clear();
      between_taken_ = 0;
    }
  }
  while (n > 0)
    whole += advance(n);
  if (!has_messages())
    messages_.clear(), next_ = 0;
  return whole;
}

/// So many bytes of the present frame, at most to its end, have gone. Returns the size of its
/// message if that was its end.
std::size_t frame_writer::advance(std::size_t& n) {
  auto& m = messages_[next_];
  auto f = frame_at(m, from_);
  auto some = std::min(n, f.header_size + f.size - done_);
  n -= some;
  done_ += some;
  if (done_ < f.header_size + f.size)
    return 0;
  done_ = 0;
  from_ += f.size;
  if (from_ < m.bytes->size() && !m.abandoned)
    return 0;
  from_ = 0;
  m.bytes.reset();
  return messages_[next_++].pushed;
}

} // namespace parlor::http
