#include "llm/guarded_dialer.hpp"

#include "support/catch.hpp"

#include <boost/asio/error.hpp>

#include <map>

using namespace parlor;
using namespace parlor::llm;
namespace ip = boost::asio::ip;

namespace {

/// Answers from a table, each name's answers in turn, the last again and again.
class table final : public resolver {
public:
  std::map<std::string, std::vector<std::vector<std::string>>> names;
  int asked = 0;
  void resolve(const std::string& host, sink s) override {
    ++asked;
    auto found = names.find(host);
    if (found == names.end())
      return s(boost::asio::error::host_not_found, {});
    std::vector<ip::address> addresses;
    for (auto& text : found->second.front())
      addresses.push_back(ip::make_address(text));
    if (found->second.size() > 1)
      found->second.erase(found->second.begin());
    s({}, std::move(addresses));
  }
};

struct fixture {
  std::shared_ptr<table> names = std::make_shared<table>();
  guarded_dialer dialer{names};

  guarded_dialer::result find(std::string_view url) {
    std::optional<guarded_dialer::result> told;
    dialer.find(url, [&told](guarded_dialer::result r) {
      REQUIRE_FALSE(told);
      told = std::move(r);
    });
    REQUIRE(told);
    return *told;
  }
  errc refused(std::string_view url) {
    auto r = find(url);
    REQUIRE(std::holds_alternative<errc>(r));
    return std::get<errc>(r);
  }
};

} // namespace

TEST_CASE("C1 addresses that are not of the public internet") {
  for (auto a : {"0.0.0.0",
                 "0.1.2.3",
                 "10.0.0.1",
                 "10.255.255.255",
                 "100.64.0.1",
                 "100.100.100.200",
                 "100.127.255.255",
                 "127.0.0.1",
                 "127.255.255.254",
                 "168.63.129.16",
                 "169.254.169.254",
                 "172.16.0.1",
                 "172.31.255.255",
                 "192.0.0.192",
                 "192.0.2.1",
                 "192.88.99.1",
                 "192.168.0.1",
                 "198.18.0.1",
                 "198.19.255.255",
                 "198.51.100.7",
                 "203.0.113.7",
                 "224.0.0.1",
                 "239.255.255.255",
                 "240.0.0.1",
                 "255.255.255.255",
                 "::",
                 "::1",
                 "::7f00:1",
                 "::ffff:10.0.0.1",
                 "::ffff:169.254.169.254",
                 "64:ff9b::7f00:1",
                 "64:ff9b::10.0.0.1",
                 "64:ff9b:1::808:808",
                 "100::1",
                 "2001::1",
                 "2001:0:808:808::1",
                 "2001:1ff::1",
                 "2001:db8::1",
                 "2002:7f00:1::",
                 "2002:808:808::",
                 "3fff::1",
                 "3fff:fff::1",
                 "4000::1",
                 "fc00::1",
                 "fd00::1",
                 "fd00:ec2::254",
                 "fe80::1",
                 "fec0::1",
                 "ff02::1",
                 "5f00::1"}) {
    INFO(a);
    CHECK_FALSE(is_public(ip::make_address(a)));
  }
  auto scoped = ip::make_address_v6("2606:4700::1");
  CHECK(is_public(scoped));
  scoped.scope_id(2);
  CHECK_FALSE(is_public(scoped));
}

TEST_CASE("C1 addresses of the public internet, next to those that are not") {
  for (auto a : {"1.1.1.1",         "8.8.8.8",          "9.255.255.255",   "11.0.0.1",
                 "100.63.255.255",  "100.128.0.1",      "126.255.255.255", "128.0.0.1",
                 "168.63.129.15",   "168.63.129.17",    "169.253.255.255", "169.255.0.0",
                 "172.15.255.255",  "172.32.0.0",       "192.0.1.1",       "192.167.255.255",
                 "192.169.0.0",     "198.17.255.255",   "198.20.0.0",      "223.255.255.255",
                 "::ffff:8.8.8.8",  "64:ff9b::808:808", "2001:200::1",     "2001:4860:4860::8888",
                 "2606:4700::1111", "2a00::1",          "3ffe::1",         "3fff:1000::1"}) {
    INFO(a);
    CHECK(is_public(ip::make_address(a)));
  }
}

