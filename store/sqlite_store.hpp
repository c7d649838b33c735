#pragma once
// The two handles on the SQLite file. Each lives on one thread.

#include "store/sqlite.hpp"
#include "store/store.hpp"

#include <memory>
#include <string>

namespace parlor::store {

std::unique_ptr<writer> make_sqlite_writer(const std::string& path);
std::unique_ptr<reader> make_sqlite_reader(const std::string& path);

} // namespace parlor::store
