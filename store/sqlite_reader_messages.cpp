// Histories: the messages of ended turns, and after them the questions of open ones.

#include "protocol/window.hpp"
#include "store/sqlite_reader.hpp"

#include "store/snapshot.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

namespace parlor::store {

namespace {

// What the cursor of a page says of the question of an open task, which has no row among the
// messages yet: this and the number of its acceptance. Rows are below it.
constexpr std::uint64_t open_base = 500'000'000'000'000'000;

/// So that a page of long messages costs no more memory than one of short ones.
constexpr std::size_t page_bytes = 4 * 1024 * 1024;

/// Without its `extra`, which may be as long as a few photos.
history_message read_message(const sqlite::rows& r) {
  return {r.text(0),
          {static_cast<role>(r.integer(1)), r.text(2), {}},
          r.text(3),
          r.integer(4),
          r.integer(5) != 0};
}

} // namespace

/// The message before that one, 0 if there is none.
std::int64_t sqlite_reader::row_before(const session_row& s, const std::string& msg_id) {
  for (auto id = s.last_message; id != 0;) {
    auto r =
        db_.query("SELECT prev, msg_id FROM message WHERE id = ? AND session = ?", id, s.number);
    if (!r.next())
      return 0;
    id = r.integer(0);
    if (r.text(1) == msg_id)
      return id;
  }
  return 0;
}

sqlite_reader::place sqlite_reader::place_of(const session_row& s, const std::string& before) {
  std::uint64_t n = 0;
  auto* end = before.data() + before.size();
  auto [stop, error] = std::from_chars(before.data(), end, n);
  if (error == std::errc{} && stop == end && n < open_base) {
    auto r = db_.query("SELECT prev FROM message WHERE id = ? AND session = ?", n, s.number);
    return {r.next() ? r.integer(0) : 0, 0}; // what is not there has nothing before it
  }
  auto by_number = error == std::errc{} && stop == end;
  auto left = s.open_tasks;
  for (auto id = s.last_task; id != 0;) {
    auto o = db_.query("SELECT prev, accepted_seq, message_id FROM open_task WHERE id = ? AND "
                       "session = ?",
                       id, s.number);
    auto e = db_.query("SELECT prev, accepted_seq, message_id FROM ended_task WHERE id = ? AND "
                       "session = ?",
                       id, s.number);
    auto open = o.next();
    if (!open && !e.next())
      break;
    auto& r = open ? o : e;
    if (by_number ? r.number(1) == n - open_base : open && r.text(2) == before)
      return {open ? s.last_message : row_before(s, r.text(2)), r.number(1)};
    left -= open;
    if (!by_number && left <= 0)
      break; // it is not the question of an open task
    id = r.integer(0);
  }
  return {by_number ? 0 : row_before(s, before), 0};
}

/// The newest that are before that place, oldest first.
message_page sqlite_reader::messages(const session_row& s, std::size_t limit, place from) {
  message_page out;
  std::string oldest;
  auto more = false;
  std::size_t bytes = 0;
  auto add = [&](const sqlite::rows& r, std::uint64_t cursor) {
    if (out.messages.size() == limit || bytes > page_bytes) {
      more = true;
      return false;
    }
    out.messages.push_back(read_message(r));
    bytes += out.messages.back().said.content.size();
    oldest = std::to_string(cursor);
    return true;
  };
  auto left = s.open_tasks;
  for (auto id = s.last_task; id != 0 && left > 0 && !more;) {
    auto r = db_.query("SELECT message_id, role, said, name, accepted_at, 0, prev, accepted_seq "
                       "FROM open_task WHERE id = ? AND session = ?",
                       id, s.number);
    if (r.next()) {
      --left;
      if (r.number(7) < from.open_below)
        add(r, open_base + r.number(7));
      id = r.integer(6);
      continue;
    }
    auto e = db_.query("SELECT prev FROM ended_task WHERE id = ? AND session = ?", id, s.number);
    id = e.next() ? e.integer(0) : 0;
  }
  for (auto id = from.row; id != 0 && !more;) {
    auto r =
        db_.query("SELECT msg_id, role, content, task, at, partial, prev FROM message WHERE id "
                  "= ? AND session = ?",
                  id, s.number);
    if (!r.next() || !add(r, static_cast<std::uint64_t>(id)))
      break;
    id = r.integer(6);
  }
  if (more)
    out.next_before = oldest;
  std::reverse(out.messages.begin(), out.messages.end());
  return out;
}

void sqlite_reader::load_turns(const session_row& s, const history_limits& limits,
                               session_image& into) {
  auto& turns = into.history; // newest first, for now
  image_budget room{limits.image_bytes};
  std::optional<history_message> answer;
  std::size_t text_bytes = 0;
  into.older = s.message_count - s.open_tasks;
  auto rows = limits.messages; // those that are not wanted count as well
  for (auto id = s.last_message; id != 0 && (rows > 0 || answer);) {
    auto r = db_.query("SELECT msg_id, role, content, task, at, partial, prev FROM message WHERE "
                       "id = ? AND session = ?",
                       id, s.number);
    if (!r.next())
      break;
    --into.older;
    rows -= rows > 0;
    auto row = std::exchange(id, r.integer(6));
    auto asks = static_cast<role>(r.integer(1)) == role::user;
    if (asks && !answer) // it had no answer: nobody is asked with it again
      continue;
    auto m = read_message(r);
    sqlite::part_reader extra{db_.raw(), "message", "extra", row};
    if (extra.read(0, 1) == "[" && !room.fits(extra.size()))
      m.said = without_images(m.said);
    else
      m.said.extra = extra.read(0, SIZE_MAX);
    if (!asks) {
      answer = std::move(m);
      continue;
    }
    for (auto* part : {&*answer, &m}) {
      text_bytes += part->said.content.size();
      turns.push_back(std::move(*part));
    }
    answer.reset();
    if (text_bytes > limits.text_bytes)
      break;
  }
  std::reverse(turns.begin(), turns.end());
}

std::optional<message_page> sqlite_reader::list_messages(const session_key& key, std::size_t limit,
                                                         const std::string& before) {
  snapshot one{db_};
  auto s = find_session_row(db_, key);
  if (!s)
    return std::nullopt;
  return messages(*s, limit, before.empty() ? newest(*s) : place_of(*s, before));
}

} // namespace parlor::store
