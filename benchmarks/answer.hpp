#pragma once
// Reads one streamed answer and proves its content: every token of the plan, in order, none twice,
// none of another stream, and a proper end. Speaks an OpenAI service's wire and those of Parlor's
// POST /api/chat/stream, POST /api/chat (a whole answer) and POST /api/generate-async (a promise of
// one, which has no tokens).
//
// Owner: one request of the load generator. Thread: one.

#include "plan.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace bench {

enum class wire { openai, parlor, accept };

/// What was wrong with tokens, over all streams.
struct faults {
  std::uint64_t lost = 0;
  std::uint64_t repeated = 0;
  std::uint64_t late = 0; // after one with a higher number
  std::uint64_t foreign = 0;
  std::uint64_t broken_streams = 0; // an error, or no proper end
  std::uint64_t total() const { return lost + repeated + late + foreign + broken_streams; }
};

class answer {
public:
  enum class state { more, complete, refused, broken }; // refused: 429 or 503, by a whole answer

  /// `whole`: one JSON document is expected, not a stream.
  answer(wire w, std::uint64_t stream, std::uint32_t tokens, bool whole = false)
      : wire_{w}, stream_{stream}, whole_{whole}, seen_(tokens, false) {}

  /// Takes the bytes that came next. `on_token(number, stamp)` is called for each whole token.
  template <class OnToken>
  state feed(std::string_view bytes, OnToken on_token) {
    take(bytes);
    for (auto& t : fresh_)
      on_token(t.number, t.stamp);
    fresh_.clear();
    return state_;
  }

  /// The connection is at its end.
  state end();

  /// Adds what was wrong to `f`; once, when the answer is over.
  void count(faults& f) const;

  /// Whether the connection can take another request.
  bool reusable() const { return (state_ == state::complete || state_ == state::refused) && keep_; }
  const std::string& why() const { return why_; }

private:
  struct token {
    std::uint32_t number;
    std::int64_t stamp;
  };

  void take(std::string_view bytes);
  bool take_head();
  void take_whole();
  void take_body(std::string_view bytes);
  void take_chunked();
  void take_events();
  void take_event(std::string_view data);
  void take_text(std::string_view text);
  void take_token();
  void close();
  void fail(std::string why);

  wire wire_;
  std::uint64_t stream_;
  bool whole_;
  std::size_t length_ = 0; // of a whole answer
  std::vector<bool> seen_;
  state state_ = state::more;
  std::string in_;   // the head, then chunks that are not whole
  std::string body_; // events that are not whole
  std::string said_; // all text of the answer
  std::vector<token> fresh_;
  bool has_head_ = false;
  bool chunked_ = false;
  bool keep_ = true;
  std::uint64_t fields_[3] = {0, 0, 0}; // of the token being read
  int field_ = 0;
  std::uint32_t next_ = 0;
  std::uint64_t repeated_ = 0, late_ = 0, foreign_ = 0;
  bool started_ = false, stopped_ = false, counted_ = false, done_ = false;
  bool refused_ = false; // says the head
  std::string why_;
};

} // namespace bench
