// The past in parts: whatever the room, the parts together are the whole, in order, each event
// once.

#include "store/past_reader.hpp"

#include "fixture.hpp"
#include "protocol/task_log.hpp"

#include <limits>
#include <map>
#include <optional>
#include <random>

using namespace parlor;
using namespace parlor::store;
using namespace parlor::store::test;

namespace {

const session_key key{"", "s"};

/// Facts of a session whose tasks are asked while others run, as `seed` has it, and what they told.
struct random_past {
  explicit random_past(unsigned seed) : dice{seed} {
    groups.push_back({session_opened{key, 1, {}, {}}, seq_leased{key, 1'000'000}});
    for (int i = 0; i < 12; ++i)
      wait(i);
    while (!waiting.empty() || running)
      step();
  }

  std::size_t pick(std::size_t below) { return dice() % below; }
  void wait(int n) {
    auto name = "t" + std::to_string(n);
    waiting.push_back(name);
    unasked.push_back(name);
  }
  event_ptr note(event_kind kind, const std::string& task, std::string text = {}) {
    auto e = std::make_shared<event>();
    e->kind = kind;
    e->seq = ++seq;
    e->at = 1000 + static_cast<std::int64_t>(seq);
    e->text = std::move(text);
    task_header h;
    h.id = task;
    e->task = std::make_shared<const task_header>(std::move(h));
    told.push_back(e);
    return e;
  }
  void step() {
    if (!unasked.empty() && (pick(4) == 0 || !running)) {
      auto e = note(event_kind::accepted, unasked.front());
      groups.push_back({accepted(key, unasked.front(), e->at, e->seq)});
      base[unasked.front()] = {e->seq, e->at};
      unasked.erase(unasked.begin());
      if (running || pick(3) != 0)
        return;
    }
    if (!running) {
      if (waiting.empty() || base.count(waiting.front()) == 0)
        return;
      running = waiting.front();
      waiting.erase(waiting.begin());
      auto e = note(event_kind::started, *running);
      groups.push_back({task_started{*running, e->at, e->seq}});
      log = task_log{base[*running].first, base[*running].second};
      shown.clear();
      return;
    }
    switch (pick(12)) {
    case 0: {
      auto e = std::const_pointer_cast<event>(note(event_kind::retry, *running));
      e->number = 2;
      e->discard = true;
      log.note(*e);
      shown.clear();
      return;
    }
    case 1: {
      auto e = std::const_pointer_cast<event>(note(event_kind::progress, *running));
      e->number = 40;
      log.note(*e);
      return;
    }
    case 2: {
      auto p = log.take();
      groups.push_back({task_checkpoint{*running, 1, p.text, p.entries}});
      return;
    }
    case 3: {
      log.note(*note(event_kind::text_done, *running, shown));
      return;
    }
    case 4: {
      auto p = log.take();
      auto e = std::const_pointer_cast<event>(note(event_kind::completed, *running));
      auto f = ended(key, *running, e->at, e->seq, {});
      f.text = p.text;
      f.log = p.entries;
      change_end(f, [this](outcome& end) { end.content = shown; });
      e->end = f.end;
      groups.push_back({f});
      running.reset();
      return;
    }
    default: {
      std::string piece(1 + pick(400), static_cast<char>('a' + pick(26)));
      shown += piece;
      log.note(*note(event_kind::delta, *running, piece));
    }
    }
  }

  std::mt19937 dice;
  std::vector<fact_group> groups;
  std::vector<event_ptr> told; // all of it, in order
  std::vector<std::string> waiting, unasked;
  std::map<std::string, std::pair<std::uint64_t, std::int64_t>> base;
  std::optional<std::string> running;
  task_log log{0, 0};
  std::string shown;
  std::uint64_t seq = 0;
};

void require_same(const event_ptr& a, const event_ptr& b) {
  REQUIRE(a->seq == b->seq);
  REQUIRE(a->kind == b->kind);
  REQUIRE(a->task->id == b->task->id);
  REQUIRE(a->text == b->text);
  REQUIRE(a->discard == b->discard);
  REQUIRE((a->end == nullptr) == (b->end == nullptr));
  if (a->end)
    REQUIRE(a->end->content == b->end->content);
}

} // namespace

