#pragma once
// permessage-deflate (RFC 7692): what is agreed on, and messages deflated and inflated.
//
// We agree only on messages that are compressed each by itself ("no context takeover", sections
// 7.1.1.1 and 7.1.1.2, which a server may ask for whatever is offered): an idle WebSocket then has
// no state, and a message that goes to many is compressed once. Only long messages are compressed,
// which lose little by it. Pure; any thread.

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace parlor::http {

struct deflate_terms {
  int window_bits = 15; // of ours, 9 to 15
  std::string answer;   // the value of Sec-WebSocket-Extensions
};

/// The first of the client's offers that can be taken; `offers`: Sec-WebSocket-Extensions.
std::optional<deflate_terms> agree_on_deflate(std::string_view offers);

/// As a message's payload has it: without the last four bytes of a sync flush (section 7.2.1).
std::string deflated(std::string_view plain, int window_bits);

/// The same of a message that may go to many, one after another: on each thread it is done once and
/// shared, if it was not done longer ago than a few others and is not long itself.
std::shared_ptr<const std::string> deflated(const std::shared_ptr<const std::string>& plain,
                                            int window_bits);

/// One message on its way in. Has about 40 KiB until it is destroyed.
class inflater {
public:
  enum class verdict { fine, too_big, broken };
  inflater();
  ~inflater();
  inflater(const inflater&) = delete;
  inflater& operator=(const inflater&) = delete;
  /// Appends what `piece` becomes; nothing that makes `out` longer than `most`.
  verdict take(std::string_view piece, std::string& out, std::size_t most);
  /// Whether a message may end here: between blocks.
  bool whole() const noexcept;

private:
  struct state; // zlib's
  std::unique_ptr<state> state_;
};

} // namespace parlor::http
