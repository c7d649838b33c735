#include "store/past_reader.hpp"

#include "protocol/task_log.hpp"

#include <algorithm>

namespace parlor::store {

namespace {

task_header_ptr header_of(const stored_task& t) {
  task_header h;
  h.id = t.view.id;
  h.session = t.view.session;
  h.model = t.view.model;
  h.created_at = t.view.created_at;
  h.kind = t.kind;
  h.ref = t.ref;
  return std::make_shared<const task_header>(std::move(h));
}

/// An event that is told, and where in the text its own is.
struct chosen {
  std::shared_ptr<event> what;
  std::size_t from = 0;
  std::size_t size = 0;
};

/// The pieces follow one another in the text: it is read once for all of them.
void fill(std::vector<chosen>& told, task_texts& texts) {
  auto piece = [](const chosen& c) { return c.what->kind == event_kind::delta; };
  auto first = std::find_if(told.begin(), told.end(), piece);
  auto last = std::find_if(told.rbegin(), told.rend(), piece);
  std::string read;
  if (first != told.end())
    read = texts.text(first->from, last->from + last->size - first->from);
  for (auto& c : told) {
    if (c.what->kind == event_kind::delta && c.from - first->from <= read.size())
      c.what->text = read.substr(c.from - first->from, c.size);
    else if (c.what->kind == event_kind::text_done)
      c.what->text = texts.text(c.from, c.size);
  }
  // Of a damaged record there is what is before the damage.
  std::erase_if(told, [](const chosen& c) { return c.what->text.size() < c.size; });
}

} // namespace

void past_reader::add(const stored_task& t, task_texts& texts) {
  std::vector<chosen> told;
  std::size_t used = 0;
  auto header = header_of(t);
  auto full = false;
  /// Does it belong here, and is there room for it?
  auto wants = [&](std::uint64_t seq, std::size_t size) {
    if (full || seq <= want_.after || seq > want_.upto)
      return false;
    full = used != 0 && used + size > want_.room;
    used += full ? 0 : size;
    return !full;
  };
  auto tell = [&](event&& e, std::size_t from = 0, std::size_t size = 0) {
    e.task = header;
    told.push_back({std::make_shared<event>(std::move(e)), from, size});
  };
  auto event_of = [&](event_kind kind, std::uint64_t seq, std::int64_t at) {
    event e;
    e.kind = kind;
    e.seq = seq;
    e.at = at;
    return e;
  };
  const auto small = size_in_page(event{});
  if (wants(t.accepted_seq, small))
    tell(event_of(event_kind::accepted, t.accepted_seq, t.view.created_at));
  if (t.started_seq != 0 && wants(t.started_seq, small))
    tell(event_of(event_kind::started, t.started_seq, t.started_at));
  // Nothing is logged before it has started, or behind its end.
  auto may_have_more =
      t.started_seq < want_.upto && (t.ended_seq == 0 || t.ended_seq > want_.after + 1);
  if (!full && may_have_more) {
    auto entries = texts.log();
    log_reader log{t.accepted_seq, t.view.created_at, entries};
    for (event e; !full && log.next(e) && e.seq <= want_.upto;)
      if (wants(e.seq, size_in_page(e) + log.text_size()))
        tell(std::move(e), log.text_from(), log.text_size());
  }
  if (t.ended_seq > want_.after && t.ended_seq <= want_.upto && t.view.end && !full &&
      wants(t.ended_seq, small + texts.content_size())) {
    auto kind = t.view.status == task_status::completed   ? event_kind::completed
                : t.view.status == task_status::cancelled ? event_kind::cancelled
                                                          : event_kind::failed;
    auto e = event_of(kind, t.ended_seq, t.ended_at);
    auto end = std::make_shared<outcome>(*t.view.end);
    end->content = texts.content();
    e.end = std::move(end);
    tell(std::move(e));
  }
  if (told.empty())
    return;
  auto last = told.back().what->seq;
  fill(told, texts);
  for (auto& c : told)
    found_.push_back(std::move(c.what));
  used_ += used;
  highest_ = std::max(highest_, last);
  // Of this task there is no more room; or of those that follow it, for which it is only complete
  // up to here.
  if (full)
    want_.upto = std::min(want_.upto, last);
  else if (used_ >= want_.room)
    want_.upto = std::min(want_.upto, highest_);
}

past_page past_reader::take() && {
  past_page page;
  page.upto = want_.upto;
  std::erase_if(found_, [&](auto& e) { return e->seq > want_.upto; });
  std::stable_sort(found_.begin(), found_.end(), [](auto& a, auto& b) { return a->seq < b->seq; });
  page.events = std::move(found_);
  return page;
}

} // namespace parlor::store
