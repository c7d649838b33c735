#pragma once
// Between HTTP and the sessions: who watches which session, in which dialect, up to which event.
// One of several, partitioned by session.
//
// Thread: the pool. Encodes an event once for all watchers of one dialect and language. A watcher
// whose connection does not keep up is a cursor and nothing else: it is told nothing until it has
// drained, then gets what it missed page by page (protocol/past.hpp), the pieces of the answer
// merged. The same goes for who comes for a long past; that is told as it was.

#include "actors/attendance.hpp"
#include "actors/edge_socket.hpp"
#include "actors/instrument.hpp"
#include "actors/interfaces.hpp"
#include "actors/measures.hpp"
#include "actors/turn_gate.hpp"

#include <boost/container/small_vector.hpp>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>

namespace parlor {

/// How many watch each session, at all edges: streams of one task are not where those of its
/// session are. Any thread.
class watcher_counts {
public:
  std::size_t of(const session_key& key) const {
    std::lock_guard lock{mutex_};
    auto i = by_session_.find(key);
    return i == by_session_.end() ? 0 : i->second;
  }
  void add(const session_key& key) {
    std::lock_guard lock{mutex_};
    ++by_session_[key];
  }
  void remove(const session_key& key) {
    std::lock_guard lock{mutex_};
    if (auto i = by_session_.find(key); i != by_session_.end() && --i->second == 0)
      by_session_.erase(i);
  }

private:
  mutable std::mutex mutex_;
  std::unordered_map<session_key, std::size_t> by_session_;
};

struct edge_options {
  std::string epoch;
  std::function<door_actor(const session_key&)> door; // the lobby of that session
  archive_actor archive;
  std::function<std::int64_t()> wall; // ms since the epoch
  std::function<bool()> draining;
  /// Where a service outside calls back for an attempt of a task; null: there is no service.
  std::function<std::string(const session_key&, const std::string& task, std::uint32_t attempt)>
      callback_url;
  std::chrono::milliseconds stream_lifetime = std::chrono::minutes{30}; // of a page's stream
  bool counts_plans = false;                                            // one of the edges does
  std::shared_ptr<turn_gate> gate = std::make_shared<turn_gate>(std::chrono::milliseconds{0});
  // Who watches: streams, WebSockets, and answers that wait for the end of a turn.
  std::size_t max_streams = 9'000;         // at all edges
  std::size_t max_session_streams = 1'024; // of one session, at all edges
  std::shared_ptr<watcher_counts> counts = std::make_shared<watcher_counts>();
  /// A turn that is stopped when nobody attends it is so after this time: a client may come back.
  std::chrono::milliseconds disconnect_grace{10'000};
  std::shared_ptr<attendance> attended = std::make_shared<attendance>();
  std::size_t page = page_bytes; // of the past of a task that has ended
  socket_options sockets;
};

/// A session answers once its facts are durable; a full queue or a dead disk must not leave a
/// client waiting for ever.
inline constexpr auto ask_timeout = std::chrono::seconds{60};

/// Sessions are counted for the metrics so often.
inline constexpr auto plan_counts_every = std::chrono::seconds{15};

/// Counted for operators; any thread.
struct edge_stats {
  std::atomic<std::uint64_t> delivered{0};
  std::atomic<std::int64_t> watchers{0};
  std::atomic<std::int64_t> plan_pages{0}; // of those, the ones that wait for plans
  // Who came back with a cursor, by what it was.
  std::atomic<std::uint64_t> resumed{0};
  std::atomic<std::uint64_t> resets{0}; // to a past that is gone, or to another server's
  std::atomic<std::uint64_t> ahead{0};  // to what has not happened: this store has lost something
  void came_back(bool reset, bool is_ahead) noexcept {
    (is_ahead ? ahead : reset ? resets : resumed).fetch_add(1, std::memory_order_relaxed);
  }
};
edge_stats& stats_of_edges();

/// One who watches. There may be very many to whom nothing happens: the request goes when its
/// stream is open, and what it is told by stays.
struct watcher {
  /// Sent instead of the shape's, once.
  struct own_reset {
    std::string block;
    std::uint64_t known; // the event that it tells up to
  };
  std::uint64_t id = 0;
  visit_ptr request; // null: its stream is open, or this is a socket
  visit::kind what = visit::kind::health;
  language lang = language::en;
  const stream_shape* shape = nullptr;               // of a stream
  std::unique_ptr<own_reset> at_reset;               // may be null
  std::unique_ptr<std::vector<std::string>> attends; // open turns; nearly always null
  std::string request_id;                            // for the log
  std::shared_ptr<http::outbox> out;
  std::unique_ptr<socket_state> socket; // null: an answer, or a stream of events
  session_key key;
  std::string task;            // only its events; "" = all of the session
  task_header_ptr task_known;  // that has named it last; may be null
  std::uint64_t seen = 0;      // seq of the last event handed to the connection
  std::uint64_t listening = 0; // counted by the session of that life; 0: not
  std::uint32_t round = 0;     // of questions: only the last one's answer counts
  int looks = 0;               // how often the store has been asked for its task again
  bool open = false;           // the head has been sent
  bool live = false;           // events go to it as they come
  bool behind = false;         // else: it is on its way to there, as fast as its connection drains
  bool asked = false;          // an answer of its session, or of the archive, is on its way
  bool skims = false;          // it was live and fell behind: pieces are merged for it
  bool stored = false;         // its task has ended: the store has what is left to be told
  bool fresh = true;           // has no cursor of its own
};

/// What the store knows of a task that a request has named.
struct stored_past {
  store::stored_task task; // its texts are there for who polls only
  past_page page;          // of who watches, if it has ended
  std::uint64_t after = 0; // where that begins
  bool reset = false;      // with a snapshot: the cursor was not of this task
  session_view session;    // for that
};

/// A turn that a session is being asked to take.
struct turn_asked {
  session_key key;
  std::string task;
  bool cancel_on_disconnect = false;
  turn_gate::ticket_ptr inside; // may be null
};

struct edge_state {
  explicit edge_state(edge_actor::pointer me) : self{me}, counted{actor_kind::edge} {}
  static inline const char* name = "edge";
  edge_actor::pointer self;
  alive counted;
  edge_options options;
  std::uint64_t next_id = 1;
  std::unordered_map<std::uint64_t, watcher> watchers;
  /// Who watches a session, by ascending ids. Nearly always there is one, and each event looks for
  /// it.
  struct member {
    std::uint64_t id;
    watcher* who; // one of `watchers`
  };
  using members = boost::container::small_vector<member, 1>;
  struct audience {
    members all;
    std::shared_ptr<const session_key> known_as; // in the session's events; null: none has come yet
  };
  std::unordered_map<session_key, audience> by_session;
  /// The same by the address of `known_as`, which is nobody else's for as long as that is held: a
  /// session names itself by one object, so that most events find their audience without a look at
  /// the text.
  std::unordered_map<const session_key*, audience*> by_address;
  /// Ends that say a long text, while a connection holds one: all who are told it share it.
  struct long_end {
    std::string task;
    stream_shape::encoder how;
    language lang;
    std::weak_ptr<const std::string> block;
  };
  std::vector<long_end> long_ends;
  /// What a session has been asked for a watcher, oldest first.
  struct awaited {
    caf::actor_clock::time_point due;
    std::uint64_t watcher;
    std::uint32_t round;
  };
  std::deque<awaited> answers;
  bool answers_out = false;                                    // the alarm
  std::map<std::uint64_t, caf::actor_clock::time_point> aging; // open pages, oldest first: when
  bool aging_out = false;                                      // the alarm

