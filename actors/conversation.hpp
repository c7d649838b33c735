#pragma once
// The rules of one session as a pure machine: what is recorded, what is told, what runs, in which
// order. Inputs are calls with the time as a value; outputs are effects for the session actor to
// perform. No CAF, no clock, no I/O. It sits beside the actors because its facts are the store's.

#include "protocol/command.hpp"
#include "protocol/event.hpp"
#include "protocol/task_log.hpp"
#include "store/store.hpp"

#include <boost/container/deque.hpp>
#include <boost/container/small_vector.hpp>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace parlor {

struct session_limits {
  std::size_t max_turns = 16;                // waiting and running
  std::int64_t token_budget = 100'000;       // of the history that is sent upstream
  std::size_t image_bytes = 8 * 1024 * 1024; // of earlier questions' images that are sent with one
  bool retry_interrupted =
      true; // a task whose server died is run again, or fails with `interrupted`
  std::uint32_t most_attempts = 10; // of one that is run again: it may be what the server dies of
  std::size_t recent_events = 1024; // kept in memory once their task has ended
  std::uint64_t lease_block = 4096; // event numbers taken from the store at once
};

/// What a task actor is given to do.
struct task_order {
  task_header_ptr header;
  std::vector<message> messages;
  model_settings settings;
  std::uint32_t first_attempt = 1;
  struct stage {
    std::string name;
    std::string result;
    std::int64_t at; // wall clock, ms
  };
  std::vector<stage> done; // before a restart, in order
};
using task_order_ptr = std::shared_ptr<const task_order>;

/// What one attempt has used.
struct attempt_usage {
  std::uint32_t attempt;
  usage used;
  errc error;
};

/// The finish_reason of a task that was ended by whoever was called.
inline constexpr std::string_view by_callback = "callback";

using stage_name = std::shared_ptr<const std::string>;

// -- effects
// ----------------------------------------------------------------------------------------

/// Make the group durable, then call durable() or refused() with the ticket.
struct record_effect {
  std::uint64_t ticket;
  store::fact_group_ptr group;
  std::uint32_t after_ms = 0; // wait as long first: the disk was full
};
/// Tell every watcher. Effects of this kind come in the order of seq.
struct publish_effect {
  event_ptr what;
};
struct run_effect {
  task_order_ptr order;
};
struct stop_effect {}; // the running task
/// Hand what the external service says to the running task, which ends by it or goes on.
struct hand_over_effect {
  outside_news news;
};
/// Answer the request that came with this promise.
struct answer_effect {
  std::uint64_t promise;
  refusal why; // code none: yes
  std::string task;
  std::string session;
  std::uint64_t accepted_seq = 0;
  bool replayed = false;
};
/// The session is gone, and with it the tasks that had not ended.
struct retire_effect {
  std::int64_t at; // ms since the epoch
  std::vector<task_header_ptr> dropped;
};
using effect = std::variant<record_effect, publish_effect, run_effect, stop_effect,
                            hand_over_effect, answer_effect, retire_effect>;
using effects = boost::container::small_vector<effect, 2>; // most often it is one

/// Of boost: an empty std::deque of libstdc++ holds 576 bytes, and there may be many.
using event_queue = boost::container::deque<event_ptr>;

/// What is left of a conversation in which nothing happens: durable, all of it. A tenth of the
/// size.
struct conversation_at_rest {
  std::int64_t created_at = 0;
  std::int64_t last_accessed = 0;
  std::int64_t message_count = 0;
  std::int64_t total_tokens = 0;
  std::int64_t question_count = 0;
  std::int64_t older = 0;
  std::uint64_t first_seq = 1;
  std::uint64_t next_seq = 1;
  std::uint64_t lease = 0;
  std::uint64_t last_told = 0;
  bool disk_full = false;
  std::string system_prompt;
  std::vector<message> history;
};
using conversation_at_rest_ptr = std::shared_ptr<const conversation_at_rest>;

class conversation {
public:
  conversation(session_key key, session_limits limits, store::session_image image,
               std::int64_t now);
  /// Goes on as if nothing had been between; has nothing to resume().
  conversation(session_key key, session_limits limits, const conversation_at_rest& rest);

  /// Only of one that is idle() and exists().
  conversation_at_rest at_rest() const;
  /// What has been told and is durable is found in the store from now on. Nothing, unless idle().
  void forget_events();

  /// Goes on with what a dead server left open. Once, before anything else.
  effects resume(std::int64_t now);

