#include "protocol/task_log.hpp"

#include <algorithm>

namespace parlor {

namespace {

enum tag : std::uint64_t { tag_delta = 0, tag_progress = 1, tag_retry = 2 };

void put(std::string& out, std::uint64_t n) {
  for (; n >= 0x80; n >>= 7)
    out += static_cast<char>((n & 0x7f) | 0x80);
  out += static_cast<char>(n);
}

bool get(std::string_view& in, std::uint64_t& n) {
  n = 0;
  for (unsigned shift = 0; shift < 64 && !in.empty(); shift += 7) {
    auto byte = static_cast<unsigned char>(in.front());
    in.remove_prefix(1);
    n |= std::uint64_t{byte & 0x7fU} << shift;
    if (byte < 0x80)
      return true;
  }
  return false;
}

} // namespace

void task_log::note(const event& e) {
  auto kind = e.kind == event_kind::delta      ? tag_delta
              : e.kind == event_kind::progress ? tag_progress
                                               : tag_retry;
  if (kind == tag_retry && e.kind != event_kind::retry)
    return;
  put(noted_.entries, (e.seq - seq_) << 2 | kind);
  put(noted_.entries, static_cast<std::uint64_t>(std::max<std::int64_t>(0, e.at - at_)));
  seq_ = e.seq;
  at_ = std::max(at_, e.at);
  if (kind == tag_delta) {
    put(noted_.entries, e.text.size());
    noted_.text += e.text;
  } else if (kind == tag_progress) {
    put(noted_.entries, e.number);
  } else {
    put(noted_.entries, std::uint64_t{e.number} << 1 | (e.discard ? 1 : 0));
    put(noted_.entries, e.delay_ms);
  }
}

std::vector<event_ptr> replay(std::uint64_t base_seq, std::int64_t base_at,
                              const task_header_ptr& task, std::string_view text,
                              std::string_view entries, bool* whole) {
  std::vector<event_ptr> out;
  auto ok = true;
  while (ok && !entries.empty()) {
    std::uint64_t head = 0, time = 0, value = 0;
    if (!get(entries, head) || !get(entries, time) || !get(entries, value)) {
      ok = false;
      break;
    }
    auto e = std::make_shared<event>();
    base_seq += head >> 2;
    base_at += static_cast<std::int64_t>(time);
    e->seq = base_seq;
    e->at = base_at;
    e->task = task;
    switch (head & 3) {
    case tag_delta:
      e->kind = event_kind::delta;
      if (value > text.size()) {
        ok = false;
        break;
      }
      e->text = text.substr(0, value);
      text.remove_prefix(value);
      break;
    case tag_progress:
      e->kind = event_kind::progress;
      e->number = static_cast<std::uint32_t>(value);
      break;
    case tag_retry: {
      e->kind = event_kind::retry;
      e->number = static_cast<std::uint32_t>(value >> 1);
      e->discard = (value & 1) != 0;
      std::uint64_t delay = 0;
      ok = get(entries, delay);
      e->delay_ms = static_cast<std::uint32_t>(delay);
      break;
    }
    default:
      ok = false;
    }
    if (ok)
      out.push_back(std::move(e));
  }
  if (whole != nullptr)
    *whole = ok && text.empty();
  return out;
}

} // namespace parlor
