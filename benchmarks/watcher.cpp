#include "watcher.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

namespace bench {

void append_event_text(std::string& out, std::uint32_t room, std::uint64_t number,
                       std::int64_t stamp, std::size_t size) {
  char text[80];
  auto* end = std::to_chars(text, text + 10, room).ptr;
  *end++ = '.';
  end = std::to_chars(end, end + 20, number).ptr;
  *end++ = '.';
  end = std::to_chars(end, end + 20, stamp).ptr;
  *end++ = '.';
  auto length = static_cast<std::size_t>(end - text);
  out.append(text, length);
  if (size > length + 1)
    out.append(size - length - 1, 'x');
  out += ' ';
}

bool watcher::fail(std::string_view why, std::string_view what) {
  if (!std::exchange(broken_, true))
    (why_ = why) += what.substr(0, 300);
  return false;
}

bool watcher::take(std::string_view bytes, sink& to) {
  if (broken_)
    return false;
  std::string held;
  if (!in_.empty()) {
    held = std::move(in_);
    bytes = held += bytes;
  }
  if (!has_head_ && !take_head(bytes)) {
    in_ = bytes;
    return !broken_;
  }
  if (!(chunked_ ? take_chunks(bytes, to) : take_blocks(bytes, to)))
    return false;
  in_ = bytes;
  return true;
}

bool watcher::take_head(std::string_view& left) {
  auto end = left.find("\r\n\r\n");
  if (end == left.npos)
    return false;
  std::string head{left.substr(0, end + 2)};
  std::transform(head.begin(), head.end(), head.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  if (!head.starts_with("http/1.1 200 ") ||
      head.find("\r\ncontent-type: text/event-stream") == head.npos)
    return fail("not a stream: ", left);
  chunked_ = head.find("\r\ntransfer-encoding: chunked\r\n") != head.npos;
  has_head_ = true;
  left.remove_prefix(end + 4);
  return true;
}

bool watcher::take_chunks(std::string_view& left, sink& to) {
  for (;;) {
    auto line = left.find("\r\n");
    if (line == left.npos)
      return true;
    std::size_t size = 0;
    auto [end, ec] = std::from_chars(left.data(), left.data() + line, size, 16);
    if (ec != std::errc{} || end != left.data() + line)
      return fail("not a chunk: ", left);
    if (left.size() < line + 2 + size + 2)
      return true;
    if (size == 0)
      return fail("the stream has ended");
    auto data = left.substr(line + 2, size);
    left.remove_prefix(line + 2 + size + 2);
    if (blocks_.empty()) {
      if (!take_blocks(data, to))
        return false;
      blocks_ = data;
    } else {
      auto held = std::move(blocks_) += data;
      std::string_view rest = held;
      if (!take_blocks(rest, to))
        return false;
      blocks_ = rest;
    }
  }
}

bool watcher::take_blocks(std::string_view& left, sink& to) {
  for (;;) {
    auto end = left.find("\n\n");
    if (end == left.npos)
      return true;
    auto block = left.substr(0, end);
    left.remove_prefix(end + 2);
    while (!block.empty()) {
      auto line = block.substr(0, block.find('\n'));
      block.remove_prefix(std::min(block.size(), line.size() + 1));
      if (line.starts_with("data: ")) {
        if (!take_data(line.substr(6), to))
          return false;
      } else if (!line.starts_with("id: ") && !line.starts_with(":")) {
        return fail("not an event: ", line);
      }
    }
  }
}

bool watcher::take_data(std::string_view data, sink& to) {
  constexpr std::string_view chunk = R"({"type":"chunk","content":")";
  if (data.starts_with(chunk) && data.ends_with("\"}"))
    return take_text(data.substr(chunk.size(), data.size() - chunk.size() - 2), to);
  if (data.starts_with(R"({"type":"start")"))
    return true;
  return data.starts_with("{") ? fail("not expected: ", data) : take_text(data, to);
}

// Whole texts, one or more: a model's pieces may have been joined, never cut.
bool watcher::take_text(std::string_view text, sink& to) {
  while (!text.empty()) {
    std::uint64_t fields[3] = {};
    auto* at = text.data();
    auto* stop = at + text.size();
    for (auto& field : fields) {
      auto [end, ec] = std::from_chars(at, stop, field);
      if (ec != std::errc{} || end == stop || *end != '.')
        return fail("not a text: ", text);
      at = end + 1;
    }
    text.remove_prefix(static_cast<std::size_t>(at - text.data()));
    auto space = text.find(' ');
    if (space == text.npos)
      return fail("half a text: ", text);
    text.remove_prefix(space + 1);
    if (fields[0] != room_) {
      ++foreign_;
    } else if (fields[1] < next_) {
      ++repeated_; // or late: one that was skipped is lost already
    } else {
      lost_ += fields[1] - next_;
      next_ = fields[1] + 1;
      to.event(fields[1], static_cast<std::int64_t>(fields[2]));
    }
  }
  return true;
}

void watcher::count(std::uint64_t published, watch_faults& f) const {
  f.lost += lost_ + (published > next_ ? published - next_ : 0);
  f.repeated += repeated_;
  f.foreign += foreign_ + (next_ > published ? next_ - published : 0);
  f.broken += broken_;
}

} // namespace bench
