#pragma once
// What /proc says of the processes that are measured: memory, sleeps, exact running time. All of
// them are summed over processes and threads. Reading these is not free: not while time is taken.

#include "measure.hpp"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <sys/resource.h>
#include <unistd.h>
#include <vector>

namespace bench {

/// The processes' share of physical memory, in bytes. Pages that several of them have are split
/// between them, so a master and its worker count once.
inline std::int64_t pss_bytes(const std::vector<int>& pids) {
  std::int64_t kib = 0;
  for (int pid : pids) {
    std::ifstream in{"/proc/" + std::to_string(pid) + "/smaps_rollup"};
    for (std::string word; in >> word;)
      if (word == "Pss:") {
        std::int64_t n = 0;
        in >> n;
        kib += n;
        break;
      }
  }
  return kib * 1024;
}

/// Resident memory, in bytes. Shared pages count for each process, but it costs next to nothing to
/// read: for what is added while time is taken.
inline std::int64_t rss_bytes(const std::vector<int>& pids) {
  std::int64_t pages = 0;
  for (int pid : pids) {
    std::int64_t size = 0, resident = 0;
    std::ifstream{"/proc/" + std::to_string(pid) + "/statm"} >> size >> resident;
    pages += resident;
  }
  return pages * sysconf(_SC_PAGESIZE);
}

struct work_done {
  std::int64_t run_ns = 0;   // on a core
  std::int64_t switches = 0; // times a thread went to sleep
};

/// Of the threads that are there now.
inline work_done work_of(const std::vector<int>& pids) {
  work_done sum;
  for (int pid : pids)
    for (auto& task :
         std::filesystem::directory_iterator{"/proc/" + std::to_string(pid) + "/task"}) {
      std::int64_t ns = 0;
      std::ifstream{task.path() / "schedstat"} >> ns;
      sum.run_ns += ns;
      std::ifstream status{task.path() / "status"};
      for (std::string word; status >> word;)
        if (word == "voluntary_ctxt_switches:") {
          std::int64_t n = 0;
          status >> n;
          sum.switches += n;
          break;
        }
    }
  return sum;
}

/// Until the processes have as good as nothing to do, for `quiet` tenths of a second; half a minute
/// at most.
inline void settle(const std::vector<int>& pids, int quiet = 3) {
  auto before = work_of(pids).run_ns;
  for (int i = 0, still = 0; i < 300 && still < quiet; ++i) {
    usleep(100'000);
    auto now = work_of(pids).run_ns;
    still = now - before < 5'000'000 ? still + 1 : 0;
    before = now;
  }
}

/// As many descriptors as may be; how many that are.
inline std::size_t raise_descriptors() {
  rlimit most{};
  getrlimit(RLIMIT_NOFILE, &most);
  most.rlim_cur = most.rlim_max;
  setrlimit(RLIMIT_NOFILE, &most);
  return most.rlim_cur;
}

} // namespace bench
