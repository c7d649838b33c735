#include "llm/rehearsal_answer.hpp"

#include "llm/schema_sample.hpp"

#include <boost/json.hpp>

#include <algorithm>
#include <array>
#include <charconv>

namespace parlor::llm {

namespace {

using namespace std::string_view_literals;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }
bool is_alnum(char c) { return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'z'); }
bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
bool is_high(char c) { return (c & 0x80) != 0; }

std::string lowered(std::string_view text) {
  std::string out{text};
  std::transform(out.begin(), out.end(), out.begin(), lower);
  return out;
}

std::size_t char_length(char first) {
  auto c = static_cast<unsigned char>(first);
  return c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
}

// Three-byte characters from U+2E80 on, and everything beyond the basic plane: written without
// spaces.
bool is_wide(char first) { return static_cast<unsigned char>(first) >= 0xE2; }

bool has_chinese(std::string_view text) {
  for (auto c : text) {
    auto u = static_cast<unsigned char>(c);
    if (u >= 0xE3 && u <= 0xE9)
      return true;
  }
  return false;
}

// Where the words stand in the text by themselves; npos if nowhere.
std::size_t find_words(std::string_view text, std::string_view words) {
  for (auto at = text.find(words); at != text.npos; at = text.find(words, at + 1)) {
    auto end = at + words.size();
    if ((at == 0 || !is_alnum(text[at - 1])) && (end >= text.size() || !is_alnum(text[end])))
      return at;
  }
  return text.npos;
}

bool asks_name(std::string_view text, std::string_view low) {
  for (auto q : {"what is my name"sv, "what's my name"sv, "what’s my name"sv, "whats my name"sv,
                 "remember my name"sv, "know my name"sv, "tell me my name"sv, "say my name"sv,
                 "what am i called"sv, "who am i"sv})
    if (find_words(low, q) != low.npos)
      return true;
  for (auto q :
       {"我叫什么"sv, "我叫啥"sv, "我的名字是什么"sv, "我的名字叫什么"sv, "我名字是什么"sv,
        "我是谁"sv, "记得我的名字"sv, "知道我的名字"sv, "记得我叫"sv, "知道我叫"sv, "记得我是"sv})
    if (text.find(q) != text.npos)
      return true;
  return false;
}

// Words of a name from here: as long as they look like names.
std::string english_name(std::string_view rest, bool must_be_capital) {
  constexpr std::array stop{"and"sv, "but"sv,  "what"sv, "so"sv,  "please"sv, "i"sv,    "who"sv,
                            "or"sv,  "from"sv, "how"sv,  "not"sv, "the"sv,    "when"sv, "later"sv};
  std::string name;
  bool capital = false;
  for (int words = 0; words < 4; ++words) {
    auto begin = rest.find_first_not_of(" \t\"'*");
    if (begin == rest.npos || (words > 0 && begin == 0))
      break;
    rest.remove_prefix(begin);
    std::size_t size = 0;
    while (size < rest.size() &&
           (is_alnum(rest[size]) || rest[size] == '-' || rest[size] == '\'' ||
            (is_high(rest[size]) && !rest.substr(size).starts_with("，") &&
             !rest.substr(size).starts_with("。") && !rest.substr(size).starts_with("！"))))
      size += char_length(rest[size]);
    size = std::min(size, rest.size());
    auto word = rest.substr(0, size);
    if (word.empty() || std::find(stop.begin(), stop.end(), lowered(word)) != stop.end())
      break;
    bool named = is_upper(word[0]) || is_high(word[0]);
    if (words == 0) {
      capital = named;
      if (must_be_capital && !named)
        break;
    } else if (capital && !named)
      break;
    if (!name.empty())
      name += ' ';
    name += word;
    rest.remove_prefix(size);
  }
  while (!name.empty() && (name.back() == '-' || name.back() == '\''))
    name.pop_back();
  return name;
}

std::string chinese_name(std::string_view rest, bool loose) {
  rest.remove_prefix(std::min(rest.find_first_not_of(" :“\""), rest.size()));
  std::size_t end = 0;
  int characters = 0;
  while (end < rest.size()) {
    auto here = rest.substr(end);
    bool over = false;
    for (auto mark : {"，"sv, "。"sv, "！"sv, "？"sv, "、"sv, "；"sv, "”"sv, "："sv, "（"sv, "你"sv,
                      "请"sv, "今年"sv, "来自"sv, "呢"sv, "吗"sv})
      over = over || here.starts_with(mark);
    if (over || ",.!?;\n\r\t\"("sv.find(here[0]) != std::string_view::npos)
      break;
    end += std::min(char_length(here[0]), here.size());
    ++characters;
  }
  auto name = rest.substr(0, end);
  while (name.ends_with(' '))
    name.remove_suffix(1);
  if (characters > (loose ? 24 : 12))
    return {};
  for (auto no : {"什么"sv, "啥"sv, "谁"sv})
    if (name.find(no) != name.npos)
      return {};
  // "我是一个学生", "我是来…的": not a name
  if (!loose && (name.starts_with("一") || name.starts_with("不") || name.starts_with("来") ||
                 name.find("的") != name.npos))
    return {};
  return std::string{name};
}

// The number after the words, and the words that follow it.
bool number_after(std::string_view low, std::string_view words, std::int64_t& n,
                  std::string_view& rest) {
  auto at = low.find(words);
  if (at == low.npos)
    return false;
  rest = low.substr(at + words.size());
  rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
  auto [end, ec] = std::from_chars(rest.data(), rest.data() + rest.size(), n);
  if (ec != std::errc{})
    return false;
  rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
  return n > 0;
}

