#pragma once
// A refusal as an answer of the API that was asked. Thread: any; counts it.

#include "http/exchange.hpp"
#include "protocol/command.hpp"

namespace parlor {

/// In the shape of the path of `request`; `headers` come first.
http::response refusal_answer(const refusal& why, const http::request& request, language lang,
                              std::vector<http::header> headers);

} // namespace parlor
