#include "llm/curl_loops.hpp"

#include <algorithm>
#include <exception>
#include <utility>

namespace parlor::llm {

curl_loops::curl_loops(boost::asio::io_context& io, std::size_t max_connections,
                       step_taker one_by_one, std::size_t room)
    : io_{io}, max_connections_{std::min(max_connections, room)}, room_{room},
      one_by_one_{std::move(one_by_one)} {
  add(clock::now());
}

curl_loops::place curl_loops::take(clock::time_point now) {
  entries gone; // close their connections, without the lock
  std::lock_guard lock{mutex_};
  auto found = std::find_if(loops_.begin(), loops_.end(),
                            [this](const entry& e) { return e.seats() < room_; });
  if (found == loops_.end()) {
    try {
      found = add(now);
    } catch (const std::exception&) {
      found = loops_.end() - 1;
    }
  }
  found->taken = now;
  place p{found->loop, found->seat};
  gone = unused(now);
  return p;
}

curl_loops::entries::iterator curl_loops::add(clock::time_point now) {
  entry e{std::make_shared<curl_loop>(io_, max_connections_, one_by_one_),
          std::make_shared<const char>(), now};
  return loops_.insert(loops_.end(), std::move(e));
}

/// Those at the end, as the others are taken before them.
curl_loops::entries curl_loops::unused(clock::time_point now) {
  entries all;
  while (loops_.size() > 1 && loops_.back().seats() == 0 && now - loops_.back().taken > idle) {
    all.push_back(std::move(loops_.back()));
    loops_.pop_back();
  }
  return all;
}

} // namespace parlor::llm
