#include "front.hpp"

#include "protocol/dialects/chat_sessions.hpp"

namespace parlor::test {

void peer::push(http::chunk piece) {
  if (slow)
    most = std::max(most, unread += piece->size());
  body.push_back(std::move(piece));
}

std::string peer::text() const {
  std::string all;
  for (auto& c : body)
    all += *c;
  return all;
}

unsigned peer::status() const {
  REQUIRE(answers.size() == 1);
  REQUIRE(heads.empty());
  return answers[0].status;
}

std::vector<std::uint64_t> peer::ids() const {
  std::vector<std::uint64_t> all;
  auto t = text();
  for (auto at = t.find("id: "); at != std::string::npos; at = t.find("id: ", at + 1))
    all.push_back(std::stoull(t.substr(t.find('-', at) + 1)));
  return all;
}

front::front() {
  options.lost = [this](const session_key& k) {
    lost.push_back(k);
    caf::anon_send(desk, session_lost{std::make_shared<const session_key>(k)});
  };
}

front::~front() {
  desk = nullptr;
  stop();
  for (auto& p : peers)
    p->on_signal = {};
}

void front::begin() {
  open();
  edging.epoch = world->epoch;
  edging.door = [this](const session_key&) { return door; };
  edging.archive = world->archive;
  edging.wall = world->wall;
  edging.draining = [this] { return draining; };
  desk = time.owned(time.system.spawn(edge, edging));
  edging.archive = nullptr;
  time.settle();
}

peer_ptr front::send(visit v) {
  peers.push_back(std::make_shared<peer>());
  v.exchange = peers.back();
  caf::anon_send(desk, visit_ptr{std::make_shared<const visit>(std::move(v))});
  return peers.back();
}

peer_ptr front::serve(visit v) {
  auto p = send(std::move(v));
  time.settle();
  return p;
}

void front::signal(const peer_ptr& p, http::signal s) {
  REQUIRE(p->on_signal);
  p->on_signal(s);
  time.settle();
}

bool front::drain(const peer_ptr& p) {
  if (std::exchange(p->unread, 0) <= http::exchange::high_water)
    return false;
  signal(p, http::signal::drained);
  return true;
}

visit front::asking_for(visit::kind what, std::string task) const {
  visit v;
  v.what = what;
  v.key = room;
  v.task = std::move(task);
  if (what == visit::kind::chat_stream || what == visit::kind::session_stream ||
      what == visit::kind::task_stream || what == visit::kind::chat)
    v.shape = &chat_sessions::shape;
  return v;
}

visit front::taking(visit::kind what, const std::string& task) const {
  auto v = asking_for(what);
  v.turn = turn(task).turn;
  return v;
}

peer_ptr front::chat_stream(const std::string& task) {
  return serve(taking(visit::kind::chat_stream, task));
}

peer_ptr front::session_stream(std::optional<std::uint64_t> after, language lang) {
  auto v = asking_for(visit::kind::session_stream);
  v.lang = lang;
  if (after)
    v.after = cursor{world->epoch, *after};
  return serve(std::move(v));
}

peer_ptr front::poll(const std::string& task) {
  return serve(asking_for(visit::kind::generate_poll, task));
}

peer_ptr front::task_stream(const std::string& task, std::optional<std::uint64_t> after) {
  auto v = asking_for(visit::kind::task_stream, task);
  if (after)
    v.after = cursor{world->epoch, *after};
  return serve(std::move(v));
}

} // namespace parlor::test