TEST_CASE("C1 URLs that lead elsewhere are refused when they are given") {
  for (std::string url : {"https://127.0.0.1/",
                          "https://[::1]/",
                          "https://[::ffff:10.0.0.1]/",
                          "https://[::ffff:a00:1]/",
                          "https://0x7f000001/",
                          "https://0x7f.0.0.1/",
                          "https://2130706433/",
                          "https://0177.0.0.1/",
                          "https://127.1/",
                          "https://8.8.8.8.1/",
                          "https://8.8.8.8.example.org/",
                          "https://1.2.3.0x4/",
                          "https://localhost/",
                          "https://localhost./",
                          "https://LOCALHOST/",
                          "https://a.localhost/",
                          "https://printer.local/",
                          "https://metadata.google.internal/",
                          "https://instance-data/",
                          "https://169.254.169.254/latest/meta-data/",
                          "https://[fd00:ec2::254]/",
                          "https://[fe80::1%25eth0]/",
                          "https://100.64.1.1/",
                          "https://[64:ff9b::7f00:1]/",
                          "https://[v1.x]/",
                          "http://example.org/",
                          "https://u:p@example.org/",
                          "https://u@example.org/",
                          "https://@example.org/",
                          "https://example.org:22/",
                          "https://example.org:80/",
                          "https://example.org:8443/",
                          "https://example.org:0/",
                          "https://example.org:99999/",
                          "file:///etc/passwd",
                          "gopher://example.org/",
                          "ftp://example.org/",
                          "javascript:alert(1)",
                          "//example.org/",
                          "example.org",
                          "",
                          "https://",
                          "https:///x",
                          "https:example.org",
                          "https://example.org/#x",
                          "https://ex%61mple.org/",
                          "https://例子.org/",
                          "https://example.org\\@127.0.0.1/",
                          "https://example.org /",
                          "https://example.org/\r\nX: y",
                          "https://.example.org/",
                          "https://a..org/",
                          "https://example.org./",
                          "https://example.1/",
                          "https://a!b.org/",
                          "https://127.0.0.1.:443/"}) {
    INFO(url);
    CHECK_FALSE(read_target(url, {}));
  }
  CHECK_FALSE(read_target("https://example.org/" + std::string(2048, 'x'), {}));
  CHECK_FALSE(read_target("https://" + std::string(64, 'a') + ".org/", {}));
  CHECK_FALSE(read_target("http://127.0.0.1/", {true}));
  CHECK_FALSE(read_target("http://example.org:443/", {true}));
}

TEST_CASE("URLs of the public internet are let through") {
  auto named = read_target("https://Hooks.Example.org:443/a/b?c=d%20e", {});
  REQUIRE(named);
  CHECK(named->url == "https://Hooks.Example.org:443/a/b?c=d%20e");
  CHECK(named->host == "hooks.example.org");
  CHECK(named->port == 443);
  CHECK_FALSE(named->address);
  auto plain = read_target("http://xn--fsqu00a.example.org", {true});
  REQUIRE(plain);
  CHECK(plain->port == 80);
  auto literal = read_target("https://[2606:4700::1111]/", {});
  REQUIRE(literal);
  CHECK(literal->address == ip::make_address("2606:4700::1111"));
  CHECK(read_target("https://8.8.8.8/", {})->address == ip::make_address("8.8.8.8"));
}

TEST_CASE_METHOD(fixture, "C1 a name is judged by all of its addresses") {
  names->names = {{"good.example.org", {{"8.8.8.8", "2606:4700::1"}}},
                  {"bad.example.org", {{"10.0.0.1"}}},
                  {"mixed.example.org", {{"8.8.8.8", "127.0.0.1"}}},
                  {"mixed6.example.org", {{"8.8.8.8", "::ffff:127.0.0.1"}}},
                  {"none.example.org", {{}}}};
  auto r = find("https://good.example.org/hook");
  REQUIRE(std::holds_alternative<dial_route>(r));
  auto& route = std::get<dial_route>(r);
  CHECK(route.to.host == "good.example.org");
  CHECK(route.addresses ==
        std::vector{ip::make_address("8.8.8.8"), ip::make_address("2606:4700::1")});
  CHECK(refused("https://bad.example.org/") == errc::url_not_allowed);
  CHECK(refused("https://mixed.example.org/") == errc::url_not_allowed);
  CHECK(refused("https://mixed6.example.org/") == errc::url_not_allowed);
  CHECK(refused("https://none.example.org/") == errc::upstream_unreachable);
  CHECK(refused("https://unknown.example.org/") == errc::upstream_unreachable);
  CHECK(names->asked == 6);
  CHECK(refused("https://localhost/") == errc::url_not_allowed);
  CHECK(std::holds_alternative<dial_route>(find("https://8.8.8.8/")));
  CHECK(names->asked == 6); // neither is asked for
}

TEST_CASE_METHOD(fixture, "C1 a name that flips is judged anew each time, and asked once") {
  names->names = {{"flip.example.org", {{"8.8.8.8"}, {"127.0.0.1"}}}};
  auto first = find("https://flip.example.org/");
  REQUIRE(std::holds_alternative<dial_route>(first));
  CHECK(std::get<dial_route>(first).addresses == std::vector{ip::make_address("8.8.8.8")});
  CHECK(names->asked == 1);
  CHECK(refused("https://flip.example.org/") == errc::url_not_allowed);
}

TEST_CASE("the operating system's names are asked without blocking") {
  boost::asio::io_context io;
  auto names = make_system_resolver(io);
  std::vector<ip::address> found;
  bool told = false;
  names->resolve("localhost", [&](boost::system::error_code ec, std::vector<ip::address> a) {
    CHECK_FALSE(ec);
    found = std::move(a);
    told = true;
  });
  CHECK_FALSE(told);
  io.run();
  REQUIRE(told);
  REQUIRE_FALSE(found.empty());
  for (auto& a : found)
    CHECK_FALSE(is_public(a));
}
