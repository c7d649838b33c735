#include "app/metrics_page.hpp"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>

namespace parlor {

namespace {
const auto start_of_process = std::chrono::system_clock::now();
}

void add_process(metrics_page& p) {
  rusage use{};
  getrusage(RUSAGE_SELF, &use);
  auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  p.gauge("process_start_time_seconds", "When it started, since 1970.",
          std::chrono::duration<double>{start_of_process.time_since_epoch()}.count());
  p.counts("process_cpu_seconds_total", "CPU time used.",
           seconds(use.ru_utime) + seconds(use.ru_stime));
  long pages = 0, resident = 0;
  if (auto* f = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(f, "%ld %ld", &pages, &resident) != 2)
      resident = 0;
    std::fclose(f);
  }
  p.gauge("process_resident_memory_bytes", "Memory in RAM.",
          static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE)));
  double fds = 0;
  if (auto* d = opendir("/proc/self/fd")) {
    while (readdir(d) != nullptr)
      ++fds;
    closedir(d);
  }
  p.gauge("process_open_fds", "Open file descriptors.", fds > 3 ? fds - 3 : 0);
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  p.gauge("process_max_fds", "File descriptors allowed.", static_cast<double>(limit.rlim_cur));
}

} // namespace parlor
