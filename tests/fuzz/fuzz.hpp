#pragma once
// What the fuzzers have in common. A fuzzer looks for more than crashes: each says in its first
// lines what must hold whatever it is given, and must() ends the process where it does not.
//
// Thread: the one of the process.

#include "protocol/json.hpp"

#include <boost/json/parse.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace parlor::fuzz {

inline void must(bool holds, const char* what) {
  if (holds)
    return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

/// Where to split `size` bytes: chosen by the input itself, so that a case stays one file.
inline std::size_t split_of(std::string_view input) {
  std::size_t hash = 1469598103934665603U;
  for (char c : input)
    hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211U;
  return input.empty() ? 0 : hash % (input.size() + 1);
}

/// JSON, with names that occur twice only where a request may have them: deeper than its top
/// levels.
inline bool is_json(std::string_view text) {
  json::fault why{};
  json::parse(text, why);
  return why == json::fault::none || why == json::fault::duplicate_key;
}

/// Others will read it, line by line.
inline void must_be_json(std::string_view text) {
  must(is_json(text), "what is written is JSON");
  must(text.find_first_of("\r\n") == text.npos, "on one line");
}

/// An SSE stream of whole blocks with one JSON document each, or nothing.
inline void must_be_blocks(std::string_view text) {
  must(text.empty() || text.ends_with("\n\n"), "blocks are whole");
  while (!text.empty()) {
    auto end = text.find('\n');
    auto line = text.substr(0, end);
    text.remove_prefix(end + 1);
    if (line.starts_with("data: "))
      must_be_json(line.substr(6));
    else
      must(line.empty() || line.starts_with("id: "), "fields are id and data");
  }
}

} // namespace parlor::fuzz

#define PARLOR_FUZZ(input)                                                                         \
  static void fuzz_one(std::string_view input);                                                    \
  extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {              \
    fuzz_one({reinterpret_cast<const char*>(data), size});                                         \
    return 0;                                                                                      \
  }                                                                                                \
  static void fuzz_one(std::string_view input)
