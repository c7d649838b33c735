#pragma once
// Watches the document that a model is writing, and says as soon as it is certain that it will not
// be valid, whatever may come: no need to pay for the rest. Prose and fences before it are passed
// over as in json_find. One text each; one thread at a time.

#include "protocol/json_find.hpp"
#include "protocol/json_reader.hpp"
#include "protocol/json_schema.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace parlor::json {

class watcher {
public:
  explicit watcher(schema_ptr s);

  /// Takes the next piece of the text. Once it has returned a violation it returns nothing more.
  /// What it never objects to may still be refused by schema::check_text.
  std::optional<violation> feed(std::string_view piece);

  /// The document is whole, and nothing was certainly wrong with it.
  bool whole() const noexcept { return where_.whole() && !ended_; }

private:
  schema_ptr schema_;
  checker checker_;
  reader reader_;
  locator where_;
  std::string document_; // what of the latest piece belongs to the document
  std::size_t read_ = 0;
  bool ended_ = false;
};

} // namespace parlor::json
