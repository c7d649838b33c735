#pragma once
// libcurl handles that have served a request and are ready for the next one of the same service:
// a new one takes its options, the memory for them, and a URL taken apart, each time.
//
// Owner: what all requests of a provider share. Thread: any.

#include "llm/curl_easy.hpp"

#include <cstddef>
#include <mutex>
#include <string>
#include <vector>

namespace parlor::llm {

class easy_handles {
public:
  /// `headers`: lines that every request has. `authorities`: as set_outbound_defaults() takes them.
  easy_handles(std::string url, const std::vector<std::string>& headers, std::string authorities);
  ~easy_handles();
  easy_handles(const easy_handles&) = delete;
  easy_handles& operator=(const easy_handles&) = delete;

  /// For one request. Whatever points to something of a single request is to be set anew. Null: no
  /// memory.
  CURL* take();
  /// It is in no loop any more. May be null.
  void put_back(CURL* easy);

private:
  std::string url_;
  std::string authorities_;
  string_list headers_;    // read only once made
  CURLU* parts_ = nullptr; // of the URL; none if it is none, which libcurl will say
  std::mutex mutex_;
  std::vector<CURL*> ready_; // guarded; the one used last at the end, as it is warm
};

} // namespace parlor::llm
