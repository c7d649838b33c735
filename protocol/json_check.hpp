#pragma once
// A document, told event by event, against the rules of a schema: says what is wrong as soon as it
// is certain, whatever may still come. One document each; one thread at a time.
//
// It decides types, values, counts, lengths, names, patterns, and alternatives that all have
// failed. `not`, `if`, a second match of `oneOf` and the equality of whole items are left to
// json_schema: a document that passes here may still be refused there, never the other way round.

#include "protocol/json_rule.hpp"

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace parlor::json {

/// What is wrong with a document, and where. `text` is a short sentence without its subject.
struct violation {
  std::string pointer; // into the document; empty is the whole
  std::string text;    // "must be an integer, not a string"
};
/// "/weeks/0/hours must be an integer, not a string"
std::string to_string(const violation& v);
/// One a line, each with a dash: what a model is told.
std::string to_string(const std::vector<violation>& list);

class checker {
public:
  /// The rules must outlive it.
  checker(const rule& root, std::size_t max_violations);

  // The document's events in order. A number is told twice: when it begins, and whole.
  void literal(const boost::json::value& v); // null, true, false
  void number_begins();
  void number(boost::json::value v);
  void text_part(std::string_view part); // characters, unescaped; may end within one
  void text_end(std::string_view part);
  void object_begins();
  void member(std::string_view name);
  void object_ends();
  void array_begins();
  void array_ends();
  /// All events of a value. Its depth must be bounded.
  void tell(const boost::json::value& v);

  const std::vector<violation>& violations() const noexcept { return found_; }
  /// Nothing more will be said: enough was found, or the schema has too many alternatives open.
  bool ended() const noexcept { return ended_; }

private:
  /// A rule about one open value. `parent` is what fails with it.
  struct scope {
    const rule* asks;
    int parent;
    int choice;         // it is one alternative of that choice, or -1
    int branch;         // the nearest alternative it belongs to (itself, too), or -1
    bool dead = false;  // an alternative that has failed
    bool muted = false; // of a wrong type: what is inside does not matter
  };
  /// Alternatives about one value, of which one must hold.
  struct choice {
    int owner;
    std::size_t all, alive;
    std::size_t other_type = 0; // failed because they are for another type of value
  };
  /// An open object or array. Its scopes are those in [first, last).
  struct frame {
    std::size_t first, last, choices;
    bool object;
    std::uint64_t count = 0;
    std::string name; // of the latest member
    std::set<std::string, std::less<>> names;
  };

  bool begins(std::uint8_t types); // false if nobody asks
  void ends();
  void opens(bool object);
  void add(const rule& asks, int parent, int choice);
  bool idle(const scope& s) const;
  void fail(std::size_t index, const std::string& text, const std::string& at,
            bool of_type = false);
  void check_type(std::uint8_t types);
  void check_values(const boost::json::value& v);
  void check_text(bool whole);
  std::string pointer(bool of_container) const;
  template <class F>
  void each(std::size_t from, std::size_t to, F f);

  const rule* root_;
  std::size_t most_;
  std::vector<scope> scopes_;
  std::vector<choice> choices_;
  std::vector<frame> frames_;
  std::size_t first_ = 0, first_choice_ = 0; // of the scalar that is being told
  bool in_text_ = false, in_number_ = false, ended_ = false;
  std::string text_;      // of the current string, up to a limit
  bool text_cut_ = false; // the limit was reached
  std::uint64_t characters_ = 0;
  std::vector<violation> found_;
};

} // namespace parlor::json
