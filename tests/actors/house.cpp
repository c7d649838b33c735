#include "house.hpp"

namespace parlor::test {

std::vector<std::string> ear::kinds() const {
  std::vector<std::string> out;
  for (auto& h : log)
    if (h.what->kind != event_kind::progress)
      out.push_back(talk::describe(*h.what));
  return out;
}

const ear::heard* ear::find(const std::string& what) const {
  for (auto& h : log)
    if (talk::describe(*h.what) == what)
      return &h;
  return nullptr;
}

std::int64_t ear::at(const std::string& what) const {
  auto* h = find(what);
  return h == nullptr ? -1 : h->at;
}

house::house() {
  disk.now = [this] { return time.now_ms(); };
  auto& entry = served;
  entry->name = std::string{"m"};
  entry->provider = model;
  entry->limit = limit;
  world->epoch = "epoch";
  world->rest_after = 24h; // most tests are about actors: these stay as long as the session
  world->keeper = spawn_keeper();
  archive_ = spawn_archive();
  world->archive = archive_;
  world->wall = [this] { return wall_start + time.now_ms(); };
  world->random = [this] {
    if (jitter_throws)
      throw std::runtime_error{"on purpose"};
    return jitter;
  };
  world->find_model = [entry](const std::string& name) -> std::shared_ptr<const model_entry> {
    if (name == "crash") // the session that asks dies of it
      throw std::runtime_error{"on purpose"};
    return name.empty() || name == entry->name ? entry : nullptr;
  };
  options.lost = [this](const session_key& k) { lost.push_back(k); };
  asker_ = time.owned(time.system.spawn([](caf::event_based_actor* self) -> caf::behavior {
    return {[self](const to_ask& a) {
      auto into = a.into;
      auto done = [self, into](session_answer_ptr answer) {
        ++into->times;
        into->at = std::chrono::duration_cast<std::chrono::milliseconds>(
                       self->clock().now().time_since_epoch())
                       .count();
        into->answer = std::move(answer);
      };
      self->request(a.door, caf::infinite, a.what)
          .then([done](const session_answer_ptr& answer) { done(answer); },
                [done](caf::error&) { done(nullptr); });
    }};
  }));
}

house::~house() { stop(); }

void house::open() {
  lobby = time.system.spawn(parlor::lobby, session_world_ptr{world}, options);
  door = lobby;
  time.settle();
}

void house::restart(bool orderly) {
  door = nullptr;
  caf::anon_send_exit(lobby, orderly ? caf::exit_reason::user_shutdown : caf::exit_reason::unknown);
  lobby = nullptr;
  time.settle();
  held_groups_.clear();
  open();
}

void house::stop() {
  door = nullptr;
  if (lobby)
    caf::anon_send_exit(lobby, caf::exit_reason::user_shutdown); // takes its sessions along
  lobby = nullptr;
  time.settle();
  for (auto& e : ears)
    e->actor = nullptr;
  asker_ = nullptr;
  archive_ = nullptr;
  world->keeper = nullptr;
  world->archive = nullptr;
  time.stop();
}

std::int64_t house::tasks() const {
  return living(actor_kind::task) + living(actor_kind::external) - tasks_before;
}

ear& house::new_ear() {
  ears.push_back(std::make_unique<ear>());
  auto* e = ears.back().get();
  e->actor = time.owned(
      time.system.spawn([this, e](listener_actor::pointer) -> listener_actor::behavior_type {
        return {[this, e](const published& p) {
          e->log.push_back({time.now_ms(), *p.key, p.what});
        }};
      }));
  return *e;
}

reply_ptr house::post(session_ask a) {
  auto r = std::make_shared<reply>();
  if (a.listener)
    listening_.emplace_back(a.listener.address(), r);
  caf::anon_send(asker_, to_ask{door, std::make_shared<const session_ask>(std::move(a)), r});
  return r;
}

reply_ptr house::ask(session_ask a) {
  auto r = post(std::move(a));
  time.settle();
  return r;
}

session_ask house::asking(session_ask::kind what, const ear* e) const {
  session_ask a;
  a.what = what;
  a.key = room;
  if (e != nullptr)
    a.listener = e->actor;
  return a;
}

session_ask house::turn(const std::string& task, const ear* e, on_busy busy) const {
  auto a = asking(session_ask::kind::submit, e);
  a.turn.session = room;
  a.turn.task_id = task;
  a.turn.message_id = "q_" + task;
  a.turn.said.content = "say " + task;
  a.turn.when_busy = busy;
  return a;
}

reply_ptr house::submit(const std::string& task, const ear* e, on_busy busy) {
  return ask(turn(task, e, busy));
}

session_ask house::watching(const ear& e, std::optional<std::uint64_t> after,
                            std::string task) const {
  auto a = asking(session_ask::kind::watch, &e);
  a.task = std::move(task);
  if (after)
    a.after = cursor{world->epoch, *after};
  return a;
}

reply_ptr house::watch(const ear& e, std::optional<std::uint64_t> after, std::string task) {
  return ask(watching(e, after, std::move(task)));
}

reply_ptr house::unwatch(const ear& e, std::uint64_t life) {
  auto a = asking(session_ask::kind::unwatch, &e);
  for (auto& [who, answered] : listening_)
    if (life == 0 && who == e.actor.address() && answered->answer && answered->answer->life != 0)
      a.life = answered->answer->life;
  if (life != 0)
    a.life = life;
  return ask(std::move(a));
}

reply_ptr house::look(std::string task) {
  auto a = asking(session_ask::kind::look);
  a.task = std::move(task);
  return ask(std::move(a));
}

reply_ptr house::cancel(std::string task) {
  auto a = asking(session_ask::kind::cancel);
  a.task = std::move(task);
  return ask(std::move(a));
}

reply_ptr house::crash() {
  auto a = turn("crash");
  a.turn.settings.model = std::string{"crash"};
  return ask(std::move(a));
}

std::int64_t house::when(const reply_ptr& r) const {
  return r->at -
         std::chrono::duration_cast<std::chrono::milliseconds>(time.start.time_since_epoch())
             .count();
}

puppet::talk_of* house::call(const std::string& task) {
  for (auto i = model->calls.rbegin(); i != model->calls.rend(); ++i)
    if ((*i)->request.messages.back().content == "say " + task)
      return i->get();
  return nullptr;
}

void house::say(const std::string& task, std::string text) {
  REQUIRE(call(task) != nullptr);
  call(task)->sink(llm::call_delta{std::move(text)});
  time.settle();
}

void house::finish(const std::string& task) {
  REQUIRE(call(task) != nullptr);
  call(task)->over = true;
  llm::call_finished f;
  f.finish_reason = "stop";
  f.used = usage{3, 4, true};
  call(task)->sink(f);
  time.settle();
}

void house::fail(const std::string& task, bool can_pass) {
  REQUIRE(call(task) != nullptr);
  call(task)->over = true;
  llm::call_failed f;
  f.code = errc::upstream_error;
  f.can_pass = can_pass;
  call(task)->sink(f);
  time.settle();
}

void house::chat(const std::string& task, const ear* e) {
  auto r = submit(task, e);
  say(task, "hi");
  finish(task);
  REQUIRE(yes(r));
}

void house::release_keeper() {
  hold_keeper = false;
  caf::anon_send(world->keeper, commit_now{});
  time.settle();
}

void house::release_writes(std::size_t n) {
  passing_ = n;
  caf::anon_send(world->keeper, commit_now{});
  time.settle();
  passing_ = std::numeric_limits<std::size_t>::max();
}

void house::release_archive() {
  hold_archive = false;
  caf::anon_send(archive_, commit_now{});
  time.settle();
}

errc house::code(const reply_ptr& r) {
  REQUIRE(r->times == 1);
  REQUIRE(r->answer);
  return r->answer->why.code;
}

keeper_actor house::spawn_keeper() {
  return time.owned(
      time.system.spawn([this](keeper_actor::pointer self) -> keeper_actor::behavior_type {
        return {[this, self](const fact_group_ptr& g) -> caf::typed_response_promise<recorded_ptr> {
                  auto p = self->make_response_promise<recorded_ptr>();
                  held_groups_.emplace_back(g, p);
                  if (!hold_keeper)
                    commit();
                  return p;
                },
                [this](const commit_now&) { commit(); }, [](const tidy_store&) {}};
      }));
}

void house::commit() {
  for (auto n = std::min(passing_, held_groups_.size()); n > 0; --n) {
    auto [group, promise] = std::move(held_groups_.front());
    held_groups_.pop_front();
    auto r = std::make_shared<recorded>();
    try {
      r->result = disk.apply({&group, 1}).front();
    } catch (const store::store_error& e) {
      r->error =
          e.what_kind == store::store_error::kind::full ? errc::store_full : errc::store_failed;
    }
    promise.deliver(recorded_ptr{std::move(r)});
  }
}

gated_archive house::spawn_archive() {
  return time.owned(
      time.system.spawn([this](gated_archive::pointer self) -> gated_archive::behavior_type {
        auto reader = std::make_shared<sim_reader>(disk);
        return {
            [=, this](const store_query_ptr& q) -> caf::typed_response_promise<store_reply_ptr> {
              auto p = self->make_response_promise<store_reply_ptr>();
              auto r = std::make_shared<store_reply>();
              try {
                r->value = q->ask(*reader);
              } catch (const std::exception&) {
              }
              held_replies_.emplace_back(std::move(r), p);
              if (!hold_archive)
                reply_all();
              return p;
            },
            [this](const commit_now&) { reply_all(); }};
      }));
}

void house::reply_all() {
  for (auto& [answer, promise] : std::exchange(held_replies_, {}))
    promise.deliver(store_reply_ptr{answer});
}

} // namespace parlor::test
