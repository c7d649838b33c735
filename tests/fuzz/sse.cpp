// Server-sent events from a model service: the same frames however the bytes are split, and no more
// kept than allowed. What we write ourselves is read back as it was.

#include "protocol/sse.hpp"

#include "fuzz.hpp"

#include <algorithm>
#include <string>
#include <vector>

using namespace parlor;

PARLOR_FUZZ(input) {
  constexpr std::size_t most = 256;
  struct kept {
    std::string event, data, id;
  };
  auto read = [](std::initializer_list<std::string_view> pieces, bool& fits) {
    sse::decoder d{most};
    std::vector<kept> frames;
    for (auto p : pieces)
      fits = d.feed(std::string{p}, [&frames](const sse::frame& f) { // gone before the next
        frames.push_back({std::string{f.event}, std::string{f.data}, std::string{f.id}});
      });
    return frames;
  };
  auto same = [](const auto& a, const auto& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](auto& x, auto& y) {
      return x.event == y.event && x.data == y.data && x.id == y.id;
    });
  };
  auto at = fuzz::split_of(input);
  bool fits = true, fits_split = true;
  auto whole = read({input}, fits);
  auto split = read({input.substr(0, at), input.substr(at)}, fits_split);
  fuzz::must(fits == fits_split && same(whole, split), "a split changes nothing");
  for (auto& f : whole) {
    fuzz::must(f.data.size() <= most && f.event.size() <= most && f.id.size() <= most, "bounded");
    fuzz::must(f.id.find('\0') == f.id.npos, "no NUL in an id");
    fuzz::must((f.event + f.id).find_first_of("\r\n") == std::string::npos, "fields are lines");
  }
  if (input.size() < most - 8 && input.find_first_of("\r\n") == input.npos) {
    auto again = read({sse::block("7", input)}, fits);
    fuzz::must(again.size() == 1 && again[0].data == input && again[0].id == "7",
               "read as written");
  }
}
