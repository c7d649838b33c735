#include "protocol/notice.hpp"
#include "support/catch.hpp"

#include <string>

using namespace parlor;

namespace {
std::string last;
}

TEST_CASE("a notice goes where the program says, and nowhere before") {
  notice(log_level::warn, "lost");
  set_notice_sink([](log_level l, std::string_view msg, std::initializer_list<log_field> fields) {
    last = std::to_string(static_cast<int>(l)) + ' ' + std::string{msg};
    for (auto& [name, value] : fields)
      last += ' ' + std::string{name} + '=' + std::string{value};
  });
  notice(log_level::warn, "heard", {{"a", "b"}});
  set_notice_sink(nullptr);
  notice(log_level::warn, "lost again");
  CHECK(last == "3 heard a=b");
}

TEST_CASE("what happens often is said seldom, with how often it happened") {
  seldom s{1000};
  CHECK(s.pass(5) == 0);
  CHECK(s.pass(6) < 0);
  CHECK(s.pass(1004) < 0);
  CHECK(s.pass(1005) == 2);
  CHECK(s.pass(2004) < 0);
  CHECK(s.pass(9000) == 1);
  CHECK(s.pass(10000) == 0);
}
