#include "actors/wheel_clock.hpp"

#include <utility>

namespace parlor {

namespace {
constexpr caf::actor_id nobody = 0; // CAF counts from 1
}

struct wheel_clock::entry : timer_wheel::link {
  virtual ~entry() = default;
  virtual void fire() = 0;
  caf::actor_id owner = nobody;
  entry* next_of_owner = nullptr;
  entry* prev_of_owner = nullptr;
  /// Under which it can be found and cancelled; none for messages.
  virtual const name* known_as() const noexcept { return nullptr; }
};

struct wheel_clock::message_entry final : entry {
  message_entry(caf::strong_actor_ptr r, caf::mailbox_element_ptr c)
      : receiver{std::move(r)}, content{std::move(c)} {
    owner = receiver->id();
  }
  void fire() override { receiver->enqueue(std::move(content), nullptr); }
  caf::strong_actor_ptr receiver;
  caf::mailbox_element_ptr content;
};

struct wheel_clock::timeout_entry final : entry {
  timeout_entry(caf::abstract_actor* a, caf::atom_value t, std::uint64_t i, name as)
      : self{a->ctrl()}, type{t}, id{i}, called{as} {
    owner = a->id();
  }
  void fire() override {
    self->get()->eq_impl(caf::make_message_id(), self, nullptr, caf::timeout_msg{type, id});
  }
  const name* known_as() const noexcept override { return &called; }
  caf::strong_actor_ptr self;
  caf::atom_value type;
  std::uint64_t id;
  name called;
};

struct wheel_clock::request_entry final : entry {
  request_entry(caf::abstract_actor* a, caf::message_id m, name as)
      : self{a->ctrl()}, id{m}, called{as} {
    owner = a->id();
  }
  void fire() override { self->get()->eq_impl(id, self, nullptr, caf::sec::request_timeout); }
  const name* known_as() const noexcept override { return &called; }
  caf::strong_actor_ptr self;
  caf::message_id id;
  name called;
};

struct wheel_clock::group_entry final : entry {
  group_entry(caf::group g, caf::strong_actor_ptr s, caf::message c)
      : target{std::move(g)}, sender{std::move(s)}, content{std::move(c)} {}
  void fire() override {
    target->eq_impl(caf::make_message_id(), std::move(sender), nullptr, std::move(content));
  }
  caf::group target;
  caf::strong_actor_ptr sender;
  caf::message content;
};

wheel_clock::wheel_clock(boost::asio::io_context& io) : origin_{now()}, timer_{io} {}

wheel_clock::~wheel_clock() { cancel_all(); }

timer_wheel::tick wheel_clock::tick_before(time_point t) const noexcept {
  return t <= origin_ ? 0 : static_cast<timer_wheel::tick>((t - origin_) / tick);
}

timer_wheel::tick wheel_clock::tick_at_or_after(time_point t) const noexcept {
  auto floor = tick_before(t);
  return t <= origin_ || origin_ + floor * tick == t ? floor : floor + 1;
}

void wheel_clock::schedule(time_point t, entry_ptr timer) {
  entry_ptr replaced;
  std::lock_guard lock{mutex_};
  if (stopped_) {
    replaced = std::move(timer); // dies after the lock
    return;
  }
  if (wheel_.next() == std::nullopt)
    wheel_.advance(tick_before(now()), [](timer_wheel::link&) {}); // it stood still while empty
  if (auto* called = timer->known_as()) {
    if (auto i = names_.find(*called); i != names_.end())
      replaced = take(*i->second);
    names_[*called] = timer.get();
  }
  auto* e = timer.release();
  ++count_;
  if (e->owner != nobody) {
    auto& first = owners_[e->owner];
    e->next_of_owner = first;
    if (first != nullptr)
      first->prev_of_owner = e;
    first = e;
  }
  wheel_.add(*e, tick_at_or_after(t));
  arm();
}

wheel_clock::entry_ptr wheel_clock::take(entry& e) {
  if (e.linked())
    timer_wheel::remove(e);
  --count_;
  if (e.owner != nobody) {
    if (e.next_of_owner != nullptr)
      e.next_of_owner->prev_of_owner = e.prev_of_owner;
    if (e.prev_of_owner != nullptr)
      e.prev_of_owner->next_of_owner = e.next_of_owner;
    else if (e.next_of_owner != nullptr)
      owners_[e.owner] = e.next_of_owner;
    else
      owners_.erase(e.owner);
  }
  if (auto* called = e.known_as())
    names_.erase(*called);
  return entry_ptr{&e};
}

void wheel_clock::arm() {
  auto next = wheel_.next();
  if (stopped_ || !next || *next >= armed_for_)
    return;
  armed_for_ = *next;
  timer_.expires_at(origin_ + armed_for_ * tick);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) // otherwise armed again for something earlier, or stopped
      on_timer();
  });
}

