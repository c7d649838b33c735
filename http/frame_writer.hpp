#pragma once
// What goes to the peer of a WebSocket next: its messages, which are shared with other peers and
// framed as they leave, and between their frames what the connection itself has to say. Pure.
//
// Owner: the WebSocket, while there is something to be sent. Thread: its strand.

#include "http/websocket_frames.hpp"

#include <sys/uio.h>

#include <array>
#include <vector>

namespace parlor::http {

class frame_writer {
public:
  /// `window_bits` of deflate_terms, and from which size on; 0: nothing is deflated.
  frame_writer(int window_bits, std::size_t deflate_from)
      : window_bits_{window_bits}, deflate_from_{deflate_from} {}

  /// One write. Points into the writer and its messages.
  struct gathered {
    std::array<iovec, 64> parts;
    std::size_t count = 0;
    std::array<char, 32 * max_frame_header> headers;
    void add(std::string_view bytes) noexcept;
  };

  /// Messages, only after the last ones have gone.
  void load(std::vector<chunk> messages);
  /// Control frames, or anything else that must be no part of a message; goes before all messages
  /// but not into a frame.
  void interject(std::string_view bytes) { between_ += bytes; }
  /// What the peer has not begun to get it will not get; the frame under way is finished.
  void drop_messages();

  bool has_messages() const noexcept { return next_ < messages_.size(); }
  std::size_t interjected() const noexcept { return between_.size() - between_taken_; }
  bool empty() const noexcept { return !has_messages() && interjected() == 0; }

  /// What to write now. Until took() it is the same, and after it what is left and what has come.
  void gather(gathered& g);
  /// The peer's kernel has taken so many bytes of that. Returns the size of the messages that are
  /// done with it, as they were pushed.
  std::size_t took(std::size_t n);

private:
  struct message {
    chunk bytes; // as they are sent
    std::size_t pushed;
    bool looked_at = false; // whether it should be deflated
    bool deflated = false;
    bool abandoned = false; // after the frame that is under way
  };
  struct frame {
    std::size_t header_size, size; // size: of its part of the message
    std::array<char, max_frame_header> header;
  };
  frame frame_at(const message& m, std::size_t from) const;
  void prepare(message& m) const;
  std::size_t advance(std::size_t& n);

  int window_bits_;
  std::size_t deflate_from_;
  std::vector<message> messages_;
  std::size_t next_ = 0; // of the messages
  std::size_t from_ = 0; // in that: where its present frame begins
  std::size_t done_ = 0; // bytes of that frame that have gone, header included
  std::string between_;
  std::size_t between_taken_ = 0;
};

} // namespace parlor::http
