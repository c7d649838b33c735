#include "protocol/sse.hpp"

#include <algorithm>
#include <utility>

namespace parlor::sse {

std::string block(std::string_view id, std::string_view data) {
  std::string out;
  out.reserve(id.size() + data.size() + 16);
  if (!id.empty())
    out.append("id: ").append(id).append("\n");
  out.append("data: ").append(data).append("\n\n");
  return out;
}

std::string come_back(std::uint32_t ms) {
  return ": the server stops\nretry: " + std::to_string(ms) + "\n";
}

bool decoder::feed(std::string_view bytes, const frame_sink& out) {
  if (failed_)
    return false;
  auto lf = bytes.find('\n'); // the next one; each byte is looked at once for LF, once for CR
  for (std::size_t at = 0; at < bytes.size();) {
    if (std::exchange(skip_lf_, false) && bytes[at] == '\n') {
      ++at;
      continue;
    }
    if (lf != bytes.npos && lf < at)
      lf = bytes.find('\n', at);
    auto cr = bytes.substr(at, std::min(lf, bytes.size()) - at).find('\r');
    auto end = cr != bytes.npos ? at + cr : lf;
    auto piece = bytes.substr(at, end - at); // to the end if there is no end of line
    if (partial_.size() + piece.size() + fresh_.size() + data_.size() > max_) {
      failed_ = true;
      return false;
    }
    if (end == bytes.npos) {
      partial_.append(piece);
      break;
    }
    skip_lf_ = bytes[end] == '\r';
    at = end + 1;
    auto text = piece;
    auto lasts = partial_.empty();
    if (!lasts)
      text = partial_.append(piece);
    if (std::exchange(start_, false) && text.substr(0, 3) == "\xef\xbb\xbf")
      text.remove_prefix(3);
    line(text, lasts, out);
    partial_.clear();
  }
  keep();
  return true;
}

/// What is in the caller's bytes has to outlive them.
void decoder::keep() {
  if (!fresh_.empty())
    data_ = std::exchange(fresh_, {});
}

/// `lasts`: until the end of feed().
void decoder::line(std::string_view text, bool lasts, const frame_sink& out) {
  if (text.empty()) { // the end of a block
    if (has_data_)
      out({event_.empty() ? std::string_view{"message"} : event_,
           fresh_.empty() ? std::string_view{data_} : fresh_, id_});
    fresh_ = {};
    data_.clear();
    event_.clear();
    has_data_ = false;
    return;
  }
  auto colon = text.find(':');
  if (colon == 0)
    return; // a comment
  auto field = text.substr(0, colon);
  auto value = colon == std::string_view::npos ? std::string_view{} : text.substr(colon + 1);
  if (!value.empty() && value.front() == ' ')
    value.remove_prefix(1);
  if (field == "data") { // `retry` and unknown fields mean nothing here
    if (!has_data_ && lasts) {
      fresh_ = value;
    } else {
      keep();
      if (has_data_)
        data_ += '\n';
      data_ += value;
    }
    has_data_ = true;
  } else if (field == "event") {
    event_ = value;
  } else if (field == "id" && value.find('\0') == std::string_view::npos) {
    id_ = value;
  }
}

bool decoder::mid_event() const noexcept { return !partial_.empty() || has_data_; }

} // namespace parlor::sse
