#include "protocol/url.hpp"

#include "support/catch.hpp"

using namespace parlor;

TEST_CASE("a URL's host is in lower case, an address without brackets") {
  auto host = [](const char* text) {
    auto url = parse_url(text);
    return url ? host_of(*url) : "(none)";
  };
  CHECK(host("https://API.Example.org:8443/V1?Q#f") == "api.example.org");
  CHECK(host("http://[2606:4700::ABCD]:80/") == "2606:4700::abcd");
  CHECK(host("http://10.0.0.1") == "10.0.0.1");
  CHECK(host("http://ex%41mple.org/") == "ex%41mple.org"); // who asks for a name decides about that
}

TEST_CASE("what is no absolute URL, or is read wrongly, is none") {
  for (auto text :
       {"", "/path", "example.org", "mailto:someone@example.org", "http://a b/", "http://[::1",
        // what Boost.URL 1.81 takes for the address 8.8.8.8
        "https://8.8.8.8.example.org/", "http://10.0.0.1.example.org"})
    CHECK_FALSE(parse_url(text));
}
