#include "protocol/errc.hpp"

#include "support/catch.hpp"

using namespace parlor;

TEST_CASE("whoever is refused for now is told when to come again, and nobody else") {
  for (unsigned i = 0; i <= static_cast<unsigned>(errc::internal); ++i) {
    auto code = static_cast<errc>(i);
    auto& d = describe(code);
    REQUIRE(d.code == code);
    INFO(d.name);
    auto passes = d.retryable && (d.http_status == 429 || d.http_status >= 500);
    CHECK((retry_after_s(code) > 0) == passes);
  }
}