std::string counted(std::int64_t n) {
  std::string out;
  for (std::int64_t i = 1; i <= std::min<std::int64_t>(n, 100'000); ++i) {
    if (i > 1)
      out += ' ';
    out += std::to_string(i);
  }
  return out;
}

std::string words_of(std::int64_t n) {
  constexpr std::array list{"the"sv,  "river"sv, "runs"sv, "past"sv,  "an"sv,  "old"sv,
                            "mill"sv, "and"sv,   "we"sv,   "count"sv, "its"sv, "stones"sv};
  std::string out;
  for (std::int64_t i = 0; i < std::min<std::int64_t>(n, 1'000'000); ++i) {
    if (i > 0)
      out += ' ';
    out += list[static_cast<std::size_t>(i) % list.size()];
  }
  return out;
}

// The text of a message, also when it consists of parts.
std::string text_of(const message& m) {
  if (!m.extra.starts_with('['))
    return m.content;
  boost::json::error_code ec;
  auto parts = boost::json::parse(std::string_view{m.extra}, ec);
  std::string out;
  if (!ec && parts.is_array())
    for (auto& p : parts.get_array())
      if (auto* o = p.if_object())
        if (auto* t = o->if_contains("text"); t && t->is_string())
          out += (out.empty() ? "" : "\n") + std::string{t->get_string()};
  return out.empty() ? m.content : out;
}

std::string plain_answer(const std::vector<message>& messages) {
  std::string last;
  for (auto i = messages.rbegin(); i != messages.rend(); ++i)
    if (i->who == role::user) {
      last = text_of(*i);
      break;
    }
  auto low = lowered(last);
  auto chinese = has_chinese(last);
  if (auto at = low.find("echo:"); at == 0) {
    auto said = std::string_view{last}.substr(5);
    said.remove_prefix(std::min(said.find_first_not_of(' '), said.size()));
    if (!said.empty())
      return std::string{said};
  }
  if (asks_name(last, low)) {
    for (auto i = messages.rbegin(); i != messages.rend(); ++i)
      if (i->who == role::user)
        if (auto name = told_name(text_of(*i)); !name.empty())
          return chinese ? "你叫" + name + "。" : "Your name is " + name + ".";
    return chinese ? "我还不知道你的名字。" : "I don't know your name yet.";
  }
  std::int64_t n = 0;
  std::string_view rest;
  if (number_after(low, "count to ", n, rest) || number_after(last, "数到", n, rest))
    return counted(n);
  for (auto verb : {"repeat "sv, "write "sv, "say "sv, "写"sv, "重复"sv})
    if (number_after(low, verb, n, rest))
      for (auto unit : {" word"sv, " token"sv, "个词"sv, " 个词"sv})
        if (rest.starts_with(unit))
          return words_of(n);
  if (auto name = told_name(last); !name.empty())
    return chinese ? "你好，" + name + "！" : "Hello " + name + "!";
  auto seen = std::to_string(messages.size());
  if (chinese)
    return "我是排练模型，到现在为止读到了 " + seen + " 条消息。请继续说吧！";
  return "I am the rehearsal model and have read " + seen +
         (messages.size() == 1 ? " message" : " messages") + " so far. Please go on!";
}

} // namespace

std::string told_name(std::string_view text) {
  auto low = lowered(text);
  struct pattern {
    std::string_view words;
    bool strict; // also begins sentences that tell no name
  };
  for (auto [words, strict] : {pattern{"my name is", false}, pattern{"my name's", false},
                               pattern{"call me", false}, pattern{"i am called", false},
                               pattern{"i am", true}, pattern{"i'm", true}, pattern{"i’m", true}}) {
    if (auto at = find_words(low, words); at != low.npos)
      if (auto name = english_name(text.substr(at + words.size()), strict); !name.empty())
        return name;
  }
  for (auto [words, strict] :
       {pattern{"我的名字是", false}, pattern{"我的名字叫", false}, pattern{"我名叫", false},
        pattern{"我叫", false}, pattern{"叫我", false}, pattern{"我是", true}}) {
    for (auto at = text.find(words); at != text.npos; at = text.find(words, at + 1))
      if (auto name = chinese_name(text.substr(at + words.size()), !strict); !name.empty())
        return name;
  }
  return {};
}

std::string_view next_piece(std::string_view text, std::size_t at) {
  constexpr std::size_t longest = 16;
  auto rest = text.substr(std::min(at, text.size()));
  std::size_t size = 0;
  int wide = 0;
  while (size < rest.size()) {
    auto c = rest[size];
    if (c == ' ' || c == '\n') {
      while (size < rest.size() && size < longest && (rest[size] == ' ' || rest[size] == '\n'))
        ++size;
      break;
    }
    if (is_wide(c) ? (wide == 0 && size > 0) || wide == 2 : wide > 0)
      break;
    auto length = std::min(char_length(c), rest.size() - size);
    if (size > 0 && size + length > longest)
      break;
    wide += is_wide(c);
    size += length;
  }
  return rest.substr(0, size);
}

std::string rehearsal_answer(const std::vector<message>& messages, const model_settings& settings) {
  auto plain = plain_answer(messages);
  auto document = sample_for_format(settings.response_format, plain);
  return document.empty() ? plain : document;
}

} // namespace parlor::llm
