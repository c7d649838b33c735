#include "sockets.hpp"

#include <boost/json.hpp>

namespace parlor::test {

namespace bj = boost::json;

void fake_socket::push(http::chunk piece) {
  unread += slow ? piece->size() : 0;
  log.push_back({time.now_ms(), *piece});
}

void fake_socket::close(http::close_code code, std::string reason) {
  closed.emplace_back(code, std::move(reason));
}

std::vector<std::string> fake_socket::words() const {
  std::vector<std::string> out;
  for (auto& t : log) {
    auto o = bj::parse(t.text).as_object();
    auto text = [&](const char* name) {
      auto* v = o.if_contains(name);
      return v == nullptr ? std::string{} : std::string{v->as_string()};
    };
    auto line = text("type");
    if (o.contains("request_id"))
      line += "[" + text("request_id") + "]";
    if (line.starts_with("error"))
      line += " " + text("code");
    else if (line.starts_with("content_finished"))
      line += " " + text("full_content");
    else if (line.starts_with("content"))
      line +=
          " " + text("content") + (o.contains("full_content") ? "|" + text("full_content") : "");
    out.push_back(line);
  }
  return out;
}

std::vector<std::string> fake_socket::words_from(std::size_t n) const {
  auto all = words();
  return {all.begin() + static_cast<std::ptrdiff_t>(std::min(n, all.size())), all.end()};
}

std::vector<std::int64_t> fake_socket::times(const std::string& type) const {
  std::vector<std::int64_t> out;
  for (auto& t : log)
    if (bj::parse(t.text).at("type").as_string() == type)
      out.push_back(t.at);
  return out;
}

std::vector<std::uint64_t> fake_socket::seqs() const {
  std::vector<std::uint64_t> out;
  for (auto& t : log) {
    auto said = bj::parse(t.text);
    if (auto* v = said.as_object().if_contains("seq"))
      out.push_back(v->to_number<std::uint64_t>());
  }
  return out;
}

http::websocket_ptr upgrading_peer::upgrade(const http::websocket_options&,
                                            http::message_sink sink) {
  socket = std::make_shared<fake_socket>(time, std::move(sink));
  return socket;
}

socket_house::socket_house() = default;

socket_house::~socket_house() {
  desk = nullptr;
  stop();
  for (auto& s : sockets) {
    s->on_signal = {};
    s->sink = {};
  }
}

std::shared_ptr<upgrading_peer> socket_house::knock(language lang) {
  auto p = std::make_shared<upgrading_peer>(time);
  auto v = asking_for(visit::kind::socket);
  v.exchange = p;
  v.lang = lang;
  caf::anon_send(desk, visit_ptr{std::make_shared<const visit>(std::move(v))});
  time.settle();
  return p;
}

fake_socket_ptr socket_house::connect(language lang) {
  auto p = knock(lang);
  REQUIRE(p->socket);
  sockets.push_back(p->socket);
  return p->socket;
}

void socket_house::send(const fake_socket_ptr& s, std::string text) {
  s->sink(std::make_shared<const std::string>(std::move(text)));
}

void socket_house::tell(const fake_socket_ptr& s, std::string text) {
  send(s, std::move(text));
  time.settle();
}

std::string socket_house::question(const std::string& task, const std::string& request_id,
                                   const std::string& more) {
  return R"({"type":"question","content":"say )" + task + R"(","request_id":")" + request_id +
         "\"" + more + "}";
}

void socket_house::ask_on(const fake_socket_ptr& s, const std::string& task,
                          const std::string& request_id, const std::string& more) {
  tell(s, question(task, request_id, more));
}

void socket_house::signal(const fake_socket_ptr& s, http::signal what) {
  REQUIRE(s->on_signal);
  s->on_signal(what);
  time.settle();
}

std::size_t socket_house::refusals(const fake_socket_ptr& s, const std::string& code) {
  std::size_t n = 0;
  for (auto& w : s->words())
    n += w.starts_with("error") && w.ends_with(" " + code);
  return n;
}

} // namespace parlor::test
