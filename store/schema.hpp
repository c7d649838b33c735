#pragma once
// The tables, and how older files get them.

#include "store/sqlite.hpp"

#include <string>

namespace parlor::store {

/// Brings the file to the newest schema. Throws std::runtime_error for a newer one and for a file
/// that is some other program's. Returns the store's epoch.
std::string migrate(sqlite::connection& db, const std::string& path);

} // namespace parlor::store
