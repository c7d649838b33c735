#pragma once
// As many of libcurl's loops as the calls under way need. libcurl looks at each connection that a
// loop has when a request begins and again when it ends, so a loop gets no more than a few hundred;
// and as each has a strand of its own, more than one core can serve them.
//
// The first that has room is taken: few calls share one loop, and what it reads at once is served
// at once. Owner: a provider. Thread: any.

#include "llm/curl_loop.hpp"

#include <boost/asio/io_context.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

namespace parlor::llm {

class curl_loops {
public:
  using clock = std::chrono::steady_clock;

  /// `max_connections`: of a loop, if that is less than it has room for. Throws if there cannot be
  /// even one.
  curl_loops(boost::asio::io_context& io, std::size_t max_connections, step_taker one_by_one = {},
             std::size_t room = 512);

  /// Room for one call: taken as long as the seat is held, which does not keep the loop. A copy of
  /// a seat is another one taken.
  struct place {
    std::shared_ptr<curl_loop> loop;
    std::shared_ptr<const void> seat;
  };
  /// Where no loop can be added, as there are no descriptors left, one gets more than it has room
  /// for.
  place take(clock::time_point now = clock::now());

  /// Loops that a crowd has left are kept for so long, with their connections, for the next one.
  static constexpr std::chrono::seconds idle{60};

private:
  struct entry {
    std::shared_ptr<curl_loop> loop;
    std::shared_ptr<const void> seat;
    clock::time_point taken;
    std::size_t seats() const { return static_cast<std::size_t>(seat.use_count()) - 1; }
  };
  using entries = std::vector<entry>;
  entries::iterator add(clock::time_point now);
  entries unused(clock::time_point now);

  boost::asio::io_context& io_;
  std::size_t max_connections_;
  std::size_t room_;
  step_taker one_by_one_; // each loop's
  std::mutex mutex_;
  entries loops_; // guarded; never empty
};

} // namespace parlor::llm
