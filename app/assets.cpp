#include "app/assets.hpp"

// Defined by app/assets.S, which includes the files of web/ as they are.
extern "C" {
extern const char parlor_openapi_json[], parlor_openapi_json_end[];
extern const char parlor_docs_html[], parlor_docs_html_end[];
extern const char parlor_docs_js[], parlor_docs_js_end[];
}

namespace parlor {

std::string_view openapi_json() {
  return {parlor_openapi_json,
          static_cast<std::size_t>(parlor_openapi_json_end - parlor_openapi_json)};
}

std::string_view docs_html() {
  return {parlor_docs_html, static_cast<std::size_t>(parlor_docs_html_end - parlor_docs_html)};
}

std::string_view docs_js() {
  return {parlor_docs_js, static_cast<std::size_t>(parlor_docs_js_end - parlor_docs_js)};
}

} // namespace parlor