  void serve(const visit_ptr& v);
  void submit(const visit_ptr& v);
  void decided(const turn_asked& t, const session_answer& a);
  void accepted(watcher& w, const session_answer& a);
  void with_task(const visit_ptr& v, int looks = 0);
  void task_found(const visit_ptr& v, const stored_past& found, int looks);
  void poll(const visit_ptr& v, const task_view& t);
  void replay_ended(const visit_ptr& v, const stored_past& found);
  void replay_on(watcher& w);
  void tell_stored(watcher& w, const past_page& page);
  void watch(const visit_ptr& v, session_key key, std::string task, std::optional<cursor> after,
             bool fresh, int looks = 0);
  void join(watcher& w, std::optional<cursor> after);
  void watching(std::uint64_t id, const session_answer& a);
  void page(const visit_ptr& v);
  void plan_register(const visit_ptr& v);
  void plan_page(const visit_ptr& v);
  void plan_start(const visit_ptr& v);
  void plan_update(const visit_ptr& v);
  void plan_too_late(const visit_ptr& v);
  std::size_t plan_pages(const session_key& key) const; // that listen
  void plan_stats(const visit_ptr& v);
  void count_plans(std::function<void()> then);
  void age();
  void end_streams_with_word();
  void on_event(const published& p);
  audience* audience_of(const std::shared_ptr<const session_key>& key);
  bool concerns(watcher& w, const event& e);
  http::chunk block_of(const watcher& w, const event& e);
  void give(watcher& w, const event_ptr& e, http::chunk block);
  void answer_json(watcher& w, const event& last);
  void open(watcher& w, const task_view* task, bool fresh);
  /// Tells it a page of what it has missed, or the last of it and then what comes. `held` is let go
  /// when that is done.
  void catch_up(watcher& w, http::chunk held = {});
  /// It has been told a page, and there is more: at once, or when its connection has drained.
  void go_on(watcher& w);
  void lose(watcher& w); // cut: it may come back with its cursor
  void rejoin(const session_key& key);
  void end(std::uint64_t id, bool close);
  void unwatch(const session_key& key, std::uint64_t life);
  void refuse(const visit& v, const refusal& why);
  /// Whether there is room for one more who watches that session; if not, it has been refused.
  bool has_room(const visit& v, const session_key& key);
  void news(const exchange_news& n);
  // -- actors/edge_patience.cpp
  std::uint32_t await(watcher& w);
  watcher* still_waits(const awaited& a);
  void stop_waiting();
  void unanswered(watcher& w);
  // -- actors/edge_attendance.cpp
  void attend(watcher& w, const std::string& task);
  void leave(const watcher& w);
  void stop_unattended(const unattended& what);
  watcher& add(const visit& v, std::shared_ptr<http::outbox> out, session_key key,
               std::string task);
  watcher& add_stream(const visit_ptr& v, session_key key, std::string task);
  void born(const session_key& key, std::uint64_t seq);

  // -- actors/edge_socket.cpp: WebSockets
  void open_socket(const visit_ptr& v);
  void hear(socket_message& m);
  void handle(watcher& w, socket_message& m);
  void question(watcher& w, learning_ws::question& q, http::chunk held);
  void cancel(watcher& w, const learning_ws::cancel& c, http::chunk held);
  void go_live(watcher& w);
  void caught_up(watcher& w, const session_answer& a);
  void tell(watcher& w, const event& e, socket_frames* shared = nullptr);
  void push(watcher& w, http::chunk frame);
  void complain(watcher& w, const refusal& why, std::string_view request_id);
  void close_socket(watcher& w, http::close_code code, std::string reason);
  void arm(watcher& w);
  void on_alarm(std::uint64_t id);
  void ask(session_ask_ptr what, const visit_ptr& v,
           std::function<void(const session_answer&)> then);
};

edge_actor::behavior_type edge(edge_actor::stateful_pointer<edge_state> self, edge_options options);

} // namespace parlor
