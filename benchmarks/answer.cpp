#include "answer.hpp"

#include <algorithm>

namespace bench {

namespace {

// What follows `mark` up to the next quote. The texts here have nothing to escape.
std::string_view quoted_after(std::string_view in, std::string_view mark) {
  auto at = in.find(mark);
  if (at == in.npos)
    return {};
  in.remove_prefix(at + mark.size());
  return in.substr(0, in.find('"'));
}

} // namespace

void answer::fail(std::string why) {
  if (state_ == state::broken)
    return;
  state_ = state::broken;
  why_ = std::move(why);
}

void answer::take(std::string_view bytes) {
  if (state_ != state::more)
    return fail("bytes after the end");
  if (has_head_ && !chunked_ && !whole_)
    return take_body(bytes);
  in_ += bytes;
  if (!has_head_ && !take_head())
    return;
  if (whole_)
    take_whole();
  else if (chunked_)
    take_chunked();
}

bool answer::take_head() {
  auto end = in_.find("\r\n\r\n");
  if (end == in_.npos)
    return false;
  auto head = in_.substr(0, end + 2);
  refused_ = whole_ && (head.starts_with("HTTP/1.1 429 ") || head.starts_with("HTTP/1.1 503 "));
  if (!refused_ && !head.starts_with("HTTP/1.1 200 ")) {
    fail("status: " + in_.substr(0, 400));
    return false;
  }
  std::transform(head.begin(), head.end(), head.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  if (whole_) {
    auto mark = std::string_view{"\r\ncontent-length: "};
    auto at = head.find(mark);
    if (at == head.npos) {
      fail("no length");
      return false;
    }
    std::from_chars(head.data() + at + mark.size(), head.data() + head.size(), length_);
    keep_ = head.find("\r\nconnection: close\r\n") == head.npos;
    has_head_ = true;
    in_.erase(0, end + 4);
    return true;
  }
  if (head.find("\r\ncontent-type: text/event-stream") == head.npos) {
    fail("not an event stream");
    return false;
  }
  chunked_ = head.find("\r\ntransfer-encoding: chunked\r\n") != head.npos;
  keep_ = chunked_ && head.find("\r\nconnection: close\r\n") == head.npos;
  has_head_ = true;
  in_.erase(0, end + 4);
  if (!chunked_) {
    auto rest = std::move(in_);
    in_.clear();
    take_body(rest);
  }
  return true;
}

void answer::take_whole() {
  if (in_.size() < length_)
    return;
  if (in_.size() > length_)
    return fail("bytes after the end");
  if (refused_) {
    state_ = state::refused;
    return;
  }
  if (wire_ == wire::accept) {
    if (!in_.starts_with(R"({"success":true,)") || quoted_after(in_, R"("taskId":")").empty())
      return fail(in_.substr(0, 200));
    state_ = state::complete;
    return;
  }
  take_text(quoted_after(in_, wire_ == wire::parlor ? R"("response":")" : R"("content":")"));
  counted_ = in_.find(R"("completion_tokens":)" + std::to_string(seen_.size()) + ",") != in_.npos;
  stopped_ = quoted_after(in_, R"("finish_reason":")") == "stop";
  done_ = true;
  close();
}

void answer::take_chunked() {
  std::string_view left = in_;
  while (state_ == state::more) {
    auto line = left.find("\r\n");
    if (line == left.npos)
      break;
    std::size_t size = 0;
    auto [end, ec] = std::from_chars(left.data(), left.data() + line, size, 16);
    if (ec != std::errc{})
      return fail("not a chunk");
    if (left.size() < line + 2 + size + 2)
      break;
    body_ += left.substr(line + 2, size);
    left.remove_prefix(line + 2 + size + 2);
    if (size == 0) {
      take_events();
      close();
      if (!left.empty())
        fail("bytes after the end");
      break;
    }
  }
  in_.erase(0, in_.size() - left.size());
  take_events();
}

void answer::take_body(std::string_view bytes) {
  body_ += bytes;
  take_events();
}

void answer::take_events() {
  std::string_view left = body_;
  for (;;) {
    auto end = left.find("\n\n");
    if (end == left.npos || state_ == state::broken)
      break;
    auto event = left.substr(0, end);
    left.remove_prefix(end + 2);
    for (; !event.empty(); event.remove_prefix(std::min(event.size(), event.find('\n') + 1))) {
      auto line = event.substr(0, event.find('\n'));
      if (line.starts_with("data: "))
        take_event(line.substr(6));
      if (line.size() == event.size())
        break;
    }
  }
  body_.erase(0, body_.size() - left.size());
}

void answer::take_event(std::string_view data) {
  if (done_)
    return fail("an event after the last");
  if (wire_ == wire::parlor) {
    if (data.starts_with(R"({"type":"chunk","content":")"))
      return take_text(quoted_after(data, R"("content":")"));
    if (data.starts_with(R"({"type":"start")")) {
      if (started_)
        fail("two starts");
      started_ = true;
    } else if (data.starts_with(R"({"type":"done")")) {
      done_ = true;
      stopped_ = quoted_after(data, R"("finish_reason":")") == "stop";
      counted_ =
          data.find(R"("completion_tokens":)" + std::to_string(seen_.size()) + ",") != data.npos ||
          data.find(R"("completion_tokens":)" + std::to_string(seen_.size()) + "}") != data.npos;
      if (!started_)
        fail("no start");
      if (quoted_after(data, R"("content":")") != said_)
        fail("the whole text is not the sum of its pieces");
    } else {
      fail(std::string{data.substr(0, 200)});
    }
    return;
  }
  if (data == "[DONE]") {
    done_ = true;
    return;
  }
  if (auto at = data.find(R"("delta":{"content":")"); at != data.npos)
    return take_text(quoted_after(data.substr(at), R"("content":")"));
  if (data.find(R"("error")") != data.npos)
    fail(std::string{data.substr(0, 200)});
  if (quoted_after(data, R"("finish_reason":")") == "stop")
    stopped_ = true;
  if (data.find(R"("completion_tokens":)" + std::to_string(seen_.size()) + ",") != data.npos)
    counted_ = true;
}

void answer::take_text(std::string_view text) {
  said_ += text;
  for (char c : text) {
    if (c >= '0' && c <= '9') {
      fields_[field_] = fields_[field_] * 10 + static_cast<std::uint64_t>(c - '0');
    } else if (c == '.' && field_ < 2) {
      ++field_;
    } else if (c == ' ' && field_ == 2) {
      take_token();
      fields_[0] = fields_[1] = fields_[2] = 0;
      field_ = 0;
    } else {
      return fail("not a token: " + std::string{text.substr(0, 100)});
    }
  }
}

void answer::take_token() {
  if (fields_[0] != stream_ || fields_[1] >= seen_.size()) {
    ++foreign_;
    return;
  }
  auto number = static_cast<std::uint32_t>(fields_[1]);
  if (seen_[number])
    ++repeated_;
  else if (number < next_)
    ++late_;
  seen_[number] = true;
  next_ = std::max(next_, number + 1);
  fresh_.push_back({number, static_cast<std::int64_t>(fields_[2])});
}

answer::state answer::end() {
  if (state_ == state::more && has_head_ && !chunked_ && !whole_)
    close();
  if (state_ == state::more)
    fail("the connection ended early");
  return state_;
}

void answer::close() {
  if (state_ != state::more)
    return;
  if (!done_)
    return fail("no last event");
  if (!stopped_)
    return fail("no finish_reason stop");
  if (!counted_)
    return fail("no usage");
  if (field_ != 0 || fields_[0] != 0 || !body_.empty())
    return fail("half a token or event at the end");
  state_ = state::complete;
}

void answer::count(faults& f) const {
  if (state_ == state::refused || (wire_ == wire::accept && state_ == state::complete))
    return;
  f.lost += static_cast<std::uint64_t>(std::count(seen_.begin(), seen_.end(), false));
  f.repeated += repeated_;
  f.late += late_;
  f.foreign += foreign_;
  f.broken_streams += state_ != state::complete;
}

} // namespace bench
