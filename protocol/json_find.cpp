#include "protocol/json_find.hpp"

#include <algorithm>

namespace parlor::json {

namespace {

constexpr std::size_t max_pending = 512;
constexpr std::size_t max_name = 256;
constexpr std::size_t max_indent = 16;
constexpr int max_brackets = 64;
constexpr std::string_view fence = "```";

bool is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

std::size_t skip_space(std::string_view s, std::size_t i) {
  while (i < s.size() && is_space(s[i]))
    ++i;
  return i;
}

/// The language named behind a fence: JSON, or none at all.
bool may_hold_json(std::string_view language) {
  std::string word;
  for (char c : language)
    if (!is_space(c))
      word += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return word.empty() || word == "json" || word == "jsonc" || word == "json5" || word == "text" ||
         word == "plaintext";
}

} // namespace

// Whether a document begins at the bracket in rest[0]; `open` if that depends on what comes.
locator::verdict locator::begins(std::string_view rest, bool first_on_line, int depth) {
  auto i = skip_space(rest, 1);
  if (i == rest.size())
    return verdict::open;
  if (rest[0] == '{') {
    if (rest[i] == '}')
      return first_on_line ? verdict::yes : verdict::no;
    if (rest[i] != '"')
      return verdict::no;
    auto from = ++i;
    for (; i < rest.size() && rest[i] != '"'; ++i) {
      if (static_cast<unsigned char>(rest[i]) < 0x20 || i - from > max_name)
        return verdict::no;
      i += rest[i] == '\\';
    }
    i = skip_space(rest, i + 1);
    return i >= rest.size() ? verdict::open : rest[i] == ':' ? verdict::yes : verdict::no;
  }
  if (rest[i] == '{' || rest[i] == '[')
    return depth >= max_brackets ? verdict::no : begins(rest.substr(i), first_on_line, depth + 1);
  if (!first_on_line)
    return verdict::no;
  if (rest[i] == '"')
    return verdict::yes;
  if (rest[i] == ']')
    return i == 1 || rest.substr(1, i).find('\n') != rest.npos ? verdict::yes : verdict::no;
  // A number, true, false or null, and what must follow: "[the plan]" and "[1st]" are prose.
  auto from = i;
  while (i < rest.size() && !is_space(rest[i]) && rest[i] != ',' && rest[i] != ']') {
    auto c = rest[i];
    auto word = rest.substr(from, i + 1 - from);
    auto number =
        (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
    if (number && (rest[from] == '-' || (rest[from] >= '0' && rest[from] <= '9'))) {
      ++i;
      continue;
    }
    auto begins_a = [&](std::string_view name) { return name.starts_with(word); };
    if (!begins_a("true") && !begins_a("false") && !begins_a("null"))
      return verdict::no;
    ++i;
  }
  auto word = rest.substr(from, i - from);
  auto literal = word[0] >= 'a' && word[0] <= 'z';
  if (i < rest.size() && literal && word != "true" && word != "false" && word != "null")
    return verdict::no;
  i = skip_space(rest, i);
  return i == rest.size()                   ? verdict::open
         : rest[i] == ',' || rest[i] == ']' ? verdict::yes
                                            : verdict::no;
}

// A fence or a block of thoughts at the beginning of `rest`: `skip` is what it takes with it.
locator::verdict locator::special(std::string_view rest, std::size_t& skip) {
  rest = rest.substr(0, max_pending); // what is decided may not depend on the pieces
  if (rest[0] == '`' && line_start_) {
    if (!rest.starts_with(fence.substr(0, std::min(rest.size(), fence.size()))))
      return verdict::no;
    auto end = rest.find_first_of("\n{[");
    if (end == rest.npos)
      return rest.size() < max_pending ? verdict::open : verdict::no;
    auto language = rest.substr(fence.size(), end - fence.size());
    while (language.starts_with('`')) // a longer fence
      language.remove_prefix(1);
    if (!may_hold_json(language))
      state_ = state::foreign_block;
    skip = end;
    return verdict::yes;
  }
  if (rest[0] == '<' && text_start_)
    for (auto [open, close] : {std::pair<std::string_view, std::string_view>{"<think>", "</think>"},
                               {"<thinking>", "</thinking>"}}) {
      if (rest.starts_with(open)) {
        state_ = state::thinking;
        end_of_thinking_ = close;
        skip = open.size();
        return verdict::yes;
      }
      if (open.starts_with(rest))
        return verdict::open;
    }
  return verdict::no;
}

void locator::seek(std::string_view piece, std::string& document) {
  pending_ += piece;
  std::string_view all = pending_;
  std::size_t i = 0;
  auto keep = [&](std::size_t from) {
    passed_ += from;
    pending_.erase(0, from);
  };
  while (i < all.size()) {
    auto rest = all.substr(i);
    if (state_ == state::thinking) {
      auto end = all.find(end_of_thinking_, i);
      if (end == all.npos)
        return keep(std::max(i, all.size() - std::min(all.size(), end_of_thinking_.size() - 1)));
      i = end + end_of_thinking_.size();
      state_ = state::before;
      line_start_ = true;
      continue;
    }
    if (state_ == state::foreign_block) { // until a line that begins with a fence
      auto end = all.find('\n', i);
      if (end == all.npos)
        break;
      auto line = all.substr(end + 1, max_indent + fence.size());
      auto indent = std::min(line.find_first_not_of(" \t"), line.size());
      auto here = line.substr(indent, fence.size());
      if (line.size() < max_indent + fence.size() && here.size() < fence.size() &&
          fence.starts_with(here))
        return keep(end);
      i = end + 1 + indent;
      if (here == fence) {
        i += fence.size();
        state_ = state::before;
        line_start_ = false;
      }
      continue;
    }
    auto c = rest[0];
    std::size_t skip = 1;
    auto what = verdict::no;
    if (c == '{' || c == '[') {
      what = begins(rest.substr(0, max_pending), line_start_, 0);
      if (what == verdict::open && rest.size() >= max_pending)
        what = verdict::no;
      if (what == verdict::yes) {
        offset_ = passed_ + i;
        state_ = state::inside;
        auto text = std::string{rest};
        pending_.clear();
        document += std::string_view{text}.substr(0, follow(text));
        return;
      }
    } else if (c == '`' || c == '<') {
      what = special(rest, skip);
      if (what == verdict::yes) {
        i += skip; // the line goes on as if it had just begun
        text_start_ = false;
        continue;
      }
      skip = 1;
    }
    if (what == verdict::open)
      return keep(i);
    line_start_ = c == '\n' || (line_start_ && is_space(c));
    text_start_ = text_start_ && is_space(c);
    i += skip;
  }
  keep(all.size());
}

// How much of the piece belongs to the document.
std::size_t locator::follow(std::string_view piece) {
  for (std::size_t i = 0; i < piece.size(); ++i) {
    auto c = piece[i];
    if (in_string_) {
      in_string_ = escaped_ || c != '"';
      escaped_ = !escaped_ && c == '\\';
    } else if (c == '"') {
      in_string_ = true;
    } else if (c == '{' || c == '[') {
      ++depth_;
    } else if ((c == '}' || c == ']') && --depth_ == 0) {
      state_ = state::after;
      return i + 1;
    }
  }
  return piece.size();
}

void locator::feed(std::string_view piece, std::string& document) {
  if (state_ == state::inside)
    document += piece.substr(0, follow(piece));
  else if (state_ != state::after)
    seek(piece, document);
}

found_document find_document(std::string_view text) {
  locator where;
  std::string document;
  constexpr std::size_t step = 4096; // so that little of it is copied while nothing is found
  std::size_t i = 0;
  for (; i < text.size() && !where.begun(); i += step)
    where.feed(text.substr(i, step), document);
  if (!where.begun())
    return {};
  for (; i < text.size() && !where.whole(); i += step)
    where.feed(text.substr(i, step), document);
  return {text.substr(where.offset(), document.size()), where.whole()};
}

} // namespace parlor::json
