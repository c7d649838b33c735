#include "http/router.hpp"

#include "support/catch.hpp"

using namespace parlor;

namespace {

http::router table() {
  http::router r;
  r.add("POST", "/api/chat", 1);
  r.add("GET", "/api/sessions/{id}", 2);
  r.add("DELETE", "/api/sessions/{id}", 3);
  r.add("GET", "/api/sessions/{id}/events", 4);
  return r;
}

std::string captured(std::string_view path) {
  auto m = table().find("GET", path);
  return m.error == errc::none && m.id == 2 ? m.params.at(0).second : "-";
}

} // namespace

TEST_CASE("a route is found by its method and its segments") {
  auto r = table();
  CHECK(r.find("POST", "/api/chat").id == 1);
  CHECK(r.find("DELETE", "/api/sessions/a").id == 3);
  CHECK(r.find("GET", "/api/sessions/a/events").id == 4);
  CHECK(r.find("HEAD", "/api/sessions/a").id == 2);
  for (auto none : {"/", "", "/api", "/api/chat/", "/api/sessions", "/api/sessions/",
                    "/api/sessions/a/events/b", "/API/chat", "/api/sessions//events"})
    CHECK(r.find("GET", none).error == errc::route_not_found);
}

TEST_CASE("H13 a method that a path does not have is told which it has") {
  auto m = table().find("PUT", "/api/sessions/a");
  CHECK(m.error == errc::method_not_allowed);
  CHECK(m.allow == "GET, HEAD, DELETE");
  CHECK(table().find("GET", "/api/chat").allow == "POST");
}

TEST_CASE("H15 a path is decoded once and never becomes another") {
  CHECK(captured("/api/sessions/a%20b") == "a b");
  CHECK(captured("/api/sessions/%41") == "A");
  CHECK(captured("/api/sessions/%2541") == "%41"); // once
  CHECK(captured("/api/sessions/a;b") == "a;b");
  CHECK(captured("/api/sessions/A") != captured("/api/sessions/a"));
  CHECK(captured("/api/sessions/%2e%2e") == ".."); // a name like any other, not a way up
  auto r = table();
  for (auto bad : {"/api/sessions/a%2Fb", "/api/sessions/%00", "/api/sessions/%",
                   "/api/sessions/%4", "/api/sessions/%zz"})
    CHECK(r.find("GET", bad).error == errc::bad_framing);
  for (auto none : {"/api//chat", "//api/chat", "/x/../api/chat", "/api/%63hat", "/./api/chat"})
    CHECK(r.find("POST", none).error == errc::route_not_found);
}
