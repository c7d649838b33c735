#pragma once
// The frame of chunked transfer coding (RFC 9112, 7.1) around a piece that many streams get.

#include "http/exchange.hpp"

namespace parlor::http {

/// The piece in its frame, as one run of bytes: the kernel takes that with less work than three.
/// Made once for all who ask for the same piece one after the other on a thread. Null if it is not
/// worth it: nobody else has the piece, or it is large.
chunk framed_for_many(const chunk& piece);

/// Appends what goes before a piece of `size` bytes. After it goes CRLF.
void append_chunk_head(std::string& to, std::size_t size);

} // namespace parlor::http
