// Last-Event-ID and the names of sessions: what is taken for one is written the same again.

#include "protocol/ids.hpp"

#include "fuzz.hpp"

using namespace parlor;

PARLOR_FUZZ(input) {
  if (auto c = parse_cursor(input)) {
    fuzz::must(format_cursor(c->epoch, c->seq) == input, "a cursor has one spelling");
    fuzz::must(input.size() <= 40, "a cursor is short");
    fuzz::must(input.find_first_not_of("0123456789abcdefghijklmnopqrstuvwxyz-") == input.npos,
               "browsers send it without asking first");
  }
  if (valid_session_id(input)) {
    fuzz::must(!input.empty() && input.size() <= 128, "a name has a length");
    for (unsigned char c : input)
      fuzz::must(c > 0x20 && c < 0x7f && c != '/' && c != '"' && c != '%', "a name is plain");
  }
}