TEST_CASE_METHOD(fixture, "the parts of a past are the whole of it, whatever the room", "[store]") {
  auto seed = GENERATE(1U, 2U, 3U, 4U, 5U, 6U);
  auto room = GENERATE(std::size_t{1}, std::size_t{500}, std::size_t{3000}, std::size_t{1} << 30);
  CAPTURE(seed, room);
  random_past life{seed};
  if (seed % 2 == 0) // the last ones are still open
    while (std::holds_alternative<task_ended>(life.groups.back().back()) ||
           life.groups.size() > 200) {
      life.groups.pop_back();
    }
  apply(life.groups);
  auto all = r->past_of_session(key, {.room = std::numeric_limits<std::size_t>::max()}).events;
  if (seed % 2 == 1) {
    REQUIRE(all.size() == life.told.size());
    for (std::size_t i = 0; i < all.size(); ++i)
      require_same(all[i], life.told[i]);
  }
  REQUIRE(all.size() > 30);
  for (std::uint64_t from : {std::uint64_t{0}, all[all.size() / 2]->seq}) {
    std::vector<event_ptr> again;
    std::size_t pages = 0;
    for (past what{.after = from, .room = room};; ++pages) {
      auto page = r->past_of_session(key, what);
      REQUIRE_FALSE(page.gap);
      std::size_t size = 0, largest = 0;
      for (auto& e : page.events) {
        size += size_in_page(*e);
        largest = std::max(largest, size_in_page(*e));
      }
      REQUIRE(size <=
              2 * room + 2 * largest + 12 * 150); // one task's, and what was asked meanwhile
      again.insert(again.end(), page.events.begin(), page.events.end());
      if (page.upto == what.upto)
        break;
      REQUIRE(page.upto > what.after);
      REQUIRE_FALSE(page.events.empty());
      what.after = page.upto;
    }
    if (room == 1)
      REQUIRE(pages + 1 >= again.size() / 2);
    auto first = std::find_if(all.begin(), all.end(), [&](auto& e) { return e->seq > from; });
    REQUIRE(again.size() == static_cast<std::size_t>(all.end() - first));
    for (auto& e : again)
      require_same(e, *first++);
  }
  // The same of each task by itself, up to a bound.
  for (auto& name : tasks_after(*r, key, 0)) {
    std::vector<event_ptr> mine;
    auto bound = all[all.size() * 2 / 3]->seq;
    std::copy_if(all.begin(), all.end(), std::back_inserter(mine),
                 [&](auto& e) { return e->task->id == name && e->seq <= bound; });
    std::size_t n = 0;
    for (past what{.after = 0, .upto = bound, .room = room};;) {
      auto page = r->past_of_task("", name, what).value();
      for (auto& e : page.events) {
        REQUIRE(n < mine.size());
        require_same(e, mine[n++]);
      }
      if (page.upto == bound)
        break;
      what.after = page.upto;
    }
    REQUIRE(n == mine.size());
  }
}

TEST_CASE_METHOD(fixture, "a head is a task without what may be long", "[store]") {
  std::string large(100'000, 'x');
  apply({turn(key, "t1", 1, 1, "hello", large),
         {accepted(key, "t2", 10, 10), task_started{"t2", 11, 11},
          task_checkpoint{"t2", 12, large, {}}}});
  for (auto* name : {"t1", "t2"}) {
    auto head = r->find_task_head("", name);
    auto whole = r->find_task("", name);
    REQUIRE(head);
    CHECK(head->text.empty());
    CHECK(head->view.text.empty());
    CHECK(head->log.empty());
    CHECK(head->view.status == whole->view.status);
    CHECK(head->accepted_seq == whole->accepted_seq);
    CHECK(head->ended_seq == whole->ended_seq);
    CHECK(head->view.attempt == whole->view.attempt);
  }
  CHECK(r->find_task_head("", "t1")->view.end->content.empty());
  CHECK(r->find_task_head("", "t1")->view.end->used.total() == 7);
  CHECK_FALSE(r->find_task_head("other", "t1"));
  CHECK_FALSE(r->past_of_task("other", "t1", {}));
  CHECK_FALSE(r->past_of_task("", "none", {}));
}

TEST_CASE("of a record whose text is cut there is told what is whole") {
  stored_task t;
  t.view.id = "t";
  t.view.status = task_status::running;
  t.accepted_seq = 1;
  t.started_seq = 2;
  task_log log{1, 0};
  event e;
  for (e.seq = 3; e.seq < 8; ++e.seq) {
    e.text = "piece";
    log.note(e);
  }
  auto p = log.take();
  t.text = p.text.substr(0, 12);
  t.log = p.entries;
  texts_in_memory texts{t};
  past_reader out{{}};
  out.add(t, texts);
  auto page = std::move(out).take();
  REQUIRE(page.events.size() == 4); // accepted, started and two pieces
  CHECK(page.events.back()->text == "piece");
}
