#include "protocol/callback_token.hpp"

#include "support/catch.hpp"

#include <set>
#include <stdexcept>

using namespace parlor;

namespace {

const std::string secret(32, 's');
const session_key who{"", "course_7"};
const std::string task = "task_1759485600000_0123456789abcdefghjk";

} // namespace

TEST_CASE("C3 a token opens what it was made for") {
  callback_signer signer{secret};
  auto token = signer.sign(who, task, 2);
  auto claim = signer.verify(who, token);
  REQUIRE(claim);
  CHECK(claim->task == task);
  CHECK(claim->attempt == 2);
  CHECK(callback_signer{secret}.verify(who, token)); // after a restart
  CHECK(token.size() <= 200);
  CHECK(percent_encoded(token) == token); // safe in a URL as it is
  CHECK(signer.sign({"", std::string(128, 'x')}, std::string(128, 't'), 4294967295U).size() <= 200);
}

TEST_CASE("a token is the same everywhere: HMAC-SHA-256 of the parts with their lengths") {
  // openssl dgst -sha256 -hmac ssss… of "17:parlor callback 10:8:course_74:task1:1"
  callback_signer signer{secret};
  CHECK(signer.sign(who, "task", 1) == "1.task.YkskmwGg0C8p-Vaz_NIZRCI7gXTpMiQwcDnICpgEPxY");
}

TEST_CASE("C3 a token opens nothing else") {
  callback_signer signer{secret};
  auto token = signer.sign(who, task, 2);
  SECTION("another session's, another tenant's, another server's") {
    CHECK_FALSE(signer.verify({"", "course_8"}, token));
    CHECK_FALSE(signer.verify({"t", "course_7"}, token));
    CHECK_FALSE(callback_signer{std::string(32, 'x')}.verify(who, token));
    CHECK_FALSE(callback_signer{secret + "s"}.verify(who, token));
  }
  SECTION("another task's or attempt's seal") {
    auto seal = token.substr(token.rfind('.'));
    CHECK_FALSE(signer.verify(who, "1." + task + seal));
    CHECK_FALSE(signer.verify(who, "3." + task + seal));
    CHECK_FALSE(signer.verify(who, "2.task_1759485600000_0123456789abcdefghjm" + seal));
  }
  SECTION("any one character changed") {
    for (std::size_t i = 0; i < token.size(); ++i)
      for (char c : {'A', 'B', '0', '1', '.', '_', '-', '%', '\0'}) {
        auto bad = token;
        bad[i] = c;
        INFO(i << ' ' << bad);
        CHECK(signer.verify(who, bad).has_value() == (bad == token));
      }
  }
  SECTION("any part of it, or more") {
    for (std::size_t n = 0; n < token.size(); ++n)
      CHECK_FALSE(signer.verify(who, token.substr(0, n)));
    for (auto bad :
         {token + "=", token + "A", " " + token, "0" + token, "+" + token, token + "." + token,
          std::string(100'000, '.'), std::string{".."}, "4294967298" + token.substr(1)})
      CHECK_FALSE(signer.verify(who, bad));
  }
}

TEST_CASE("parts cannot be shifted between each other") {
  callback_signer signer{secret};
  std::set<std::string> seals;
  auto seal = [&](session_key k, std::string_view t, std::uint32_t n) {
    auto token = signer.sign(k, t, n);
    return token.substr(token.rfind('.'));
  };
  for (auto& [tenant, id] : {std::pair{"", "ab"}, {"a", "b"}, {"ab", ""}, {"a1", ":b"}})
    seals.insert(seal({tenant, id}, "t", 1));
  seals.insert(seal({"", "a"}, "bt", 1));
  seals.insert(seal({"", "ab"}, "t1", 1));
  seals.insert(seal({"", "ab"}, "t", 11));
  CHECK(seals.size() == 7);
}

TEST_CASE("what cannot be signed is not") {
  CHECK_THROWS_AS(callback_signer{std::string(31, 's')}, std::invalid_argument);
  callback_signer signer{secret};
  for (auto bad : {std::string{}, std::string{"a.b"}, std::string{"a b"}, std::string(129, 't')})
    CHECK_THROWS_AS(signer.sign(who, bad, 1), std::invalid_argument);
  CHECK_THROWS_AS(signer.sign(who, task, 0), std::invalid_argument);
}

TEST_CASE("callback URLs come from the configured public address") {
  CHECK(public_base("https://plans.example.org") == "https://plans.example.org");
  CHECK(public_base("HTTPS://Plans.Example.org:8443/") == "https://plans.example.org:8443");
  CHECK(public_base("http://[::1]:8080/parlor//") == "http://[::1]:8080/parlor");
  for (auto bad :
       {"", "plans.example.org", "//plans.example.org", "ftp://a.example", "https://",
        "https://u:p@a.example", "https://u@a.example", "https://a.example?x=1",
        "https://a.example/#x", "https://a.example/?", "https://a b.example", "https://a.example:0",
        "https://8.8.8.8.a.example", "https://a.example:70000", "https://a.example\r\nX: y"}) {
    INFO(bad);
    CHECK_FALSE(public_base(bad));
  }
  CHECK(callback_url("https://a.example/p", "user:7@x", "1.t.AB-_") ==
        "https://a.example/p/api/plan/update?sessionId=user%3A7%40x&token=1.t.AB-_");
  CHECK(callback_url("https://a.example", "s&token=x", "") ==
        "https://a.example/api/plan/update?sessionId=s%26token%3Dx");
  CHECK(percent_encoded("a~b 你/+%\n") == "a~b%20%E4%BD%A0%2F%2B%25%0A");
}
