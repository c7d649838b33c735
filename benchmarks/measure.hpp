#pragma once
// What the load generator measures with: samples with percentiles, and the CPU of processes.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

namespace bench {

/// Durations in nanoseconds.
class samples {
public:
  void add(std::int64_t ns) { all_.push_back(std::max<std::int64_t>(0, ns)); }
  std::size_t size() const { return all_.size(); }

  /// {"n":..,"p50":..,..} in microseconds.
  std::string json() {
    std::sort(all_.begin(), all_.end());
    std::string out = "{\"n\":" + std::to_string(all_.size());
    for (auto [name, part] :
         {std::pair{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}, {"max", 1.0}}) {
      char text[64];
      std::snprintf(text, sizeof text, ",\"%s\":%.1f", name, static_cast<double>(at(part)) / 1000);
      out += text;
    }
    return out + "}";
  }

private:
  std::int64_t at(double part) const { // nearest rank
    if (all_.empty())
      return 0;
    auto rank = static_cast<std::size_t>(part * static_cast<double>(all_.size()) + 0.999999);
    return all_[std::clamp<std::size_t>(rank, 1, all_.size()) - 1];
  }
  std::vector<std::int64_t> all_;
};

/// User and system time that the processes have used so far, all threads, in microseconds. The
/// kernel counts in hundredths of a second: over seconds of load that is a percent or less.
inline std::int64_t cpu_us(const std::vector<int>& pids) {
  std::int64_t ticks = 0;
  for (int pid : pids) {
    auto path = "/proc/" + std::to_string(pid) + "/stat";
    char line[2048];
    auto* f = std::fopen(path.c_str(), "r");
    auto* got = f != nullptr ? std::fgets(line, sizeof line, f) : nullptr;
    if (f != nullptr)
      std::fclose(f);
    auto* at = got != nullptr ? std::strrchr(line, ')') : nullptr;
    long long user = 0, system = 0;
    if (at == nullptr || std::sscanf(at, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lld %lld",
                                     &user, &system) != 2) {
      std::fprintf(stderr, "load: process %d is gone\n", pid);
      std::exit(1);
    }
    ticks += user + system;
  }
  return ticks * 1'000'000 / sysconf(_SC_CLK_TCK);
}

} // namespace bench