void wheel_clock::on_timer() {
  std::vector<entry_ptr> due;
  {
    std::lock_guard lock{mutex_};
    armed_for_ = never;
    if (stopped_)
      return;
    wheel_.advance(tick_before(now()),
                   [&](timer_wheel::link& l) { due.push_back(take(static_cast<entry&>(l))); });
    arm();
  }
  for (auto& e : due)
    e->fire();
}

void wheel_clock::cancel(const name& which) {
  entry_ptr dead;
  std::lock_guard lock{mutex_};
  if (auto i = names_.find(which); i != names_.end())
    dead = take(*i->second);
}

// -- what CAF calls
// --------------------------------------------------------------------------------

void wheel_clock::set_ordinary_timeout(time_point t, caf::abstract_actor* self,
                                       caf::atom_value type, std::uint64_t id) {
  // One of each type: a new one takes the place of the old.
  schedule(t, std::make_unique<timeout_entry>(
                  self, type, id, name{self->id(), static_cast<std::uint64_t>(type), 0}));
}

void wheel_clock::set_multi_timeout(time_point t, caf::abstract_actor* self, caf::atom_value type,
                                    std::uint64_t id) {
  schedule(t, std::make_unique<timeout_entry>(
                  self, type, id, name{self->id(), static_cast<std::uint64_t>(type), id + 1}));
}

void wheel_clock::set_request_timeout(time_point t, caf::abstract_actor* self, caf::message_id id) {
  schedule(t, std::make_unique<request_entry>(self, id,
                                              name{self->id(), request_kind, id.integer_value()}));
}

void wheel_clock::cancel_ordinary_timeout(caf::abstract_actor* self, caf::atom_value type) {
  cancel({self->id(), static_cast<std::uint64_t>(type), 0});
}

void wheel_clock::cancel_request_timeout(caf::abstract_actor* self, caf::message_id id) {
  cancel({self->id(), request_kind, id.integer_value()});
}

void wheel_clock::cancel_timeouts(caf::abstract_actor* self) {
  std::vector<entry_ptr> dead;
  std::lock_guard lock{mutex_};
  for (auto i = owners_.find(self->id()); i != owners_.end(); i = owners_.find(self->id()))
    dead.push_back(take(*i->second));
}

void wheel_clock::schedule_message(time_point t, caf::strong_actor_ptr receiver,
                                   caf::mailbox_element_ptr content) {
  if (!receiver)
    return;
  if (t <= now()) {
    receiver->enqueue(std::move(content), nullptr);
    return;
  }
  schedule(t, std::make_unique<message_entry>(std::move(receiver), std::move(content)));
}

void wheel_clock::schedule_message(time_point t, caf::group target, caf::strong_actor_ptr sender,
                                   caf::message content) {
  schedule(t,
           std::make_unique<group_entry>(std::move(target), std::move(sender), std::move(content)));
}

void wheel_clock::cancel_all() {
  std::vector<entry_ptr> dead;
  std::lock_guard lock{mutex_};
  wheel_.clear([&](timer_wheel::link& l) { dead.push_back(take(static_cast<entry&>(l))); });
}

void wheel_clock::stop() {
  {
    std::lock_guard lock{mutex_};
    stopped_ = true;
    timer_.cancel();
  }
  cancel_all();
}

std::size_t wheel_clock::size() {
  std::lock_guard lock{mutex_};
  return count_;
}

} // namespace parlor
