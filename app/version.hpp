#pragma once
// What this program is and what it is linked with. Any thread.

#include <string>
#include <string_view>

namespace parlor {

std::string_view version();
std::string_view commit();
/// {"version","commit","boost","sqlite","openssl","curl","caf"}: the versions linked, not the
/// headers'.
std::string version_json();

} // namespace parlor
