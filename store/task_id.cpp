#include "store/task_id.hpp"

#include <algorithm>
#include <charconv>

namespace parlor::store {

namespace {

constexpr int hash_bits = 20;
constexpr std::int64_t time_end = std::int64_t{1} << 43; // ms: enough until 2248
constexpr std::int64_t range = 16;                       // rows of names that have the same hash

std::int64_t time_of(std::string_view name) noexcept {
  constexpr std::string_view prefix = "task_";
  std::int64_t ms = 0;
  if (!name.starts_with(prefix))
    return 0;
  auto* end = name.data() + name.size();
  auto [stop, error] = std::from_chars(name.data() + prefix.size(), end, ms);
  return error == std::errc{} && stop != end && *stop == '_' && ms > 0 && ms < time_end - 1 ? ms
                                                                                            : 0;
}

} // namespace

task_ids task_ids_of(std::string_view name) noexcept {
  std::uint64_t hash = 0xcbf29ce484222325; // FNV-1a
  for (unsigned char c : name)
    hash = (hash ^ c) * 0x100000001b3;
  auto low = static_cast<std::int64_t>((hash ^ (hash >> 32)) & ((1U << hash_bits) - 1));
  auto first = (time_of(name) << hash_bits) + low + 1; // 0 is none
  return {first, first + range - 1};
}

std::int64_t task_ids_before(std::int64_t at) noexcept {
  return (std::clamp<std::int64_t>(at, 2, time_end - 1) << hash_bits) + range;
}

} // namespace parlor::store
