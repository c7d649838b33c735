#include "app/version.hpp"

#include "protocol/json.hpp"

#include <boost/version.hpp>
#include <caf/config.hpp>
#include <curl/curl.h>
#include <openssl/crypto.h>
#include <sqlite3.h>

namespace parlor {

std::string_view version() { return PARLOR_VERSION; }
std::string_view commit() { return PARLOR_COMMIT; }

std::string version_json() {
  auto triple = [](int major, int minor, int patch) {
    return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);
  };
  std::string out = "{";
  auto add = [&out](std::string_view name, std::string_view value) {
    if (out.size() > 1)
      out += ',';
    json::append_quoted(out, name);
    out += ':';
    json::append_quoted(out, value);
  };
  add("version", version());
  add("commit", commit());
  add("boost", triple(BOOST_VERSION / 100000, BOOST_VERSION / 100 % 1000, BOOST_VERSION % 100));
  add("sqlite", sqlite3_libversion());
  add("openssl", OpenSSL_version(OPENSSL_VERSION_STRING));
  add("curl", curl_version_info(CURLVERSION_NOW)->version);
  add("caf", triple(CAF_MAJOR_VERSION, CAF_MINOR_VERSION, CAF_PATCH_VERSION));
  out += '}';
  return out;
}

} // namespace parlor
