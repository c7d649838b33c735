#pragma once
// What every outbound request has in common, and what libcurl's failures are called here.

#include "llm/provider.hpp"

#include <curl/curl.h>

#include <string>
#include <string_view>

namespace parlor::llm {

/// The file of certificates that SSL_CERT_FILE names, or empty: the system's. For the start; any
/// thread.
std::string certificate_authorities();

/// Only http and https; redirects never followed; certificates verified against `authorities` (a
/// file; empty: the system's); proxies from the environment, and what they say is not taken for the
/// answer; no signals.
void set_outbound_defaults(CURL* easy, const std::string& authorities);

/// A list as libcurl takes it. Outlives the transfers that have it.
struct string_list {
  string_list() = default;
  ~string_list();
  string_list(const string_list&) = delete;
  string_list& operator=(const string_list&) = delete;
  void add(const std::string& line);
  void clear();
  curl_slist* head = nullptr;
};

/// Of a transfer without an answer. The detail is libcurl's words for the code, nothing else.
call_failed failure_of_curl(CURLcode code);

/// If `line` is that header, its value without blanks around it. `name`: in lower case, with the
/// colon.
bool header_value(std::string_view line, std::string_view name, std::string_view& value);
bool starts_with_nocase(std::string_view text, std::string_view lower_case_prefix);

} // namespace parlor::llm
