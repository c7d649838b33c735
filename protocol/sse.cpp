#include "protocol/sse.hpp"

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

bool decoder::feed(std::string_view bytes, std::vector<frame>& out) {
  if (failed_)
    return false;
  while (!bytes.empty()) {
    if (std::exchange(skip_lf_, false) && bytes.front() == '\n') {
      bytes.remove_prefix(1);
      continue;
    }
    auto end = bytes.find_first_of("\r\n");
    auto piece = bytes.substr(0, end);
    if (partial_.size() + piece.size() + data_.size() > max_) {
      failed_ = true;
      return false;
    }
    partial_.append(piece);
    if (end == std::string_view::npos)
      return true;
    skip_lf_ = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
    auto whole = std::exchange(partial_, {});
    std::string_view text = whole;
    if (std::exchange(start_, false) && text.substr(0, 3) == "\xef\xbb\xbf")
      text.remove_prefix(3);
    line(text, out);
  }
  return true;
}

bool decoder::line(std::string_view text, std::vector<frame>& out) {
  if (text.empty()) { // the end of a block
    if (has_data_)
      out.push_back({event_.empty() ? "message" : event_, std::move(data_), id_});
    data_.clear();
    event_.clear();
    has_data_ = false;
    return true;
  }
  auto colon = text.find(':');
  if (colon == 0)
    return true; // a comment
  auto field = text.substr(0, colon);
  auto value = colon == std::string_view::npos ? std::string_view{} : text.substr(colon + 1);
  if (!value.empty() && value.front() == ' ')
    value.remove_prefix(1);
  if (field == "data") {
    if (has_data_)
      data_ += '\n';
    data_ += value;
    has_data_ = true;
  } else if (field == "event") {
    event_ = value;
  } else if (field == "id" && value.find('\0') == std::string_view::npos) {
    id_ = value;
  }
  return true; // `retry` and unknown fields mean nothing here
}

bool decoder::mid_event() const noexcept { return !partial_.empty() || has_data_; }

} // namespace parlor::sse
