// What a turn costs on the disk: pages and bytes written to the log, syncs, time and CPU, for the
// two commits of a turn (its acceptance with its start, and its end), alone and shared by 16 and 64
// sessions; what turns cost that run for half a minute, with a checkpoint a second each; and what
// it costs to look something up.
//
//   bench_store [folder]     a store is made there (default: the current folder) and removed again

#include "protocol/task_log.hpp"
#include "store/store.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <numeric>
#include <random>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

namespace {

struct counters {
  std::int64_t pages = 0, bytes = 0, writes = 0, syncs = 0;
};
counters disk;

} // namespace

// SQLite's library calls these instead of those of the C library.
extern "C" ssize_t pwrite64(int fd, const void* from, std::size_t n, off64_t at) {
  disk.pages += n == 4096;
  disk.bytes += static_cast<std::int64_t>(n);
  ++disk.writes;
  return ::syscall(SYS_pwrite64, fd, from, n, at);
}
extern "C" int fdatasync(int fd) {
  ++disk.syncs;
  return static_cast<int>(::syscall(SYS_fdatasync, fd));
}

using namespace parlor;
using namespace parlor::store;

namespace {

using steady = std::chrono::steady_clock;
constexpr int stored_sessions = 10'000;
constexpr int tokens = 64;

/// Facts as a conversation gives them for a turn whose answer comes in 64 pieces.
class turns {
public:
  session_key made() { return {"", make_session_id()}; }
  /// As a client would choose it: in no order at all.
  session_key named() { return {"", "user-" + random_base32(26)}; }

  fact_group_ptr begin(const session_key& key, bool fresh, std::string& task) {
    ++now_;
    task = make_task_id(now_);
    task_accepted a;
    a.key = key;
    a.task = task;
    a.at = now_;
    a.seq = fresh ? 1 : 1000 + static_cast<std::uint64_t>(now_ - started_) * 100;
    a.settings.model = std::string{"deepseek-chat"};
    a.message_id = make_message_id();
    a.said.content = "Tell me something about the sea, in a sentence or two.";
    task_started s{task, now_, a.seq + 1};
    fact_group g;
    if (fresh)
      g.push_back(session_opened{key, now_, {}, {}});
    g.push_back(seq_leased{key, a.seq + 1001, false});
    g.push_back(std::move(a));
    g.push_back(std::move(s));
    return std::make_shared<const fact_group>(std::move(g));
  }

  fact_group_ptr end(const session_key& key, const fact_group_ptr& begun) {
    auto* accepted = std::get_if<task_accepted>(&(*begun)[begun->size() - 2]);
    task_ended e;
    e.key = key;
    e.task = accepted->task;
    e.at = accepted->at + 1500;
    e.seq = accepted->seq + tokens + 2;
    task_log log{accepted->seq, accepted->at};
    for (int i = 0; i < tokens; ++i) {
      event d;
      d.kind = event_kind::delta;
      d.seq = accepted->seq + 2 + static_cast<std::uint64_t>(i);
      d.at = accepted->at + 20 * i;
      d.text = " wave";
      log.note(d);
    }
    auto said = log.take();
    e.text = said.text;
    e.log = said.entries;
    outcome end;
    end.status = task_status::completed;
    end.content = e.text;
    end.message_id = make_message_id();
    end.finish_reason = "stop";
    end.used = {20, tokens, true};
    end.attempts = 1;
    auto seq = e.seq;
    usage_recorded u{e.task, 1, accepted->settings.model, e.at, end.used, errc::none};
    e.end = std::make_shared<const outcome>(std::move(end));
    return std::make_shared<const fact_group>(
        fact_group{std::move(e), std::move(u), seq_leased{key, seq, true}});
  }

private:
  std::int64_t started_ = std::chrono::duration_cast<std::chrono::milliseconds>(
                              std::chrono::system_clock::now().time_since_epoch())
                              .count();
  std::int64_t now_ = started_;
};

double thread_cpu_us() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_nsec) / 1e3;
}

class figures {
public:
  template <class F>
  void measure(F&& f) {
    auto before = disk;
    auto cpu = thread_cpu_us();
    auto from = steady::now();
    f();
    us_.push_back(std::chrono::duration<double, std::micro>(steady::now() - from).count());
    cpu_ += thread_cpu_us() - cpu;
    sum_.pages += disk.pages - before.pages;
    sum_.bytes += disk.bytes - before.bytes;
    sum_.writes += disk.writes - before.writes;
    sum_.syncs += disk.syncs - before.syncs;
  }

  /// `turns`: in one commit.
  void print(const char* what, std::size_t turns_in_one) {
    std::sort(us_.begin(), us_.end());
    auto commits = static_cast<double>(us_.size());
    auto all = commits * static_cast<double>(turns_in_one);
    std::printf("| %s | %zu | %.1f | %.2f | %.1f | %.2f | %.0f | %.0f | %.0f |\n", what,
                turns_in_one, static_cast<double>(sum_.pages) / commits,
                static_cast<double>(sum_.pages) / all, static_cast<double>(sum_.bytes) / all / 1024,
                static_cast<double>(sum_.syncs) / commits, at(0.5), at(0.9), cpu_ / all);
  }
  void print_reads(const char* what, int reads_in_one) {
    std::sort(us_.begin(), us_.end());
    std::printf("| %s | %.2f |\n", what, at(0.5) / reads_in_one);
  }

private:
  double at(double part) const {
    return us_.empty() ? 0
                       : us_[static_cast<std::size_t>(part * static_cast<double>(us_.size() - 1))];
  }
  std::vector<double> us_;
  counters sum_;
  double cpu_ = 0;
};

