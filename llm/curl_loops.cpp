#include "llm/curl_loops.hpp"

#include <algorithm>
#include <utility>

namespace parlor::llm {

curl_loops::place curl_loops::take(clock::time_point now) {
  std::vector<std::shared_ptr<curl_loop>> gone; // closes its connections, without the lock
  std::lock_guard lock{mutex_};
  auto found = std::find_if(loops_.begin(), loops_.end(),
                            [this](const entry& e) { return e.seats() < room_; });
  if (found == loops_.end()) {
    auto most = std::min(max_connections_, room_);
    found = loops_.insert(
        found, {std::make_shared<curl_loop>(io_, most), std::make_shared<const char>(), now});
  }
  found->taken = now;
  place p{found->loop, found->seat};
  gone = unused(now);
  return p;
}

/// Those at the end, as the others are taken before them.
std::vector<std::shared_ptr<curl_loop>> curl_loops::unused(clock::time_point now) {
  std::vector<std::shared_ptr<curl_loop>> all;
  while (loops_.size() > 1 && loops_.back().seats() == 0 && now - loops_.back().taken > idle) {
    all.push_back(std::move(loops_.back().loop));
    loops_.pop_back();
  }
  return all;
}

} // namespace parlor::llm
