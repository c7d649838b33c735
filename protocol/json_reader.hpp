#pragma once
// JSON text in pieces, told to a checker as it comes. One document each; one thread at a time.

#include "protocol/json_check.hpp"

#include <memory>
#include <string_view>

namespace parlor::json {

class reader {
public:
  /// The checker must outlive it.
  explicit reader(checker& to);
  ~reader();
  reader(const reader&) = delete;
  reader& operator=(const reader&) = delete;

  /// Takes the next piece; `last` says that none follows. False once the text cannot be, or become,
  /// one JSON document (depth at most 64); what has been told to the checker before stands.
  bool write(std::string_view piece, bool last);

private:
  struct impl;
  std::unique_ptr<impl> impl_;
};

} // namespace parlor::json
