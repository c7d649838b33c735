#include "protocol/ids.hpp"

#include <openssl/rand.h>

#include <array>
#include <charconv>
#include <chrono>
#include <stdexcept>

namespace parlor {

namespace {
constexpr std::string_view base32 = "0123456789abcdefghjkmnpqrstvwxyz"; // Crockford
constexpr std::size_t max_cursor = 40;
} // namespace

bool valid_session_id(std::string_view id) noexcept {
  // In a path these two mean something else: nobody could ask for such a session again.
  if (id.empty() || id.size() > 128 || id == "." || id == "..")
    return false;
  for (unsigned char c : id)
    if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
          c == '-' || c == '.' || c == ':' || c == '@'))
      return false;
  return true;
}

std::string random_base32(std::size_t n) {
  // Drawn in stock: a call into OpenSSL for each id costs more than the id.
  static thread_local std::array<unsigned char, 1024> stock;
  static thread_local std::size_t used = stock.size();
  std::string out;
  out.reserve(n);
  while (out.size() < n) {
    if (used == stock.size()) {
      if (RAND_bytes(stock.data(), static_cast<int>(stock.size())) != 1)
        throw std::runtime_error{"the operating system gives no random bytes"};
      used = 0;
    }
    out += base32[stock[used++] & 31];
  }
  return out;
}

std::string make_task_id(std::int64_t now_ms) {
  return "task_" + std::to_string(now_ms) + '_' + random_base32(20);
}
std::string make_session_id() {
  constexpr int digits = 9; // 45 bits of milliseconds: enough until 3084
  auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                std::chrono::system_clock::now().time_since_epoch())
                .count();
  std::string out = "session_";
  for (int i = digits - 1; i >= 0; --i)
    out += base32[static_cast<std::size_t>(ms >> (5 * i)) & 31];
  return out + random_base32(17);
}
std::string make_message_id() { return "msg_" + random_base32(26); }
std::string make_request_id() { return "req_" + random_base32(16); }
std::string make_epoch() { return random_base32(8); }
std::string make_secret() { return random_base32(64); }

std::string format_cursor(std::string_view epoch, std::uint64_t seq) {
  return std::string{epoch} + '-' + std::to_string(seq);
}

std::optional<cursor> parse_cursor(std::string_view text) {
  auto dash = text.rfind('-');
  if (text.size() > max_cursor || dash == std::string_view::npos || dash == 0 ||
      dash + 1 == text.size())
    return std::nullopt;
  for (char c : text)
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '-'))
      return std::nullopt;
  cursor out;
  out.epoch = text.substr(0, dash);
  auto digits = text.substr(dash + 1);
  if (digits.size() > 1 && digits.front() == '0')
    return std::nullopt; // one spelling for each place
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), out.seq);
  if (error != std::errc{} || end != digits.data() + digits.size())
    return std::nullopt;
  return out;
}

} // namespace parlor
