#include "llm/easy_handles.hpp"

#include <utility>

namespace parlor::llm {

namespace {

constexpr std::size_t most_kept = 64; // of some KiB each

} // namespace

easy_handles::easy_handles(std::string url, const std::vector<std::string>& headers,
                           std::string authorities)
    : url_{std::move(url)}, authorities_{std::move(authorities)}, parts_{curl_url()} {
  for (auto& line : headers)
    headers_.add(line);
  if (parts_ != nullptr && curl_url_set(parts_, CURLUPART_URL, url_.c_str(), 0) != CURLUE_OK)
    curl_url_cleanup(std::exchange(parts_, nullptr));
}

easy_handles::~easy_handles() {
  for (auto* easy : ready_)
    curl_easy_cleanup(easy);
  curl_url_cleanup(parts_);
}

CURL* easy_handles::take() {
  {
    std::lock_guard lock{mutex_};
    if (!ready_.empty()) {
      auto* easy = ready_.back();
      ready_.pop_back();
      return easy;
    }
  }
  auto* easy = curl_easy_init();
  if (easy == nullptr)
    return nullptr;
  set_outbound_defaults(easy, authorities_);
  if (parts_ != nullptr)
    curl_easy_setopt(easy, CURLOPT_CURLU, parts_);
  else
    curl_easy_setopt(easy, CURLOPT_URL, url_.c_str());
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers_.head);
  return easy;
}

void easy_handles::put_back(CURL* easy) {
  if (easy == nullptr)
    return;
  {
    std::lock_guard lock{mutex_};
    if (ready_.size() < most_kept) {
      ready_.push_back(easy);
      return;
    }
  }
  curl_easy_cleanup(easy);
}

} // namespace parlor::llm
