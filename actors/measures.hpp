#pragma once
// What operators see of turns, of the calls they make and of the store: counted by the actors,
// shown by the program.
//
// Thread: any. Labels come from the configuration and from the tables of this program, so that no
// client makes a series. Counted once a turn, a call or a commit; a piece of an answer costs
// nothing.

#include "protocol/errc.hpp"
#include "protocol/event.hpp"
#include "protocol/histogram.hpp"
#include "protocol/notice.hpp"
#include "store/store.hpp"

#include <exception>
#include <span>
#include <string_view>

namespace parlor {

/// The codes with which a call to a model can fail.
inline constexpr std::size_t upstream_codes = static_cast<std::size_t>(errc::upstream_too_large) -
                                              static_cast<std::size_t>(errc::upstream_unreachable) +
                                              1;
constexpr errc upstream_code(std::size_t i) noexcept {
  return static_cast<errc>(static_cast<std::size_t>(errc::upstream_unreachable) + i);
}

/// The calls made for one configured model. Owner: its model_entry.
struct call_stats {
  histogram duration{bounds::call_seconds};
  histogram first_chunk{bounds::call_seconds};
  histogram per_chunk{bounds::call_seconds}; // each chunk with the mean of its call
  histogram input_tokens{bounds::call_tokens};
  histogram output_tokens{bounds::call_tokens};
  std::array<counter, upstream_codes> failures{};
  std::array<counter, upstream_codes> retries{};
  counter ignored{0}; // what nobody had asked for: more choices, and after the end

  static void count(std::array<counter, upstream_codes>& by_code, errc code) noexcept {
    auto i = static_cast<std::size_t>(code) - static_cast<std::size_t>(errc::upstream_unreachable);
    if (i < upstream_codes)
      by_code[i].fetch_add(1, std::memory_order_relaxed);
  }
};

struct turn_stats {
  enum result : std::uint8_t { completed, failed, cancelled, timeout };
  static constexpr std::array<const char*, 4> result_names{"completed", "failed", "cancelled",
                                                           "timeout"};
  std::array<counter, 4> by_result{};
  counter bytes{0};                             // that clients have said in those that are open
  histogram duration{bounds::turn_seconds};     // from its acceptance to its end
  histogram first_event{bounds::first_seconds}; // from the request to the head of its stream
  histogram first_token{bounds::first_seconds}; // from its acceptance to the answer's first piece
};
inline turn_stats all_turns;

/// What services outside have made, since the program started; and the sessions by how that stands,
/// as last counted (store::external_counts).
struct external_stats {
  counter completed{0}, failed{0}, timeouts{0}; // time-outs are among the failed
  counter generation_ms{0};                     // of those that were completed, together
  counter waiting_sessions{0}, running_sessions{0}, completed_sessions{0}, failed_sessions{0};
};
inline external_stats all_external;

struct journal_stats {
  enum op : std::uint8_t { commit, read, tidy };
  static constexpr std::array<const char*, 3> op_names{"commit", "read", "tidy"};
  static constexpr std::array<const char*, std::variant_size_v<store::fact>> fact_names{
      "session_opened", "seq_leased",     "task_accepted",   "task_started", "task_checkpoint",
      "task_ended",     "usage_recorded", "session_removed", "key_probed"};
  histogram commit_time{bounds::commit_seconds};
  histogram batch{bounds::batch}; // facts in one commit
  std::array<counter, fact_names.size()> facts{};
  std::array<counter, 3> errors{};
  std::array<seldom, 3> said{seldom{10'000}, seldom{10'000}, seldom{10'000}}; // of errors
};
inline journal_stats the_journal;

/// Refusals by code, whoever refused.
inline std::array<counter, static_cast<std::size_t>(errc::internal) + 1> all_refusals;
inline void count_refusal(errc code) noexcept {
  all_refusals[static_cast<std::size_t>(code)].fetch_add(1, std::memory_order_relaxed);
}

/// The end of a turn has been told: counts it, and if it failed, says so.
void turn_ended(const event& end, std::string_view provider);
/// A turn that ended with its session, `at` ms since the epoch: nobody is told of that by an event.
void turn_dropped(const task_header& task, std::int64_t at) noexcept;
/// Groups became durable together.
void committed(std::span<const store::fact_group_ptr> groups,
               std::span<const store::group_result> results, double seconds);
void store_trouble(journal_stats::op during, std::string_view error);

} // namespace parlor
