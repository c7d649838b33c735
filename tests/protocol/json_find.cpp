#include "protocol/json_find.hpp"
#include "protocol/json.hpp"

#include "support/catch.hpp"

#include <chrono>

using namespace parlor::json;

namespace {

std::string found(std::string_view text) {
  auto f = find_document(text);
  // However it is cut, the place is the same.
  for (std::size_t step : {1u, 2u, 3u, 7u}) {
    locator where;
    std::string document;
    for (std::size_t i = 0; i < text.size(); i += step)
      where.feed(text.substr(i, step), document);
    CHECK(document == f.text);
    CHECK(where.whole() == f.whole);
    if (where.begun())
      CHECK(where.offset() == static_cast<std::size_t>(f.text.data() - text.data()));
  }
  return std::string{f.text};
}

} // namespace

TEST_CASE("the document is found bare, fenced, and among prose") {
  constexpr auto object = R"({"a": [1, {"b": "}]"}], "c": "\"{"})";
  for (auto text : {"",
                    "\n \n",
                    "Here it is:\n",
                    "Here it is: ",
                    "```json\n",
                    "Sure!\n\n```json\n",
                    "```\n",
                    "  ```JSON  \n",
                    "~ 你好：\n```\n",
                    "```json ",
                    "I used {} and {x}, [1] "
                    "and [a link](http://example.org/{id}) and said \"{\".\n",
                    "- [ ] one\n- [x] two\n[the plan]\n",
                    "{ 'not': 'json' }\n",
                    "{\"quoted\"} ",
                    "<think>maybe {\"a\": 0}?\n```\n{\"a\":</think>\n",
                    "\n<thinking>{\"a\":1}"
                    "</thinking>",
                    "```python\nx = {\"a\": 1}\n```\nso\n",
                    "```js\n{\"a\":1}\n   "
                    "```\n",
                    "[ [ [ and [[links]] ",
                    "[true story]\n[1st]\n[nullify, it]\n"})
    for (auto after : {"", "\n```", "\n```\nHope this helps {\"x\": 1}!", "\n\nDone."}) {
      INFO(text);
      CHECK(found(std::string{text} + object + after) == object);
    }
  for (auto text : {"[]", "{}", "[\n]", "[1]", "[ -1.5e3 , 2]", "[true]", "[\"a\"]", "[[1]]",
                    "[[]]", "[{\"a\":1}]", "[ { } ]", "{ \"a\\\"b\" : 1}"}) {
    CHECK(found(text) == text);
    CHECK(found(std::string{"```json\n"} + text + "\n```") == text);
  }
  CHECK(found("see [{\"a\":1}, {\"a\":2}] there") == "[{\"a\":1}, {\"a\":2}]");
}

TEST_CASE("no document is found where none is") {
  for (auto text : {"", "no", "{", "[", "{x}", "a [1] b", "```json\n```", "\"text\"", "3", "null",
                    "<think>{\"a\":1}", "```python\n{\"a\":1}\n", "{\"a\" b", "[maybe]"})
    CHECK(found(text).empty());
  auto cut = find_document("```json\n{\"a\": {\"b\": 1}, ");
  CHECK(cut.text == "{\"a\": {\"b\": 1}, ");
  CHECK_FALSE(cut.whole);
  CHECK(find_document("{\"a\":1} ").whole);
}

TEST_CASE("finding takes linear time and keeps little") {
  std::string quotes, brackets, spaces, ticks, links;
  for (int i = 0; i < 200'000; ++i) {
    quotes += "{\"";
    brackets += "[ ";
    ticks += "\n``";
    links += "{\"\\\"";
  }
  for (int i = 0; i < 1000; ++i)
    spaces += "{" + std::string(600, ' ');
  for (auto* text : {&quotes, &brackets, &spaces, &ticks, &links}) {
    auto begin = std::chrono::steady_clock::now();
    CHECK(find_document(*text).text.empty());
    locator where;
    std::string document;
    for (char c : *text)
      where.feed({&c, 1}, document);
    CHECK_FALSE(where.begun());
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds{20});
  }
}
