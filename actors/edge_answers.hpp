#pragma once
// The whole answers that the edge gives: refusals and JSON pages, in the dialect of the request.
// Pure but for the exchange.

#include "actors/messages.hpp"

namespace parlor {

void respond_json(const visit& v, unsigned status, std::string body,
                  std::vector<http::header> more = {});
/// Status, `headers` and `Retry-After`; the body is left to the dialect. Counts it.
http::response begin_refusal(errc code, std::vector<http::header> headers);
/// In the shape of the visit's dialect: generate-async has its own, everything else is a problem
/// document.
void respond_refusal(const visit& v, const refusal& why);

inline http::chunk as_chunk(std::string text) {
  return std::make_shared<const std::string>(std::move(text));
}

} // namespace parlor
