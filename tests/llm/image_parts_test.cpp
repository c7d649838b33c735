// A question with photos, from the client's frame to the provider's request.

#include "llm/openai_codec.hpp"
#include "protocol/dialects/learning_ws.hpp"
#include "protocol/window.hpp"

#include "support/catch.hpp"

#include <boost/json.hpp>

using namespace parlor;

TEST_CASE("photos go to the provider as image parts, in order, in this turn and the next") {
  auto photo = std::string{"data:image/jpeg;base64,/9j/4AAQ"} + std::string(400'000, 'A');
  auto f = learning_ws::parse(R"({"type":"question","content":"Explain \"3\"","images":[")" +
                              photo + R"(","https://example.org/page2.jpg"]})");
  auto* q = std::get_if<learning_ws::question>(&f);
  REQUIRE(q != nullptr);
  auto asked = q->turn.said;
  message answered{role::assistant, "Like this.", {}};
  llm::call_request r;
  r.settings.model = std::string{"m"};
  // 400 kB of base64 are one photo, not 100 000 tokens: the turn stays within the budget.
  auto window = fit_window("Be a tutor.", {asked, answered}, {role::user, "And 4?", {}}, 5000);
  CHECK(window.dropped == 0);
  r.messages = window.messages;
  auto doc = boost::json::parse(llm::chat_request_body(r));
  auto& messages = doc.at("messages").as_array();
  REQUIRE(messages.size() == 4);
  CHECK(messages.at(1).at("role").as_string() == "user");
  auto& parts = messages.at(1).at("content").as_array();
  REQUIRE(parts.size() == 3);
  CHECK(parts.at(0).at("text").as_string() == "Explain \"3\"");
  auto same = parts.at(1).at("image_url").at("url").as_string() == photo;
  CHECK(same);
  CHECK(parts.at(2).at("image_url").at("url").as_string() == "https://example.org/page2.jpg");
  CHECK(messages.at(3).at("content").as_string() == "And 4?");
}
