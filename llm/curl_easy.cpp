#include "llm/curl_easy.hpp"

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace parlor::llm {

std::string certificate_authorities() {
  auto* file = std::getenv("SSL_CERT_FILE");
  return file != nullptr ? file : "";
}

void set_outbound_defaults(CURL* easy, const std::string& authorities) {
  auto set = [easy](CURLoption option, auto value) { curl_easy_setopt(easy, option, value); };
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_QUICK_EXIT, 1L); // cancelling never waits for a slow name server
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_2TLS));
  set(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  set(CURLOPT_SSL_VERIFYPEER, 1L);
  set(CURLOPT_SSL_VERIFYHOST, 2L);
  if (!authorities.empty())
    set(CURLOPT_CAINFO, authorities.c_str());
  set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  set(CURLOPT_TCP_KEEPALIVE, 1L);
  // Compression holds tokens back, so it is not asked for; but what comes unasked is decoded.
  set(CURLOPT_ACCEPT_ENCODING, "identity");
  set(CURLOPT_USERAGENT, "parlor");
}

string_list::~string_list() { curl_slist_free_all(head); }

void string_list::add(const std::string& line) {
  if (auto* longer = curl_slist_append(head, line.c_str()))
    head = longer;
}

void string_list::clear() { curl_slist_free_all(std::exchange(head, nullptr)); }

call_failed failure_of_curl(CURLcode code) {
  call_failed f;
  f.can_pass = true;
  if (code == CURLE_ABORTED_BY_CALLBACK) // curl_loop, instead of sending it again
    code = CURLE_GOT_NOTHING;
  f.detail = curl_easy_strerror(code);
  switch (code) {
  case CURLE_COULDNT_RESOLVE_HOST:
  case CURLE_COULDNT_RESOLVE_PROXY:
  case CURLE_COULDNT_CONNECT:
  case CURLE_GOT_NOTHING:
  case CURLE_RECV_ERROR:
  case CURLE_SEND_ERROR:
  case CURLE_HTTP2: // the connection, or the stream that was to have the answer, was given up
  case CURLE_HTTP2_STREAM:
  case CURLE_PROXY:
    f.code = errc::upstream_unreachable;
    break;
  case CURLE_OPERATION_TIMEDOUT:
    f.code = errc::upstream_timeout;
    break;
  case CURLE_SSL_CONNECT_ERROR:
    f.code = errc::upstream_tls;
    break;
  case CURLE_PEER_FAILED_VERIFICATION:
  case CURLE_SSL_CERTPROBLEM:
  case CURLE_SSL_CIPHER:
  case CURLE_SSL_CACERT_BADFILE:
  case CURLE_SSL_ISSUER_ERROR:
  case CURLE_SSL_INVALIDCERTSTATUS:
    f.code = errc::upstream_tls;
    f.can_pass = false;
    break;
  case CURLE_WEIRD_SERVER_REPLY:
  case CURLE_BAD_CONTENT_ENCODING:
  case CURLE_UNSUPPORTED_PROTOCOL:
  case CURLE_URL_MALFORMAT:
    f.code = errc::upstream_protocol;
    f.can_pass = false;
    break;
  default:
    f.code = errc::upstream_error;
  }
  return f;
}

bool starts_with_nocase(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() &&
         std::equal(prefix.begin(), prefix.end(), text.begin(), [](char p, char c) {
           return p == (c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c);
         });
}

bool header_value(std::string_view line, std::string_view name, std::string_view& value) {
  if (!starts_with_nocase(line, name))
    return false;
  auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  line.remove_prefix(name.size());
  while (!line.empty() && blank(line.front()))
    line.remove_prefix(1);
  while (!line.empty() && blank(line.back()))
    line.remove_suffix(1);
  value = line;
  return true;
}

} // namespace parlor::llm
