#include "protocol/callback_token.hpp"

#include "protocol/url.hpp"

#include <boost/url/url.hpp>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <array>
#include <charconv>
#include <stdexcept>
#include <utility>

namespace parlor {

namespace {

constexpr std::size_t max_task = 128;
constexpr std::size_t max_token = 200;
constexpr std::size_t seal_size = 43; // 32 bytes in base 64 without padding

bool unreserved(char c) noexcept {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '-' || c == '.' || c == '~';
}

bool valid_task(std::string_view task) noexcept {
  if (task.empty() || task.size() > max_task)
    return false;
  for (char c : task)
    if (!unreserved(c) || c == '.' || c == '~')
      return false;
  return true;
}

std::string base64url(const unsigned char* bytes, std::size_t n) {
  constexpr std::string_view digits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string out;
  std::uint32_t held = 0;
  int bits = 0;
  for (std::size_t i = 0; i < n; ++i) {
    held = held << 8 | bytes[i];
    for (bits += 8; bits >= 6; bits -= 6)
      out += digits[held >> (bits - 6) & 63];
  }
  if (bits > 0)
    out += digits[held << (6 - bits) & 63];
  return out;
}

} // namespace

callback_signer::callback_signer(std::string secret) : secret_{std::move(secret)} {
  if (secret_.size() < min_secret_bytes)
    throw std::invalid_argument{"the secret for callbacks is shorter than 32 bytes"};
}

callback_signer::~callback_signer() { OPENSSL_cleanse(secret_.data(), secret_.size()); }

std::string callback_signer::seal(const session_key& session, std::string_view task,
                                  std::uint32_t attempt) const {
  // Each part with its length before it: no two sets of parts make the same text. The first says
  // what the seal is for, should the secret ever have another use.
  std::string said;
  auto number = std::to_string(attempt);
  for (std::string_view part :
       {std::string_view{"parlor callback 1"}, std::string_view{session.tenant},
        std::string_view{session.id}, task, std::string_view{number}})
    said.append(std::to_string(part.size())).append(1, ':').append(part);
  std::array<unsigned char, EVP_MAX_MD_SIZE> mac{};
  unsigned int size = 0;
  if (HMAC(EVP_sha256(), secret_.data(), static_cast<int>(secret_.size()),
           reinterpret_cast<const unsigned char*>(said.data()), said.size(), mac.data(),
           &size) == nullptr ||
      size != 32)
    throw std::runtime_error{"HMAC-SHA-256 does not work"};
  return base64url(mac.data(), size);
}

std::string callback_signer::sign(const session_key& session, std::string_view task,
                                  std::uint32_t attempt) const {
  if (!valid_task(task) || attempt == 0)
    throw std::invalid_argument{"no callback can be made for such a task"};
  return std::to_string(attempt).append(1, '.').append(task).append(1, '.').append(
      seal(session, task, attempt));
}

std::optional<callback_claim> callback_signer::verify(const session_key& session,
                                                      std::string_view token) const {
  auto first = token.find('.');
  auto last = token.rfind('.');
  if (token.size() > max_token || first == std::string_view::npos || first == last)
    return std::nullopt;
  callback_claim claim;
  auto digits = token.substr(0, first);
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), claim.attempt);
  if (error != std::errc{} || end != digits.data() + digits.size() || digits.front() == '0')
    return std::nullopt; // one token has one spelling
  auto task = token.substr(first + 1, last - first - 1);
  auto told = token.substr(last + 1);
  if (!valid_task(task) || told.size() != seal_size)
    return std::nullopt;
  claim.task = task;
  if (CRYPTO_memcmp(told.data(), seal(session, task, claim.attempt).data(), seal_size) != 0)
    return std::nullopt;
  return claim;
}

std::string percent_encoded(std::string_view text) {
  constexpr std::string_view hex = "0123456789ABCDEF";
  std::string out;
  out.reserve(text.size());
  for (char c : text) {
    if (unreserved(c)) {
      out += c;
      continue;
    }
    auto byte = static_cast<unsigned char>(c);
    out.append(1, '%').append(1, hex[byte >> 4]).append(1, hex[byte & 15]);
  }
  return out;
}

std::optional<std::string> public_base(std::string_view address) {
  auto read = parse_url(address);
  if (!read)
    return std::nullopt;
  boost::urls::url u{*read};
  auto scheme = u.scheme_id();
  if ((scheme != boost::urls::scheme::http && scheme != boost::urls::scheme::https) ||
      u.encoded_host().empty() || u.has_userinfo() || u.has_query() || u.has_fragment())
    return std::nullopt;
  if (u.has_port() && u.port_number() == 0)
    return std::nullopt; // none, too large, or zero
  u.normalize_scheme();
  u.normalize_authority();
  std::string out{u.buffer().data(), u.buffer().size()};
  while (out.ends_with('/'))
    out.pop_back();
  return out;
}

std::string callback_url(std::string_view base, std::string_view session, std::string_view token) {
  auto out = std::string{base} + "/api/plan/update?sessionId=" + percent_encoded(session);
  if (!token.empty())
    out += "&token=" + percent_encoded(token);
  return out;
}

} // namespace parlor