  effects submit(turn_request turn, std::uint64_t promise, std::int64_t now);
  /// `promise` 0: nobody waits for it.
  effects cancel(const std::string& task, std::uint64_t promise, std::int64_t now);
  /// Makes the session, if it is not there.
  effects open(std::uint64_t promise, std::int64_t now);
  /// From outside, for the running external task; `task` empty: whichever it is. Answered when what
  /// it ends is durable, or at once if it ends nothing; `not_waiting` if there is no such task.
  effects called_back(const std::string& task, outside_news news, std::uint64_t promise,
                      std::int64_t now);
  effects remove(bool expired, std::uint64_t promise, std::int64_t now);

  // from the keeper, in the order of the tickets (but for those that had to wait)
  effects durable(std::uint64_t ticket, const store::group_result& result, std::int64_t now);
  effects refused(std::uint64_t ticket, errc why, std::int64_t now);

  // from the running task; other tasks' reports are ignored
  // `stage`, here and below: of a task with stages, which one it is about.
  effects delta(const std::string& task, std::string text, std::int64_t now, stage_name stage = {});
  effects retrying(const std::string& task, std::uint32_t attempt, std::uint32_t delay_ms,
                   bool discard, std::int64_t now, stage_name stage = {}, std::string why = {});
  effects progress(const std::string& task, std::uint32_t percent, std::string text,
                   std::int64_t now, stage_name stage = {});
  /// Told when it is durable.
  effects stage_done(const std::string& task, stage_name stage, std::string result,
                     std::int64_t now);
  /// Another attempt follows. `model`: where it is not the task's.
  effects attempt_ended(const std::string& task, std::uint32_t attempt, usage used, errc error,
                        std::int64_t now, std::string model = {});
  effects finished(const std::string& task, outcome end, std::string answer_extra, std::int64_t now,
                   std::optional<attempt_usage> last = {});
  /// The task died without a word: its turn fails, with an estimated usage.
  effects crashed(const std::string& task, std::int64_t now);

  /// What was noted since the last checkpoint of the running task; call about once a second.
  effects checkpoint(std::int64_t now);

  // -- observers --
  bool exists() const noexcept { return exists_; }
  bool durable() const noexcept; // it exists, and a crash does not change that
  bool idle() const noexcept {
    return !running_ && queue_.empty() && outgoing_.empty() && waiting_.empty();
  }
  bool removed() const noexcept { return removing_; }
  session_view view() const;
  std::optional<task_view> task(const std::string& id) const; // waiting, running or recent
  /// Those that have been told of and have not ended, in their order.
  std::vector<task_header_ptr> open_tasks() const;
  /// Every told event numbered `first_recent()` or above is in recent().
  std::uint64_t first_recent() const noexcept { return first_recent_; }
  const event_queue& recent() const noexcept { return recent_; }
  std::uint64_t last_told() const noexcept { return last_told_; }
  std::uint64_t first_seq() const noexcept { return first_seq_; }
  std::int64_t last_accessed() const noexcept { return last_accessed_; }

private:
  struct turn_state {
    turn_request request;
    task_header_ptr header;
    std::uint64_t accepted_seq = 0;
    std::uint32_t first_attempt = 1;
    bool resumed = false;                // by a restart: the retry has still to be announced
    std::vector<task_order::stage> done; // before a restart
    stage_name stage;                    // that a restart interrupted; may be null
    usage spent;                         // by the attempt that a restart interrupted, estimated
    std::uint64_t log_seq = 0;           // what is logged from now on follows this event
    std::int64_t log_at = 0;
    std::vector<std::uint64_t> cancel_promises; // cancelled before its acceptance was durable
    /// By a restart: the service outside has not died, and is waited for as before.
    bool awaited() const { return request.kind == task_kind::external && !done.empty(); }
  };
  /// Those who have called back with what ends the task. Whoever says the same again joins them.
  struct callers {
    outside_news said;
    std::vector<std::uint64_t> promises;
    bool same(const outside_news& n) const { return n.what == said.what && n.text == said.text; }
  };
  struct run_state {
    turn_state turn;
    std::uint64_t start_ticket = 0; // until this is durable nothing of the task may be told
    bool begun = false;             // the order has been given
    std::vector<std::function<effects(std::int64_t)>> early; // what it has reported until then
    bool stopping = false;
    task_log log{0, 0};
    std::string text; // of this attempt
    std::uint32_t attempt = 1;
    std::uint32_t progress = 0;
    std::uint32_t dropped = 0;
    std::int64_t tokens = 0;        // of this attempt, estimated
    std::int64_t prompt_tokens = 0; // estimated
    std::int64_t progress_at = 0;
    std::int64_t updated_at = 0;
    std::vector<std::uint64_t> cancel_promises;
    callers called;
    std::uint64_t checkpoint_ticket = 0; // under way
    std::uint64_t stage_ticket = 0; // gates a stage's result that the next checkpoint will hold
    struct ending {
      outcome end;
      std::string answer_extra;
      std::optional<attempt_usage> last;
    };
    std::optional<ending> over; // to be concluded
  };
  struct pending_event {
    event_ptr what;
    std::uint64_t gate; // told once this ticket is durable; 0: at once
  };
  struct waiting_record { // what happens when a ticket comes back
    enum class kind { lease, open, accept, probe, start, usage, checkpoint, end, remove } what;
    std::uint64_t lease = 0;
    std::uint64_t settled = 0; // what was leased beyond this is given back
    std::uint64_t promise = 0;
    bool opens = false;       // accept: the session came to be with it
    bool interrupts = false;  // accept: stops what runs
    bool cancelled = false;   // end: as those who asked for it wanted
    bool called_back = false; // end: by those who called back
    callers called;           // end: these
    errc why = errc::none;    // probe: the answer, unless the key is known
    std::string task;
    std::vector<std::uint64_t> promises; // accept: repeated requests; end: who cancelled
    store::fact_group_ptr group;         // that was recorded
    bool insists = false;                // it is recorded again when the store was full
  };

