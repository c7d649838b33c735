#pragma once
// What lets an external service, and nobody else, end a task from outside: a token bound to
// session, task and attempt, and the URL that carries it. Pure; any thread.

#include "protocol/ids.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace parlor {

/// What a sound token stands for. The session is the one it was checked against.
struct callback_claim {
  std::string task;
  std::uint32_t attempt = 0; // 1, 2, 3, …
  auto operator<=>(const callback_claim&) const = default;
};

/// Makes and checks tokens under a secret of the server: `<attempt>.<task>.<HMAC-SHA-256>`, at most
/// 200 characters of `A-Z a-z 0-9 _ - .`, so that nothing in it needs escaping in a URL. It names
/// its task, so that a late or repeated callback finds it without a search; it hides nothing.
///
/// The secret must survive a restart, or callbacks under way are refused after it.
class callback_signer {
public:
  static constexpr std::size_t min_secret_bytes = 32;

  /// Throws std::invalid_argument if the secret is shorter than min_secret_bytes.
  explicit callback_signer(std::string secret);
  /// Erases the secret.
  ~callback_signer();
  callback_signer(const callback_signer&) = delete;
  callback_signer& operator=(const callback_signer&) = delete;

  /// `task`: as made by make_task_id; std::invalid_argument if it holds anything but letters,
  /// digits, `_` and `-`, or more than 128 of them.
  std::string sign(const session_key& session, std::string_view task, std::uint32_t attempt) const;
  /// Nothing for whatever this signer has not made for this session; how long that takes does not
  /// tell how much of it was right.
  std::optional<callback_claim> verify(const session_key& session, std::string_view token) const;

private:
  std::string seal(const session_key& session, std::string_view task, std::uint32_t attempt) const;
  std::string secret_;
};

/// Everything but unreserved characters (RFC 3986, section 2.3) as %XX.
std::string percent_encoded(std::string_view text);

/// The configured public address as it is put before paths: scheme and host in lower case, no slash
/// at the end. Nothing unless it is an http or https URL with a host, and without user, query or
/// fragment; a path is kept.
std::optional<std::string> public_base(std::string_view address);

/// `<base>/api/plan/update?sessionId=…&token=…`; without token where that is empty. `base`: from
/// public_base.
std::string callback_url(std::string_view base, std::string_view session, std::string_view token);

} // namespace parlor
