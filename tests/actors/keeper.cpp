#include "actors/keeper.hpp"

#include "actors/lobby.hpp"
#include "house.hpp"
#include "sim_disk.hpp"

#include <filesystem>
#include <new>
#include <unistd.h>

// The real keeper and archive: over a disk that does what the test says, and over a real file.

using namespace parlor;
using namespace std::chrono_literals;
using parlor::test::sim_disk;

namespace {

struct scripted_writer final : store::writer {
  explicit scripted_writer(sim_disk& d) : disk{d} {}
  sim_disk& disk;
  std::function<void()> before = [] {};
  std::function<std::size_t()> pruned = [] { return std::size_t{0}; };
  int applies = 0;
  int checkpoints = 0;
  std::vector<std::int64_t> tidied; // when
  std::pair<std::int64_t, std::int64_t> pruned_before;
  std::vector<store::group_result> apply(std::span<const store::fact_group_ptr> groups) override {
    ++applies;
    before();
    return disk.apply(groups);
  }
  std::size_t prune(std::int64_t tasks, std::int64_t keys, std::size_t) override {
    tidied.push_back(disk.now());
    pruned_before = {tasks, keys};
    return pruned();
  }
  void checkpoint() override { ++checkpoints; }
};

struct bench {
  virtual_time time;
  sim_disk disk;
  std::shared_ptr<scripted_writer> writer = std::make_shared<scripted_writer>(disk);
  keeper_options options;
  keeper_actor keep;
  std::vector<std::string> broken;
  std::vector<recorded_ptr> answers;
  int unanswered = 0;
  int gone = 0; // asked of a keeper that has died

