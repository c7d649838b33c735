#pragma once
// The tables, and how older files get them.

#include "store/sqlite.hpp"

#include <string>

namespace parlor::store {

/// What a store is given when it is made, and keeps.
struct identity {
  std::string epoch;
  std::string secret;
};

/// Brings the file to the newest schema. Throws std::runtime_error for a newer one and for a file
/// that is some other program's.
identity migrate(sqlite::connection& db, const std::string& path);

} // namespace parlor::store
