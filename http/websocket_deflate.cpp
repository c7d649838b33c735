#include "http/websocket_deflate.hpp"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <new>
#include <utility>

namespace parlor::http {

namespace {

constexpr int level = 6;
constexpr int memory_level = 8;
constexpr std::size_t remembered = 4;               // deflated messages on each thread
constexpr std::size_t max_remembered = 64 * 1024;   // bytes of each
constexpr std::string_view tail{"\0\0\xff\xff", 4}; // of a sync flush

bool iequals(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) {
    return std::tolower(x) == std::tolower(y);
  });
}

struct parameter {
  std::string_view name, value; // value: without quotes
  bool has_value = false;
};

/// Of Sec-WebSocket-Extensions (RFC 6455 section 9.1): tokens, and what stands between them.
class extension_reader {
public:
  explicit extension_reader(std::string_view text) : rest_{text} {}
  bool takes(char c) {
    skip_blanks();
    if (rest_.empty() || rest_[0] != c)
      return false;
    rest_.remove_prefix(1);
    return true;
  }
  /// Empty if there is none.
  std::string_view token() {
    skip_blanks();
    auto n = std::min(rest_.find_first_of(" \t,;=\""), rest_.size());
    return take(n);
  }
  /// What is within must be a token, too, so that there is nothing to unescape.
  std::string_view value() {
    if (!takes('"'))
      return token();
    auto inside = token();
    return takes('"') ? inside : std::string_view{};
  }

  bool at_end() {
    skip_blanks();
    return rest_.empty();
  }

private:
  void skip_blanks() { take(std::min(rest_.find_first_not_of(" \t"), rest_.size())); }
  std::string_view take(std::size_t n) {
    auto out = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return out;
  }
  std::string_view rest_;
};

/// Section 7.1.2: 8 to 15 without leading zeros; 0 if it is not that.
int window_bits(std::string_view value) {
  if (value == "8" || value == "9")
    return value[0] - '0';
  return value.size() == 2 && value[0] == '1' && value[1] >= '0' && value[1] <= '5'
             ? 10 + value[1] - '0'
             : 0;
}

/// What one offer asks for. With anything in it that is not known, or twice, it is declined
/// (section 7.1).
struct offer {
  bool server_no_takeover = false, client_no_takeover = false;
  int server_bits = 0, client_bits = 0; // 0: not said

  bool add(const parameter& p) {
    auto is = [&p](const char* name) { return iequals(p.name, name); };
    if (is("server_no_context_takeover"))
      return !std::exchange(server_no_takeover, true) && !p.has_value;
    if (is("client_no_context_takeover"))
      return !std::exchange(client_no_takeover, true) && !p.has_value;
    if (is("server_max_window_bits"))
      return std::exchange(server_bits, window_bits(p.value)) == 0 && server_bits != 0;
    if (is("client_max_window_bits"))
      return std::exchange(client_bits, p.has_value ? window_bits(p.value) : 15) == 0 &&
             client_bits != 0;
    return false;
  }
};

} // namespace

std::optional<deflate_terms> agree_on_deflate(std::string_view offers) {
  extension_reader in{offers};
  for (;;) {
    offer o;
    auto sound = iequals(in.token(), "permessage-deflate");
    while (in.takes(';')) {
      parameter p;
      p.name = in.token();
      p.has_value = in.takes('=');
      if (p.has_value)
        p.value = in.value();
      sound = sound && o.add(p);
    }
    auto last = in.at_end();
    if ((!last && !in.takes(',')) || (last && !sound))
      return std::nullopt;
    if (!sound)
      continue;
    deflate_terms t;
    t.answer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    if (o.server_bits != 0) {
      // zlib does not know 8, but with 9 it refers back 250 bytes at most (MAX_DIST), which fit.
      t.window_bits = std::max(9, o.server_bits);
      t.answer += "; server_max_window_bits=" + std::to_string(o.server_bits);
    }
    return t;
  }
}

std::string deflated(std::string_view plain, int window_bits) {
  z_stream z{};
  if (deflateInit2(&z, level, Z_DEFLATED, -window_bits, memory_level, Z_DEFAULT_STRATEGY) != Z_OK)
    throw std::bad_alloc{};
  std::string out(deflateBound(&z, plain.size()) + 16, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(plain.data()));
  z.avail_in = static_cast<uInt>(plain.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  deflate(&z, Z_SYNC_FLUSH);
  out.resize(z.total_out - tail.size());
  deflateEnd(&z);
  return out;
}

std::shared_ptr<const std::string> deflated(const std::shared_ptr<const std::string>& plain,
                                            int window_bits) {
  struct known {
    std::weak_ptr<const std::string> plain;
    int window_bits = 0;
    std::shared_ptr<const std::string> made;
  };
  static thread_local std::array<known, remembered> all;
  static thread_local std::size_t next = 0;
  for (auto& k : all)
    if (k.window_bits == window_bits && k.plain.lock() == plain)
      return k.made;
  auto made = std::make_shared<const std::string>(deflated(*plain, window_bits));
  if (made->size() <= max_remembered)
    all[next++ % all.size()] = {plain, window_bits, made};
  return made;
}

struct inflater::state {
  z_stream z{};
};

inflater::inflater() : state_{std::make_unique<state>()} {
  if (inflateInit2(&state_->z, -15) != Z_OK)
    throw std::bad_alloc{};
}

inflater::~inflater() { inflateEnd(&state_->z); }

inflater::verdict inflater::take(std::string_view piece, std::string& out, std::size_t most) {
  auto& z = state_->z;
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(piece.data()));
  z.avail_in = static_cast<uInt>(piece.size());
  std::array<char, 16 * 1024> room;
  do {
    z.next_out = reinterpret_cast<Bytef*>(room.data());
    z.avail_out = room.size();
    auto r = inflate(&z, Z_SYNC_FLUSH);
    auto n = room.size() - z.avail_out;
    if (n > most - out.size())
      return verdict::too_big;
    out.append(room.data(), n);
    if (r == Z_STREAM_END) // a last block (section 7.2.3.4), after which others may come
      r = inflateReset(&z);
    if (r != Z_OK && r != Z_BUF_ERROR)
      return verdict::broken;
  } while (z.avail_out == 0 || z.avail_in > 0);
  return verdict::fine;
}

bool inflater::whole() const noexcept {
  constexpr int between_blocks = 128; // zlib.h, of inflate()
  return (state_->z.data_type & between_blocks) != 0;
}

} // namespace parlor::http
