#pragma once
// The files of web/ that are part of the program. Constant for the life of the process; any thread.

#include <string_view>

namespace parlor {

std::string_view openapi_json();
std::string_view docs_html();
std::string_view docs_js();

} // namespace parlor