/// 500 turns of 20 tokens a second, side by side: each has its checkpoint at its own moment of the
/// second, a dozen of them share a commit. Then they end.
void run_side_by_side(writer& w, turns& t, std::mt19937& dice) {
  constexpr std::size_t running = 500, together = 12;
  std::vector<fact_group_ptr> begun, ended;
  for (std::size_t i = 0; i < running; ++i) {
    std::string task;
    auto key = t.made();
    begun.push_back(t.begin(key, true, task));
    ended.push_back(t.end(key, begun.back()));
  }
  w.apply(begun);
  std::vector<std::size_t> order(running);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), dice);
  figures checkpoints, ends;
  auto in_commits = [&](figures& f, auto&& fact_of) {
    std::vector<fact_group_ptr> groups;
    for (auto i : order) {
      groups.push_back(fact_of(i));
      if (groups.size() == together) {
        f.measure([&] { w.apply(groups); });
        groups.clear();
        w.checkpoint();
      }
    }
    w.apply(groups);
  };
  const std::string text(650, 'x'), log(85, 'y');
  for (int second = 0; second < 30; ++second)
    in_commits(checkpoints, [&](std::size_t i) {
      auto& e = std::get<task_ended>(ended[i]->front());
      return std::make_shared<const fact_group>(
          fact_group{task_checkpoint{e.task, e.at, text, log}});
    });
  in_commits(ends, [&](std::size_t i) { return std::move(ended[i]); });
  checkpoints.print("of 500 running turns: checkpoints", together);
  ends.print("and their ends, half a minute later", together);
}

} // namespace

int main(int argc, char** argv) {
  auto folder = std::filesystem::path{argc > 1 ? argv[1] : "."} /
                ("bench_store." + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  {
    auto file = open_sqlite((folder / "store.db").string());
    auto w = file->open_writer();
    auto r = file->open_reader();
    turns t;
    std::vector<session_key> stored;
    std::vector<std::string> stored_tasks;
    while (stored.size() < stored_sessions) { // two turns each
      std::vector<fact_group_ptr> begun, begun_again, ended, ended_again;
      for (int i = 0; i < 50; ++i) {
        std::string task;
        stored.push_back(t.made());
        begun.push_back(t.begin(stored.back(), true, task));
        ended.push_back(t.end(stored.back(), begun.back()));
        stored_tasks.push_back(task);
        begun_again.push_back(t.begin(stored.back(), false, task));
        ended_again.push_back(t.end(stored.back(), begun_again.back()));
      }
      for (auto* groups : {&begun, &ended, &begun_again, &ended_again})
        w->apply(*groups);
      w->checkpoint();
    }
    std::mt19937 dice{7};
    std::printf("| commit | turns in it | pages | pages a turn | KiB a turn | syncs | µs p50 | p90 "
                "| CPU µs a turn |\n"
                "|---|---|---|---|---|---|---|---|---|\n");
    figures moved;
    enum class who { made, named, known };
    for (auto asks : {who::made, who::named, who::known})
      for (std::size_t together : {1, 16, 64}) {
        figures begins, ends;
        auto rounds = together == 1 ? 600 : together == 16 ? 200 : 100;
        for (int n = 0; n < rounds; ++n) {
          std::vector<session_key> keys;
          std::vector<fact_group_ptr> begun, ended;
          while (keys.size() < together) {
            auto fresh = asks != who::known;
            auto key = asks == who::made    ? t.made()
                       : asks == who::named ? t.named()
                                            : stored[dice() % stored.size()];
            if (std::find(keys.begin(), keys.end(), key) != keys.end())
              continue;
            std::string task;
            begun.push_back(t.begin(key, fresh, task));
            ended.push_back(t.end(key, begun.back()));
            keys.push_back(std::move(key));
          }
          begins.measure([&] { w->apply(begun); });
          ends.measure([&] { w->apply(ended); });
          moved.measure([&] { w->checkpoint(); });
        }
        std::string session = asks == who::made    ? "new session"
                              : asks == who::named ? "new session, client's id"
                                                   : "stored session";
        begins.print((session + ": accepted, started").c_str(), together);
        ends.print((session + ": ended").c_str(), together);
      }
    run_side_by_side(*w, t, dice);
    moved.print("checkpoint() after each two of these", 1);
    std::printf("\nlog at the end: %.1f MiB, file: %.1f MiB\n\n| look up | µs |\n|---|---|\n",
                static_cast<double>(std::filesystem::file_size(folder / "store.db-wal")) /
                    1048576.0,
                static_cast<double>(std::filesystem::file_size(folder / "store.db")) / 1048576.0);
    figures unknown, known, task;
    for (int n = 0; n < 20; ++n) {
      unknown.measure([&] {
        for (int i = 0; i < 100; ++i)
          (void)r->load_session(t.made(), {100});
      });
      known.measure([&] {
        for (int i = 0; i < 100; ++i)
          (void)r->load_session(stored[dice() % stored.size()], {100});
      });
      task.measure([&] {
        for (int i = 0; i < 100; ++i)
          (void)r->find_task("", stored_tasks[dice() % stored_tasks.size()]);
      });
    }
    unknown.print_reads("load_session of one that is not there", 100);
    known.print_reads("load_session", 100);
    task.print_reads("find_task", 100);
  }
  std::filesystem::remove_all(folder);
}
