#pragma once
// What is wrong with a document (protocol/json_check.hpp), for people who read Chinese. Pure; any
// thread.

#include "protocol/errc.hpp"

#include <string>
#include <string_view>

namespace parlor {

/// A violation's text in that language; as it is, where there is no translation.
std::string violation_text(std::string_view text, language lang);

} // namespace parlor
