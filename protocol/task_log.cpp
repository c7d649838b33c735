#include "protocol/task_log.hpp"

#include <algorithm>
#include <concepts>
#include <limits>

namespace parlor {

namespace {

enum tag : std::uint64_t { tag_delta = 0, tag_progress = 1, tag_retry = 2, tag_rare = 3 };
enum rare : std::uint64_t {
  rare_stage = 0,
  rare_stage_done = 1,
  rare_retry = 2,
  rare_progress = 3,
  rare_text_done = 4
};

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

void put(std::string& out, const std::string& text) {
  put(out, text.size());
  out += text;
}

bool get(std::string_view& in, std::string& text) {
  std::uint64_t size = 0;
  if (!get(in, size) || size > in.size())
    return false;
  text = in.substr(0, size);
  in.remove_prefix(size);
  return true;
}

/// False, here and below: it is damaged.
template <std::integral To>
bool fit(std::uint64_t n, To& out, To most = std::numeric_limits<To>::max()) {
  if (n > static_cast<std::uint64_t>(most))
    return false;
  out = static_cast<To>(n);
  return true;
}

template <std::integral T>
bool advance(T& where, std::uint64_t by) {
  T step = 0;
  if (!fit(by, step) || step > std::numeric_limits<T>::max() - where)
    return false;
  where += step;
  return true;
}

/// What the entry says of the event.
bool read_retry(event& e, std::uint64_t value, std::string_view& entries) {
  e.kind = event_kind::retry;
  e.discard = (value & 1) != 0;
  std::uint64_t delay = 0;
  return fit(value >> 1, e.number) && get(entries, delay) && fit(delay, e.delay_ms);
}

bool read_progress(event& e, std::uint64_t percent) {
  e.kind = event_kind::progress;
  return fit(percent, e.number, 100U);
}

bool read_rare(event& e, std::uint64_t which, std::string_view& entries) {
  std::uint64_t value = 0;
  switch (which) {
  case rare_stage_done:
    e.kind = event_kind::stage_done;
    return get(entries, e.text);
  case rare_retry:
    return get(entries, value) && read_retry(e, value, entries) && get(entries, e.text);
  case rare_progress:
    return get(entries, value) && read_progress(e, value) && get(entries, e.text);
  case rare_text_done:
    e.kind = event_kind::text_done;
    return true;
  default:
    return false;
  }
}

} // namespace

void task_log::note(const event& e) {
  using k = event_kind;
  if (e.kind != k::delta && e.kind != k::progress && e.kind != k::retry &&
      e.kind != k::stage_done && e.kind != k::text_done)
    return;
  auto& out = noted_.entries;
  if (e.stage && (!stage_ || *stage_ != *e.stage)) {
    stage_ = e.stage;
    put(out, tag_rare);
    put(out, 0);
    put(out, rare_stage);
    put(out, *e.stage);
  }
  auto in_words = (e.kind == k::progress || e.kind == k::retry) && !e.text.empty();
  auto kind = in_words                ? tag_rare
              : e.kind == k::delta    ? tag_delta
              : e.kind == k::progress ? tag_progress
              : e.kind == k::retry    ? tag_retry
                                      : tag_rare;
  put(out, (e.seq - seq_) << 2 | kind);
  put(out, static_cast<std::uint64_t>(std::max<std::int64_t>(0, e.at - at_)));
  seq_ = e.seq;
  at_ = std::max(at_, e.at);
  switch (e.kind) {
  case k::delta:
    put(out, e.text.size());
    noted_.text += e.text;
    return;
  case k::progress:
    if (in_words)
      put(out, rare_progress);
    put(out, e.number);
    break;
  case k::retry:
    if (in_words)
      put(out, rare_retry);
    put(out, std::uint64_t{e.number} << 1 | (e.discard ? 1 : 0));
    put(out, e.delay_ms);
    break;
  case k::stage_done:
    put(out, rare_stage_done);
    put(out, e.text);
    return;
  default:
    put(out, rare_text_done);
    return;
  }
  if (in_words)
    put(out, e.text);
}

bool log_reader::next(event& e) {
  e = {};
  while (!damaged_ && !entries_.empty()) {
    std::uint64_t head = 0, time = 0, value = 0;
    damaged_ = !get(entries_, head) || !get(entries_, time) || !get(entries_, value);
    if (damaged_)
      break;
    if ((head & 3) == tag_rare && value == rare_stage) {
      auto name = std::make_shared<std::string>();
      damaged_ = !get(entries_, *name);
      stage_ = std::move(name);
      continue;
    }
    damaged_ = !read(e, head, time, value);
    return !damaged_;
  }
  return false;
}

bool log_reader::read(event& e, std::uint64_t head, std::uint64_t time, std::uint64_t value) {
  if (!advance(seq_, head >> 2) || !advance(at_, time))
    return false;
  e.seq = seq_;
  e.at = at_;
  e.stage = stage_;
  from_ = read_;
  size_ = 0;
  switch (head & 3) {
  case tag_delta:
    e.kind = event_kind::delta;
    size_ = value;
    return advance(read_, value);
  case tag_progress:
    return read_progress(e, value);
  case tag_retry:
    if (!read_retry(e, value, entries_))
      return false;
    break;
  default:
    if (!read_rare(e, value, entries_))
      return false;
  }
  if (e.kind == event_kind::stage_done || (e.kind == event_kind::retry && e.discard))
    shown_from_ = read_;
  if (e.kind == event_kind::text_done) {
    from_ = shown_from_;
    size_ = read_ - shown_from_;
  }
  return true;
}

std::vector<event_ptr> replay(std::uint64_t base_seq, std::int64_t base_at,
                              const task_header_ptr& task, std::string_view text,
                              std::string_view entries, bool* whole) {
  std::vector<event_ptr> out;
  log_reader log{base_seq, base_at, entries};
  auto ok = true;
  for (event e; ok && log.next(e);) {
    ok = log.text_read() <= text.size();
    if (!ok)
      break;
    e.task = task;
    if (log.text_size() != 0)
      e.text = text.substr(log.text_from(), log.text_size());
    out.push_back(std::make_shared<const event>(std::move(e)));
  }
  if (whole != nullptr)
    *whole = ok && !log.damaged() && log.text_read() == text.size();
  return out;
}

} // namespace parlor
