// The gate before the parser. What has been refused stays refused whatever follows, and how the
// bytes are split changes nothing; what is let through Beast takes for one message with the same
// end, and never both chunked and with a length.

#include "http/framing.hpp"
#include "http/glimpse.hpp"

#include "fuzz.hpp"

#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>

using namespace parlor;
namespace bh = boost::beast::http;

PARLOR_FUZZ(input) {
  auto whole = http::inspect(input, {});
  auto part = http::inspect(input.substr(0, fuzz::split_of(input)), {});
  if (part.error != errc::none)
    fuzz::must(whole.error != errc::none, "what is refused stays refused");
  if (part.length > 0)
    fuzz::must(whole.length == part.length && whole.error == errc::none, "a head stays one");
  auto seen = http::glimpse(input);
  fuzz::must(seen.path.size() <= input.size(), "what is seen was there");
  if (whole.length == 0)
    return;
  auto head = input.substr(0, whole.length);
  fuzz::must(head.ends_with("\r\n\r\n") && head.find("\r\n\r\n") == head.size() - 4,
             "a head ends at its first empty line");
  bh::request_parser<bh::empty_body> p;
  p.header_limit(64 * 1024);
  p.body_limit(boost::none);
  boost::system::error_code e;
  auto used = p.put(boost::asio::buffer(head.data(), head.size()), e);
  if (e)
    return; // the stricter of the two
  fuzz::must(p.is_header_done() && used == head.size(), "Beast sees the same end");
  auto& m = p.get();
  fuzz::must(!(p.chunked() && m.count(bh::field::content_length) > 0), "one framing");
  fuzz::must(m.count(bh::field::transfer_encoding) == (p.chunked() ? 1U : 0U),
             "no coding that is not seen");
  fuzz::must(m.count(bh::field::content_length) <= 1, "one length");
  fuzz::must(m.target().starts_with('/'), "origin form");
}