  task_header_ptr make_header(const turn_request& r, std::int64_t at) const;
  static answer_effect refuse(std::uint64_t promise, errc code);
  void remember(const message& asked, const std::string& answer, std::string answer_extra);
  attempt_usage interrupted(const turn_state& turn, const std::string& shown) const;
  std::shared_ptr<event> make(event_kind kind, const task_header_ptr& task, std::int64_t now);
  void tell(event_ptr e, std::uint64_t gate, effects& out);
  bool may_be_told(const event& e, std::uint64_t gate) const;
  void publish(event_ptr e, effects& out);
  void release(effects& out);
  bool has_lease(std::uint64_t ahead) const;
  void lease_for(store::fact_group& group, waiting_record& note, std::uint64_t ahead);
  void lease_more(effects& out);
  std::uint64_t record(store::fact_group group, waiting_record note, effects& out);
  std::uint64_t record(store::fact_group_ptr group, waiting_record note, effects& out);
  void start_next(effects& out, std::int64_t now);
  void begin(effects& out, std::int64_t now);
  void begin_early(effects& out, std::int64_t now);
  bool runs(const std::string& task) const;
  bool held_back(const std::string& task) const;
  effects later(std::function<effects(std::int64_t)> report); // of a task that is held back
  void started(effects& out, std::int64_t now);
  void stop_running(effects& out);
  void accepted(const waiting_record& note, std::uint64_t ticket, effects& out, std::int64_t now);
  bool ending() const;
  bool repeated(const turn_request& turn, std::uint64_t promise, effects& out);
  waiting_record* waiting_for(waiting_record::kind what, const std::string& task);
  void report_progress(effects& out, std::int64_t now);
  static store::fact_group_ptr checkpoint_of(run_state& run, std::int64_t now);
  void record_stage(effects& out, std::int64_t now);
  void end_unstarted(turn_state t, errc why, std::vector<std::uint64_t> promises, effects& out,
                     std::int64_t now);
  /// `model`: where it is not the task's.
  void record_usage(const turn_state& turn, const attempt_usage& of, effects& out, std::int64_t now,
                    std::string model = {});
  void conclude_running(effects& out, std::int64_t now);
  void conclude(const turn_state& t, run_state::ending over, task_log::pieces shown,
                std::vector<std::uint64_t> promises, effects& out, std::int64_t now,
                callers called = {});
  void trim();

  session_key key_;
  session_limits limits_;
  bool exists_ = false;
  bool removing_ = false;
  bool disk_full_ = false; // as far as is known

  std::int64_t created_at_ = 0;
  std::int64_t last_accessed_ = 0;
  std::int64_t message_count_ = 0;
  std::int64_t total_tokens_ = 0;
  std::int64_t question_count_ = 0;
  std::string system_prompt_;
  std::vector<message> history_;            // answered turns, as far back as a window may reach
  std::int64_t older_ = 0;                  // messages before these
  std::vector<store::open_task> left_open_; // of a dead server, until resume()

  std::uint64_t first_seq_ = 1;
  std::uint64_t next_seq_ = 1;
  std::uint64_t lease_ = 0;         // asked for
  std::uint64_t durable_lease_ = 0; // granted
  std::uint64_t next_ticket_ = 1;
  std::map<std::uint64_t, waiting_record> waiting_;
  boost::container::deque<pending_event> outgoing_;
  std::vector<turn_state> queue_;      // short: at most limits_.max_turns
  std::unique_ptr<run_state> running_; // may be null

  event_queue recent_;
  std::uint64_t first_recent_ = 1;
  std::uint64_t last_told_ = 0;
};

} // namespace parlor
