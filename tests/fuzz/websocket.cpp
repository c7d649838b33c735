// The frames of a WebSocket's client, after a first byte that says whether compression was agreed
// on. However they are split, the same is heard; messages are UTF-8 and no longer than they may be;
// and what we make of one of them is read as the same again. The rest is also taken for the offers
// of a handshake.

#include "http/frame_writer.hpp"

#include "fuzz.hpp"

#include <string>
#include <vector>

using namespace parlor;
using http::frame_reader;
using heard = frame_reader::heard;

namespace {

constexpr std::size_t max_message = 4096;

struct listener {
  explicit listener(bool deflate) : reader{{max_message, deflate}} {}
  frame_reader reader;
  bool over = false;
  std::vector<std::string> told;

  void take(std::string bytes) {
    for (std::span<char> rest{bytes}; !rest.empty() && !over;) {
      auto before = rest.size();
      switch (reader.take(rest)) {
      case heard::nothing:
        fuzz::must(rest.empty(), "all is taken");
        break;
      case heard::text:
        told.push_back(reader.take_text());
        fuzz::must(told.back().size() <= max_message, "a message is within the limit");
        fuzz::must(json::valid_utf8(told.back()), "a message is UTF-8");
        told.back() += 't';
        break;
      case heard::ping:
      case heard::pong:
        fuzz::must(reader.control().size() <= 125, "control frames are short");
        told.push_back(std::string{reader.control()} + 'c');
        break;
      case heard::close:
      case heard::fault:
        told.push_back(std::to_string(static_cast<unsigned>(reader.goodbye())));
        over = true;
      }
      fuzz::must(rest.size() < before, "something is taken");
    }
  }
};

/// A frame of ours as a client would have sent it, with a mask that changes nothing.
std::string masked(const http::frame_writer::gathered& g) {
  std::string out;
  for (std::size_t i = 0; i < g.count; ++i)
    out.append(static_cast<const char*>(g.parts[i].iov_base), g.parts[i].iov_len);
  auto size = static_cast<unsigned char>(out[1]);
  out[1] = static_cast<char>(size | 0x80U);
  return out.insert(size == 126 ? 4 : 2, 4, '\0');
}

void sent_again(std::string text) {
  http::frame_writer writer{12, 16};
  writer.load({std::make_shared<const std::string>(text)});
  http::frame_writer::gathered g;
  writer.gather(g);
  listener client{true};
  client.take(masked(g));
  fuzz::must(client.told.size() == 1 && client.told[0] == text + 't', "what we send can be read");
}

} // namespace

PARLOR_FUZZ(input) {
  if (input.empty())
    return;
  auto deflate = (input[0] & 1) != 0;
  input.remove_prefix(1);
  listener whole{deflate}, split{deflate}, crumbs{deflate};
  whole.take(std::string{input});
  auto at = fuzz::split_of(input);
  split.take(std::string{input.substr(0, at)});
  split.take(std::string{input.substr(at)});
  for (char c : input)
    crumbs.take(std::string(1, c));
  fuzz::must(whole.told == split.told && whole.told == crumbs.told, "splits change nothing");
  for (auto& m : whole.told)
    if (m.size() > 1 && m.back() == 't')
      sent_again(m.substr(0, m.size() - 1));
  if (auto terms = http::agree_on_deflate(input))
    fuzz::must(terms->window_bits >= 9 && terms->window_bits <= 15, "a window that zlib knows");
}