  bench() {
    disk.now = [this] { return time.now_ms(); };
    options.wall = [this] { return 1'000'000'000 + time.now_ms(); };
    options.on_broken = [this](const std::string& why) { broken.push_back(why); };
  }
  ~bench() {
    keep = nullptr;
    time.stop();
  }
  void open() { keep = time.owned(time.system.spawn(keeper, writer, options)); }
  /// One that wants `group` recorded, without giving anybody time to act on it.
  void record(store::fact_group group) {
    ++unanswered;
    auto g = std::make_shared<const store::fact_group>(std::move(group));
    time.owned(time.system.spawn([this, g](caf::event_based_actor* self) {
      self->request(keep, caf::infinite, fact_group_ptr{g})
          .then(
              [this](const recorded_ptr& r) {
                --unanswered;
                answers.push_back(r);
              },
              [this](caf::error&) {
                --unanswered;
                ++gone;
              });
    }));
  }
  static store::fact_group turn(const std::string& room, idempotency once = {}) {
    store::task_accepted f;
    f.key = {"", room};
    f.task = "task_" + room;
    f.seq = 1;
    f.settings.model = std::string{"m"};
    f.once = std::move(once);
    return {store::seq_leased{f.key, 100}, f};
  }
};

} // namespace

TEST_CASE("what several sessions have to record goes to the disk together, and each is answered") {
  bench b;
  b.open();
  std::size_t answered_before = 99;
  b.writer->before = [&] { answered_before = b.answers.size(); };
  for (int i = 0; i < 10; ++i)
    b.record(b.turn("r" + std::to_string(i)));
  b.time.settle();
  REQUIRE(b.disk.commits == std::vector<std::size_t>{10});
  REQUIRE(answered_before == 0); // nobody hears of it before it is durable
  REQUIRE(b.answers.size() == 10);
  REQUIRE(b.unanswered == 0);
  for (auto& a : b.answers) {
    REQUIRE(a->error == errc::none);
    REQUIRE(a->result.what == store::group_result::kind::durable);
  }
  REQUIRE(b.disk.data.tasks.size() == 10);
  b.record(b.turn("late"));
  b.time.settle(); // an idle store answers without waiting for more
  REQUIRE(b.answers.size() == 11);
  REQUIRE(b.time.now_ms() == 0);
}

TEST_CASE("no commit takes more than a batch") {
  bench b;
  b.options.batch = 4;
  b.open();
  for (int i = 0; i < 10; ++i)
    b.record(b.turn("r" + std::to_string(i)));
  b.time.settle();
  REQUIRE(b.disk.commits == std::vector<std::size_t>{4, 4, 2});
  REQUIRE(b.answers.size() == 10);
}

TEST_CASE("what came before the keeper is told to end is committed") {
  bench b;
  b.open();
  for (auto* room : {"a", "b"})
    caf::anon_send(b.keep, fact_group_ptr{std::make_shared<const store::fact_group>(b.turn(room))});
  caf::anon_send_exit(b.keep, caf::exit_reason::user_shutdown);
  b.time.settle();
  REQUIRE(b.disk.commits == std::vector<std::size_t>{2});
}

TEST_CASE("each of those committed together gets its own result") {
  bench b;
  b.open();
  b.record(b.turn("a", {"key", "one"}));
  b.record(b.turn("b", {"key", "one"}));
  b.record(b.turn("c", {"key", "two"}));
  b.record(b.turn("d"));
  b.time.settle();
  using kind = store::group_result::kind;
  REQUIRE(b.disk.commits == std::vector<std::size_t>{4});
  REQUIRE(b.answers.size() == 4);
  REQUIRE(b.answers[0]->result.what == kind::durable);
  REQUIRE(b.answers[1]->result.what == kind::duplicate);
  REQUIRE(b.answers[1]->result.task == "task_a");
  REQUIRE(b.answers[1]->result.session == "a");
  REQUIRE(b.answers[2]->result.what == kind::mismatch);
  REQUIRE(b.answers[3]->result.what == kind::durable);
}

TEST_CASE("a full disk refuses everybody in the commit, and nobody after it has room") {
  bench b;
  b.open();
  b.disk.full = true;
  for (int i = 0; i < 3; ++i)
    b.record(b.turn("r" + std::to_string(i)));
  b.time.settle();
  REQUIRE(b.answers.size() == 3);
  for (auto& a : b.answers)
    REQUIRE(a->error == errc::store_full);
  REQUIRE(b.broken.empty());
  b.disk.full = false;
  b.record(b.turn("r4"));
  b.time.settle();
  REQUIRE(b.answers.size() == 4);
  REQUIRE(b.answers[3]->error == errc::none);
}

TEST_CASE("after a broken commit nothing is acknowledged and nothing is written any more") {
  bench b;
  b.open();
  SECTION("the disk says so") { b.disk.broken = true; }
  SECTION("nobody knows what happened") {
    b.writer->before = [] { throw std::bad_alloc{}; };
  }
  for (int i = 0; i < 3; ++i)
    b.record(b.turn("r" + std::to_string(i)));
  b.time.settle();
  REQUIRE(b.answers.size() == 3);
  for (auto& a : b.answers)
    REQUIRE(a->error == errc::store_failed);
  REQUIRE(b.broken.size() == 1); // who must end the process
  auto applies = b.writer->applies;
  b.disk.broken = false;
  b.writer->before = [] {};
  b.record(b.turn("r4"));
  b.time.advance(20s);
  REQUIRE(b.answers.size() == 4);
  REQUIRE(b.answers[3]->error == errc::store_failed);
  REQUIRE(b.writer->applies == applies);
  REQUIRE(b.writer->tidied.empty());
  REQUIRE(b.broken.size() == 1);
  REQUIRE(b.gone == 0);
}

TEST_CASE("every 5 s what is too old is removed, in small steps, and the log is moved") {
  bench b;
  b.options.task_retention = 2s;
  b.options.key_retention = 3s;
  b.open();
  b.time.advance(4'999ms);
  REQUIRE(b.writer->tidied.empty());
  auto steps = 3;
  b.writer->pruned = [&] { return --steps > 0 ? std::size_t{200} : std::size_t{7}; };
  b.time.advance(5s);
  REQUIRE(b.writer->tidied == std::vector<std::int64_t>{5000, 5010, 5020});
  REQUIRE(b.writer->checkpoints == 3);
  REQUIRE(b.writer->pruned_before ==
          std::pair<std::int64_t, std::int64_t>{1'000'003'020, 1'000'002'020});
  b.time.advance(21ms);
  REQUIRE(b.writer->tidied.back() == 10'020);
}

TEST_CASE("to tidy up on a full disk is no failure; on a broken one it is, and whatever it is") {
  bench b;
  b.open();
  using kind = store::store_error::kind;
  b.writer->pruned = []() -> std::size_t { throw store::store_error{kind::full, "full"}; };
  b.time.advance(5s);
  REQUIRE(b.broken.empty());
  SECTION("broken") {
    b.writer->pruned = []() -> std::size_t { throw store::store_error{kind::broken, "broken"}; };
  }
  SECTION("unknown") {
    b.writer->pruned = []() -> std::size_t { throw std::bad_alloc{}; };
  }
  b.time.advance(5s);
  REQUIRE(b.broken.size() == 1);
  b.record(b.turn("a"));
  b.time.settle();
  REQUIRE(b.answers.size() == 1);
  REQUIRE(b.answers[0]->error == errc::store_failed);
}

TEST_CASE("an archive that cannot read says nothing, and reads again later") {
  virtual_time time;
  sim_disk disk;
  auto reader = std::make_shared<parlor::test::sim_reader>(disk);
  auto recall = time.owned(time.system.spawn(archive, reader));
  std::vector<bool> found;
  auto ask = [&] {
    auto q = std::make_shared<store_query>();
    q->ask = [](store::reader& r) -> std::any { return r.count_sessions(); };
    time.owned(time.system.spawn([&, q](caf::event_based_actor* self) {
      self->request(recall, caf::infinite, store_query_ptr{q}).then([&](const store_reply_ptr& r) {
        found.push_back(std::any_cast<std::int64_t>(&r->value) != nullptr);
      });
    }));
    time.settle();
  };
  ask();
  disk.unreadable = true;
  ask();
  disk.unreadable = false;
  ask();
  REQUIRE(found == std::vector<bool>{true, false, true});
  recall = nullptr;
  time.stop();
}

TEST_CASE("sessions over a real store: what was answered is there after everything has gone") {
  auto pattern = (std::filesystem::temp_directory_path() / "parlor-keeper-XXXXXX").string();
  REQUIRE(::mkdtemp(pattern.data()) != nullptr);
  struct cleaner {
    std::filesystem::path dir;
    ~cleaner() {
      std::error_code ignored;
      std::filesystem::remove_all(dir, ignored);
    }
  } clean{pattern};
  auto path = (clean.dir / "parlor.db").string();
  std::uint64_t last = 0;
  std::string epoch;
  for (int life = 0; life < 3; ++life) {
    auto disk = store::open_sqlite(path);
    {
      parlor::test::house h;
      keeper_options options;
      options.wall = h.world->wall;
      std::vector<std::string> broken;
      options.on_broken = [&](const std::string& why) { broken.push_back(why); };
      h.world->keeper = h.time.owned(h.time.system.spawn(
          keeper, std::shared_ptr<store::writer>{disk->open_writer()}, options));
      h.world->archive = h.time.owned(
          h.time.system.spawn(archive, std::shared_ptr<store::reader>{disk->open_reader()}));
      h.world->epoch = disk->epoch();
      REQUIRE((epoch.empty() || epoch == disk->epoch()));
      epoch = disk->epoch();
      h.open();
      auto& e = h.new_ear();
      if (life > 0) {
        auto w = h.watch(e, 0);
        REQUIRE(h.yes(w));
        REQUIRE(w->answer->events.size() == last);
        for (std::size_t i = 0; i < w->answer->events.size(); ++i)
          REQUIRE(w->answer->events[i]->seq == i + 1);
        h.unwatch(e);
      }
      auto name = std::to_string(life);
      h.chat("a" + name, &e);
      h.unwatch(e);
      h.time.advance(61s);
      REQUIRE(h.sessions() == 0); // out of memory, and back
      auto& f = h.new_ear();
      h.chat("b" + name, &f);
      REQUIRE(h.call("b" + name)->request.messages.size() ==
              static_cast<std::size_t>(4 * life + 3));
      REQUIRE(e.log.front().what->seq == last + 1);
      REQUIRE(f.log.front().what->seq == e.log.back().what->seq + 1);
      last = f.log.back().what->seq;
      h.time.advance(11s); // tidied, too
      REQUIRE(broken.empty());
    }
  }
}
