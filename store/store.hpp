#pragma once
// The port to durable storage. Facts go in by transactions that are durable when they return; reads
// come from a second handle. Both block: only the keeper's and the reader's own threads may call
// them.

#include "protocol/command.hpp"
#include "protocol/event.hpp"
#include "protocol/ids.hpp"
#include "protocol/past.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

namespace parlor::store {

// -- facts
// ------------------------------------------------------------------------------------------

/// A session came to be. Recorded with its first turn.
struct session_opened {
  session_key key;
  std::int64_t at = 0; // wall clock, ms; so are all `at`
  std::string system_prompt;
  std::string metadata; // JSON object text or empty
};
/// No event of the session numbered above `upto` is told before this is durable. `exactly`: none
/// above it has been told either, so that an earlier, longer lease is given back.
struct seq_leased {
  session_key key;
  std::uint64_t upto = 0;
  bool exactly = false;
};
/// A task exists: its request is kept so that it can be run after a restart.
struct task_accepted {
  session_key key;
  std::string task;
  std::int64_t at = 0;
  std::uint64_t seq = 0;
  model_settings settings;
  std::string message_id; // of the user's message, which becomes part of the history with this fact
  message said;
  idempotency once; // refused as a duplicate if the scope and key are known and not older than 24 h
  task_kind kind = task_kind::chat;
  std::string ref;
  bool wants_text_done = false;
};
struct task_started {
  std::string task;
  std::int64_t at = 0;
  std::uint64_t seq = 0;
};
/// More of a running task: its text and log (protocol/task_log.hpp) since the last checkpoint.
struct task_checkpoint {
  std::string task;
  std::int64_t at = 0;
  std::string text;
  std::string log;
};
/// A task has ended. Its answer (if end.message_id is not empty) joins the history and the
/// session's counters grow, by one UPDATE that adds.
struct task_ended {
  session_key key;
  std::string task;
  std::int64_t at = 0;
  std::uint64_t seq = 0;
  std::shared_ptr<const outcome> end; // never null
  std::string answer_extra;           // `extra` of the answer's message: tool calls
  std::string text;                   // since the last checkpoint, all attempts
  std::string log;                    // since the last checkpoint
};
/// One ended attempt, always.
struct usage_recorded {
  std::string task;
  std::uint32_t attempt = 1;
  std::string model;
  std::int64_t at = 0;
  usage used;
  errc error = errc::none;
};
/// The history, tasks and texts are gone from disk with this; so is the session's row. An expired
/// session keeps its ended tasks, readable until they are old enough to be pruned.
struct session_removed {
  session_key key;
  std::int64_t at = 0;
  bool expired = false;
};
/// Nothing changes; the group's result says whether the key is known.
struct key_probed {
  idempotency once;
  std::int64_t at = 0;
};
using fact = std::variant<session_opened, seq_leased, task_accepted, task_started, task_checkpoint,
                          task_ended, usage_recorded, session_removed, key_probed>;

/// Facts that hold together or not at all.
using fact_group = std::vector<fact>;
/// Shared by whoever recorded it, until that is known to be durable, and whoever writes it: it may
/// hold megabytes.
using fact_group_ptr = std::shared_ptr<const fact_group>;

/// What became of a group.
struct group_result {
  enum class kind : std::uint8_t {
    durable,
    duplicate, // the idempotency key is known with the same fingerprint: `task` and `session` name
               // the first
    mismatch,  // known with another fingerprint
  } what = kind::durable;
  std::string task;
  std::string session;
};

// -- what is read
// -----------------------------------------------------------------------------------

struct stored_task {
  task_view view; // view.text: all that is known of the last attempt's text
  session_key key;
  model_settings settings; // as accepted
  std::string message_id;  // of the user's message
  std::uint64_t accepted_seq = 0;
  std::uint64_t started_seq = 0; // 0: not started
  std::uint64_t ended_seq = 0;   // 0: not ended
  std::int64_t started_at = 0;
  std::int64_t ended_at = 0;
  std::string text; // of all attempts, in order
  std::string log;  // protocol/task_log.hpp
  task_kind kind = task_kind::chat;
  std::string ref;
  bool wants_text_done = false;
  std::uint32_t accounted = 0; // attempts of one that is open whose usage is recorded: up to this
};

struct stored_session {
  session_view view;
  session_key key;
  std::string system_prompt;
  std::string metadata;
  std::uint64_t first_seq = 1; // the first number this session used
  std::uint64_t lease = 0;     // every number up to this may have been used
};

/// How much of a history is loaded: whole turns, the newest first, until one of these is reached.
struct history_limits {
  std::size_t messages = 1000; // looked at
  std::size_t text_bytes = SIZE_MAX;
  std::size_t image_bytes = SIZE_MAX; // beyond this images are left out (protocol/window.hpp)
};

/// A task that has not ended, with what was said to begin it.
struct open_task : stored_task {
  message said;
};

/// What a session actor needs to begin: either it exists, or where its numbers may start.
struct session_image {
  std::optional<stored_session> session;
  std::uint64_t first_free_seq =
      1; // for a new one: above every number a removed session may have used
  std::vector<history_message> history; // answered turns, oldest first
  std::int64_t older = 0;               // messages of ended turns before these
  std::vector<open_task> open_tasks;    // in order of arrival
};

struct session_page {
  std::vector<session_view> sessions; // most recently used first
  std::int64_t total = 0;
  std::string next_cursor; // empty: no more
};
struct message_page {
  std::vector<history_message> messages; // oldest first
  std::string next_before; // pass as `before` for the page of older ones; empty: no more
};

/// Where a list of idle sessions goes on: behind the one last used then, with that number.
struct idle_place {
  std::int64_t at = 0;
  std::int64_t number = 0;
};
struct idle_page {
  std::vector<session_key> sessions; // least recently used first
  idle_place last;
  bool more = false;
};

// -- the port
// ---------------------------------------------------------------------------------------

/// What services outside have made for a session.
struct external_session {
  stored_session session;
  std::optional<stored_task> newest; // accepted last; none: nothing was asked for yet
};
/// Sessions by their newest external task. Those that have none count as waiting if they have no
/// other turns either.
struct external_counts {
  std::uint64_t waiting = 0;
  std::uint64_t running = 0;
  std::uint64_t completed = 0;
  std::uint64_t failed = 0; // or cancelled
};

/// `full`: no space; nothing was recorded, reads still work, later writes may succeed.
/// `broken`: nothing may be acknowledged any more; the process must end (promise 9).
struct store_error : std::runtime_error {
  enum class kind : std::uint8_t { full, broken } what_kind;
  store_error(kind k, const std::string& text) : std::runtime_error{text}, what_kind{k} {}
};

/// The only one that writes. Lives on one thread.
class writer {
public:
  virtual ~writer() = default;
  /// One transaction; durable when it returns. Throws store_error; then none of the groups is
  /// recorded.
  virtual std::vector<group_result> apply(std::span<const fact_group_ptr> groups) = 0;
  /// Removes ended tasks and idempotency keys that are older than these moments (wall clock, ms),
  /// at most `limit` of each, and returns how many. Call again while it returns `limit`.
  virtual std::size_t prune(std::int64_t tasks_before, std::int64_t keys_before,
                            std::size_t limit) = 0;
  /// Moves the write-ahead log into the file if it has grown; cheap when it has not. Call in idle
  /// moments.
  virtual void checkpoint() = 0;
};

/// Sees everything that apply() has returned for. Lives on one thread, not necessarily the
/// writer's.
class reader {
public:
  virtual ~reader() = default;
  virtual session_image load_session(const session_key& key, const history_limits& limits) = 0;
  virtual std::optional<stored_session> find_session(const session_key& key) = 0;
  virtual std::optional<stored_task> find_task(const std::string& tenant,
                                               const std::string& task) = 0;
  /// Without what may be long: its texts, its log, and the content of its end are left out, and
  /// what of its view is read from them.
  virtual std::optional<stored_task> find_task_head(const std::string& tenant,
                                                    const std::string& task) = 0;
  /// Part of what the task has told; nothing if there is no such task.
  virtual std::optional<past_page> past_of_task(const std::string& tenant, const std::string& task,
                                                const past& what) = 0;
  /// Part of what the session's tasks have told. It has a gap if there were more of them, which
  /// have been pruned.
  virtual past_page past_of_session(const session_key& key, const past& what) = 0;
  virtual session_page list_sessions(const std::string& tenant, std::size_t limit,
                                     const std::string& page) = 0;
  /// Without their `extra`.
  virtual std::optional<message_page> list_messages(const session_key& key, std::size_t limit,
                                                    const std::string& before) = 0;
  virtual std::int64_t count_sessions() = 0;
  /// A session and the newest of its external tasks; nothing if there is no such session.
  virtual std::optional<external_session> find_external(const session_key& key) = 0;
  /// Looks at every session; not for every request.
  virtual external_counts count_external() = 0;
  /// Sessions that have a task which has not ended: found at start-up.
  virtual std::vector<session_key> unfinished_sessions() = 0;
  /// Sessions last used before `moment` (wall clock, ms), at most `limit`.
  virtual idle_page idle_sessions(std::int64_t moment, std::size_t limit,
                                  const idle_place& after = {}) = 0;
  /// Usage records of a task, by attempt.
  virtual std::vector<usage_recorded> usage_of(const std::string& task) = 0;
};

/// Opens or creates the file (":memory:" is refused: two handles would see two stores), migrates
/// it, and refuses a newer schema or a second process with a clear error (std::runtime_error).
class store {
public:
  virtual ~store() = default;
  virtual const std::string& epoch() const noexcept = 0; // made once, when the store was created
  /// 64 random characters, made with it: for signatures that must outlive this process.
  virtual const std::string& secret() const noexcept = 0;
  virtual std::unique_ptr<writer> open_writer() = 0; // at most one at a time
  virtual std::unique_ptr<reader> open_reader() = 0;
};
std::unique_ptr<store> open_sqlite(const std::string& path);

} // namespace parlor::store
