#include "model_disk.hpp"

#include <algorithm>
#include <limits>

namespace parlor::test {

store::group_result model_disk::apply(const store::fact_group& group) {
  for (auto& f : group) {
    auto* a = std::get_if<store::task_accepted>(&f);
    auto* p = std::get_if<store::key_probed>(&f);
    auto* once = a != nullptr ? &a->once : p != nullptr ? &p->once : nullptr;
    if (once == nullptr || once->scope_and_key.empty())
      continue;
    if (auto i = keys.find(once->scope_and_key); i != keys.end()) {
      using kind = store::group_result::kind;
      auto same = i->second.once.fingerprint == once->fingerprint;
      return {same ? kind::duplicate : kind::mismatch, i->second.task, i->second.key.id};
    }
  }
  for (auto& f : group)
    std::visit([this](auto& x) { on(x); }, f);
  return {};
}

store::session_image model_disk::load(const session_key& key,
                                      const store::history_limits& limits) const {
  store::session_image image;
  auto i = sessions.find(key);
  if (i == sessions.end()) {
    image.first_free_seq = floor + 1;
    return image;
  }
  image.session = i->second.row;
  for (auto& [name, t] : tasks)
    if (t.key == key && t.ended_seq == 0)
      image.open_tasks.push_back({whole(t), {}});
  std::sort(image.open_tasks.begin(), image.open_tasks.end(),
            [](auto& a, auto& b) { return a.accepted_seq < b.accepted_seq; });
  auto ended = i->second.history; // and the open questions behind it
  for (auto& t : image.open_tasks) {
    auto asked =
        std::find_if(ended.begin(), ended.end(), [&](auto& m) { return m.id == t.message_id; });
    t.said = asked->said;
    ended.erase(asked);
  }
  std::size_t bytes = 0;
  auto left = ended.size();
  while (left > 0 && ended.size() - left < limits.messages && bytes <= limits.text_bytes) {
    auto& newest = ended[--left];
    if (newest.said.who == role::user) // it had no answer
      continue;
    auto& asked = ended[--left];
    bytes += newest.said.content.size() + asked.said.content.size();
    image.history.insert(image.history.begin(), {asked, newest});
  }
  image.older = static_cast<std::int64_t>(left);
  return image;
}

std::vector<event_ptr> model_disk::events(const session_key& key) const {
  past all;
  all.room = std::numeric_limits<std::size_t>::max();
  return past_of(key, all).events;
}

past_page model_disk::past_of(const session_key& key, const past& what) const {
  std::vector<const store::stored_task*> mine;
  for (auto& [name, t] : tasks)
    if (t.key == key)
      mine.push_back(&t);
  std::sort(mine.begin(), mine.end(),
            [](auto* a, auto* b) { return a->accepted_seq < b->accepted_seq; });
  store::past_reader out{what};
  for (auto* t : mine) {
    if (t->accepted_seq > out.upto())
      break;
    store::texts_in_memory texts{*t};
    out.add(*t, texts);
  }
  return std::move(out).take();
}

store::stored_task model_disk::whole(store::stored_task t) {
  t.view.attempt = std::max<std::uint32_t>(t.view.attempt, t.started_seq != 0 ? 1 : 0);
  t.view.last_seq = std::max(t.accepted_seq, t.started_seq);
  for (auto& e : replay(t.accepted_seq, t.view.created_at, nullptr, t.text, t.log)) {
    t.view.last_seq = e->seq;
    if (e->kind == event_kind::delta)
      t.view.text += e->text;
    if (e->kind == event_kind::retry) {
      t.view.attempt = std::max(t.view.attempt, e->number);
      if (e->discard)
        t.view.text.clear();
    }
  }
  return t;
}

void model_disk::on(const store::session_opened& f) {
  if (sessions.count(f.key) != 0)
    return;
  auto& s = sessions[f.key];
  s.row.key = f.key;
  s.row.view.id = f.key.id;
  s.row.view.created_at = s.row.view.last_accessed = f.at;
  s.row.system_prompt = f.system_prompt;
  s.row.metadata = f.metadata;
  s.row.first_seq = 0;
}

void model_disk::on(const store::seq_leased& f) {
  auto i = sessions.find(f.key);
  if (i == sessions.end()) {
    if (!f.exactly)
      floor = std::max(floor, f.upto);
  } else {
    auto& row = i->second.row;
    row.lease = std::max(f.exactly ? row.view.last_seq : row.lease, f.upto);
  }
}

void model_disk::on(const store::task_accepted& f) {
  if (sessions.count(f.key) == 0)
    on(store::session_opened{f.key, f.at, {}, {}});
  auto& s = sessions[f.key];
  if (s.row.first_seq == 0)
    s.row.first_seq = f.seq;
  s.row.lease = std::max(s.row.lease, f.seq);
  ++s.row.view.message_count;
  ++s.row.view.question_count;
  touch(s, f.at, f.seq);
  history_message h;
  h.id = f.message_id;
  h.said = f.said;
  h.task = f.task;
  h.at = f.at;
  s.history.push_back(std::move(h));
  store::stored_task t;
  t.key = f.key;
  t.view.id = f.task;
  t.view.session = f.key.id;
  t.view.model = f.settings.model;
  t.view.created_at = f.at;
  t.settings = f.settings;
  t.message_id = f.message_id;
  t.accepted_seq = f.seq;
  t.kind = f.kind;
  t.ref = f.ref;
  t.wants_text_done = f.wants_text_done;
  tasks[f.task] = std::move(t);
  if (!f.once.scope_and_key.empty())
    keys[f.once.scope_and_key] = f;
}

void model_disk::on(const store::task_started& f) {
  if (auto* t = open_task(f.task)) {
    t->view.status = task_status::running;
    t->started_seq = f.seq;
    t->started_at = f.at;
    touch(sessions[t->key], 0, f.seq);
  }
}

void model_disk::on(const store::task_checkpoint& f) {
  if (auto* t = open_task(f.task)) {
    t->text += f.text;
    t->log += f.log;
  }
}

void model_disk::on(const store::task_ended& f) {
  auto* t = open_task(f.task);
  if (t == nullptr)
    return;
  t->text += f.text;
  t->log += f.log;
  t->ended_seq = f.seq;
  t->ended_at = f.at;
  t->view.status = f.end->status;
  t->view.end = f.end;
  auto& s = sessions[t->key];
  // A question joins those of ended turns right before its answer; those of open ones come last.
  auto& all = s.history;
  auto asked = std::find_if(all.begin(), all.end(), [&](auto& m) { return m.id == t->message_id; });
  std::vector<history_message> joins{*asked};
  all.erase(asked);
  if (!f.end->message_id.empty()) {
    history_message h;
    h.id = f.end->message_id;
    h.said = {role::assistant, f.end->content, f.answer_extra};
    h.task = f.task;
    h.at = f.at;
    h.partial = f.end->status != task_status::completed;
    joins.push_back(std::move(h));
    ++s.row.view.message_count;
  }
  auto open = std::find_if(all.begin(), all.end(),
                           [this](auto& m) { return open_task(m.task) != nullptr; });
  all.insert(open, joins.begin(), joins.end());
  s.row.view.total_tokens += f.end->used.total();
  touch(s, f.at, f.seq);
}

void model_disk::on(const store::usage_recorded& f) {
  usages.push_back(f);
  if (auto t = tasks.find(f.task); t != tasks.end() && t->second.ended_seq == 0)
    t->second.view.attempt = t->second.accounted = std::max(t->second.accounted, f.attempt);
}

void model_disk::on(const store::session_removed& f) {
  auto i = sessions.find(f.key);
  if (i == sessions.end())
    return;
  floor = std::max({floor, i->second.row.lease, i->second.row.view.last_seq});
  sessions.erase(i);
  std::erase_if(tasks, [&](auto& t) { return t.second.key == f.key; });
  if (!f.expired)
    std::erase_if(keys, [&](auto& k) { return k.second.key == f.key; });
}

void model_disk::touch(kept_session& s, std::int64_t at, std::uint64_t seq) {
  s.row.view.last_accessed = std::max(s.row.view.last_accessed, at);
  s.row.view.last_seq = std::max(s.row.view.last_seq, seq);
}

store::stored_task* model_disk::open_task(const std::string& name) {
  auto i = tasks.find(name);
  return i == tasks.end() || i->second.ended_seq != 0 ? nullptr : &i->second;
}

} // namespace parlor::test
