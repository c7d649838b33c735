// The document in what a model has written: the same place however the text comes, and read as JSON
// in the same way wherever it comes from.

#include "protocol/json_find.hpp"

#include "fuzz.hpp"

using namespace parlor;

PARLOR_FUZZ(input) {
  auto at = fuzz::split_of(input);
  auto run = [](std::initializer_list<std::string_view> pieces, json::locator& l) {
    std::string document;
    for (auto p : pieces)
      l.feed(p, document);
    return document;
  };
  json::locator whole, split, bytewise;
  auto expected = run({input}, whole);
  fuzz::must(run({input.substr(0, at), input.substr(at)}, split) == expected,
             "a split changes nothing");
  std::string bytes;
  for (auto& c : input)
    bytewise.feed({&c, 1}, bytes);
  fuzz::must(bytes == expected, "nor do many");
  fuzz::must(whole.whole() == split.whole() && whole.begun() == split.begun(),
             "nor whether it is whole");
  if (!expected.empty())
    fuzz::must(input.substr(whole.offset(), expected.size()) == expected &&
                   whole.offset() == split.offset(),
               "it is where it says");
  auto found = json::find_document(input);
  fuzz::must(found.text.size() <= input.size(), "what is found was there");
  if (auto only = json::only_document(input))
    fuzz::must(only->size() <= input.size(), "what is alone was there");
  json::fault why{};
  json::parse(expected, why);
  if (why == json::fault::none && whole.begun()) {
    fuzz::must(json::offset_of(expected, "/a/0") <= expected.size(), "a place in it");
    fuzz::must(json::raw_member(expected, "a").size() < expected.size() ||
                   !expected.starts_with('{'),
               "a member of it");
  }
  json::valid_utf8(input);
}
