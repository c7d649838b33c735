#include "protocol/json_check.hpp"

#include <boost/json.hpp>
#include <re2/re2.h>

#include <algorithm>
#include <cmath>

namespace parlor::json {

namespace {

constexpr std::size_t max_scopes = 20'000;
constexpr std::size_t max_text = 64 * 1024; // of a string that patterns are tried on early
constexpr std::size_t max_excerpt = 40;
constexpr std::size_t max_pointer = 300;

// Cut between characters.
std::string excerpt(std::string_view text, std::size_t most) {
  if (text.size() <= most)
    return std::string{text};
  while (most > 0 && (text[most] & 0xc0) == 0x80)
    --most;
  return std::string{text.substr(0, most)} + "…";
}

std::string shown(const boost::json::value& v) {
  if (v.is_string())
    return "\"" + excerpt({v.get_string().data(), v.get_string().size()}, max_excerpt) + "\"";
  if (v.is_double()) {
    char text[32];
    std::snprintf(text, sizeof text, "%.15g", v.get_double());
    return text;
  }
  return excerpt(boost::json::serialize(v), max_excerpt);
}

std::string shown(double d) { return shown(boost::json::value(d)); }

std::string list_of(const std::vector<boost::json::value>& values) {
  constexpr std::size_t most = 12;
  std::string out = values.size() == 1 ? "must be " : "must be one of ";
  for (std::size_t i = 0; i < values.size() && i < most; ++i)
    out += (i == 0 ? "" : ", ") + shown(values[i]);
  return out + (values.size() > most ? ", …" : "");
}

std::string counted(std::string_view words, std::uint64_t n, std::string_view one) {
  auto out = std::string{words} + " " + std::to_string(n) + " " + std::string{one};
  return n == 1 ? out : one == "entry" ? out.replace(out.size() - 1, 1, "ies") : out + "s";
}

} // namespace

std::string to_string(const violation& v) {
  return (v.pointer.empty() ? "the document" : v.pointer) + " " + v.text;
}

std::string to_string(const std::vector<violation>& list) {
  std::string out;
  for (auto& v : list)
    out += (out.empty() ? "- " : "\n- ") + to_string(v);
  return out;
}

checker::checker(const rule& root, std::size_t max_violations)
    : root_{&root}, most_{std::max<std::size_t>(max_violations, 1)} {}

// -- scopes -------------------------------------------------------------------------------------

bool checker::idle(const scope& s) const {
  if (s.muted)
    return true;
  for (auto b = s.branch; b >= 0;) {
    auto& branch = scopes_[static_cast<std::size_t>(b)];
    if (branch.dead)
      return true;
    b = branch.parent < 0 ? -1 : scopes_[static_cast<std::size_t>(branch.parent)].branch;
  }
  return false;
}

void checker::add(const rule& asks, int parent, int choice_index) {
  if (scopes_.size() >= max_scopes) {
    ended_ = true;
    return;
  }
  auto me = static_cast<int>(scopes_.size());
  auto branch = choice_index >= 0 ? me
                : parent < 0      ? -1
                                  : scopes_[static_cast<std::size_t>(parent)].branch;
  scopes_.push_back({&asks, parent, choice_index, branch});
  for (auto* a : asks.all)
    add(*a, me, -1);
  for (auto* lists : {&asks.any, &asks.one})
    for (auto& list : *lists) {
      auto c = static_cast<int>(choices_.size());
      choices_.push_back({me, list.size(), list.size()});
      for (auto* b : list)
        add(*b, me, c);
    }
}

template <class F>
void checker::each(std::size_t from, std::size_t to, F f) {
  for (auto i = from; i < to && !ended_; ++i)
    if (!idle(scopes_[i]))
      f(i, *scopes_[i].asks);
}

// An alternative that fails takes only itself along, until it is the last one.
void checker::fail(std::size_t index, const std::string& text, const std::string& at,
                   bool of_type) {
  auto why = text;
  for (auto i = static_cast<int>(index); i >= 0;) {
    auto& s = scopes_[static_cast<std::size_t>(i)];
    if (s.choice < 0) {
      i = s.parent;
      continue;
    }
    auto& c = choices_[static_cast<std::size_t>(s.choice)];
    if (s.dead)
      return;
    s.dead = true;
    c.other_type += of_type ? 1 : 0;
    if (--c.alive > 0)
      return;
    i = c.owner;
    // "or null" beside the one form that was meant needs no mention.
    auto only_meant = !of_type && c.other_type + 1 == c.all;
    if (!only_meant && !why.starts_with("fits none"))
      why = "fits none of the allowed forms; in the last one it " + why;
  }
  found_.push_back({excerpt(at, max_pointer), why});
  ended_ = ended_ || found_.size() >= most_;
}

std::string checker::pointer(bool of_container) const {
  std::string out;
  for (std::size_t i = 0; i + (of_container ? 1 : 0) < frames_.size(); ++i)
    out += frames_[i].object ? pointer_token(frames_[i].name)
                             : "/" + std::to_string(frames_[i].count - 1);
  return out;
}

// -- values -------------------------------------------------------------------------------------

bool checker::begins(std::uint8_t types) {
  first_ = scopes_.size();
  first_choice_ = choices_.size();
  if (frames_.empty()) {
    add(*root_, -1, -1);
  } else {
    auto& top = frames_.back();
    if (!top.object) {
      ++top.count;
      each(top.first, top.last, [&](std::size_t i, const rule& r) {
        if (r.max_items && top.count == *r.max_items + 1)
          fail(i, counted("must have at most", *r.max_items, "item"), pointer(true));
      });
    }
    for (auto i = top.first; i < top.last && !ended_; ++i) {
      if (idle(scopes_[i]))
        continue;
      auto& r = *scopes_[i].asks;
      const rule* child = r.items;
      if (top.object) {
        auto found = r.properties.find(top.name);
        child = found != r.properties.end() ? found->second : r.additional;
      }
      if (child != nullptr)
        add(*child, static_cast<int>(i), -1);
    }
  }
  check_type(types);
  return first_ < scopes_.size();
}

void checker::ends() {
  scopes_.resize(first_, scope{nullptr, -1, -1, -1});
  choices_.resize(first_choice_);
}

void checker::check_type(std::uint8_t types) {
  each(first_, scopes_.size(), [&](std::size_t i, const rule& r) {
    if ((r.types & types) != 0)
      return;
    scopes_[i].muted = true;
    fail(i,
         r.types == 0 ? "is not allowed"
                      : "must be " + name_types(r.types) + ", not " + name_types(types),
         pointer(false), true);
  });
}

void checker::check_values(const boost::json::value& v) {
  each(first_, scopes_.size(), [&](std::size_t i, const rule& r) {
    for (auto& values : r.allowed)
      if (std::find(values.begin(), values.end(), v) == values.end())
        fail(i, list_of(values) + ", not " + shown(v), pointer(false));
  });
}

void checker::literal(const boost::json::value& v) {
  if (ended_)
    return;
  if (begins(type_of(v)))
    check_values(v);
  ends();
}

void checker::number_begins() {
  if (ended_ || in_number_)
    return;
  in_number_ = true;
  begins(is_number);
}

void checker::number(boost::json::value v) {
  number_begins();
  in_number_ = false;
  if (ended_)
    return;
  make_normal(v);
  auto n = v.is_int64() ? static_cast<double>(v.get_int64()) : v.get_double();
  if (!std::isfinite(n))
    found_.push_back({pointer(false), "is too large a number"}), ended_ = true;
  check_type(type_of(v));
  check_values(v);
  each(first_, scopes_.size(), [&](std::size_t i, const rule& r) {
    auto at = [&] { return pointer(false); };
    if (r.minimum && n < *r.minimum)
      fail(i, "must be at least " + shown(*r.minimum) + ", not " + shown(v), at());
    if (r.maximum && n > *r.maximum)
      fail(i, "must be at most " + shown(*r.maximum) + ", not " + shown(v), at());
    if (r.above && n <= *r.above)
      fail(i, "must be greater than " + shown(*r.above) + ", not " + shown(v), at());
    if (r.below && n >= *r.below)
      fail(i, "must be less than " + shown(*r.below) + ", not " + shown(v), at());
    if (r.multiple_of && !is_multiple(v, *r.multiple_of))
      fail(i, "must be a multiple of " + shown(*r.multiple_of) + ", not " + shown(v), at());
  });
  ends();
}

void checker::text_part(std::string_view part) {
  if (ended_)
    return;
  if (!in_text_) {
    in_text_ = true;
    text_.clear();
    text_cut_ = false;
    characters_ = 0;
    begins(is_string);
  }
  characters_ += count_characters(part);
  if (text_.size() <= max_text)
    text_ += part;
  else
    text_cut_ = text_cut_ || !part.empty();
  check_text(false);
}

void checker::text_end(std::string_view part) {
  text_part(part);
  in_text_ = false;
  if (ended_)
    return;
  check_text(true);
  ends();
}

void checker::check_text(bool whole) {
  auto at = [&] { return pointer(false); };
  each(first_, scopes_.size(), [&](std::size_t i, const rule& r) {
    if (r.max_length && characters_ > *r.max_length) {
      scopes_[i].muted = true;
      fail(i, counted("must have at most", *r.max_length, "character"), at());
      return;
    }
    for (auto& values : r.allowed) {
      auto fits = [&](const boost::json::value& v) {
        if (!v.is_string())
          return false;
        std::string_view text{v.get_string().data(), v.get_string().size()};
        return whole && !text_cut_ ? text == text_ : text.starts_with(text_);
      };
      if (std::none_of(values.begin(), values.end(), fits)) {
        scopes_[i].muted = true;
        fail(i, list_of(values) + ", not \"" + excerpt(text_, max_excerpt) + "\"", at());
        return;
      }
    }
    if (!whole)
      return;
    if (r.min_length && characters_ < *r.min_length)
      fail(i, counted("must have at least", *r.min_length, "character"), at());
    if (!text_cut_)
      for (auto& p : r.patterns)
        if (!re2::RE2::PartialMatch(re2::StringPiece{text_.data(), text_.size()}, *p.expression))
          fail(i, p.told, at());
  });
}

// -- containers ---------------------------------------------------------------------------------

void checker::opens(bool object) {
  if (ended_)
    return;
  begins(object ? is_object : is_array);
  frame f{first_, scopes_.size(), first_choice_, object};
  frames_.push_back(std::move(f));
}

void checker::object_begins() { opens(true); }
void checker::array_begins() { opens(false); }

void checker::member(std::string_view name) {
  if (ended_)
    return;
  auto& top = frames_.back();
  top.name = name;
  if (!top.names.emplace(name).second) {
    found_.push_back({excerpt(pointer(false), max_pointer), "is there twice"});
    ended_ = true;
    return;
  }
  ++top.count;
  each(top.first, top.last, [&](std::size_t i, const rule& r) {
    if (r.closed && !r.properties.contains(name))
      fail(i, "is not allowed there", pointer(false));
    if (r.max_properties && top.count == *r.max_properties + 1)
      fail(i, counted("must have at most", *r.max_properties, "entry"), pointer(true));
  });
}

void checker::object_ends() {
  if (ended_)
    return;
  auto& top = frames_.back();
  each(top.first, top.last, [&](std::size_t i, const rule& r) {
    for (auto& name : r.required)
      if (!top.names.contains(name) && !ended_)
        fail(i, "is missing", pointer(true) + pointer_token(name));
    if (r.min_properties && top.count < *r.min_properties)
      fail(i, counted("must have at least", *r.min_properties, "entry"), pointer(true));
  });
  first_ = top.first;
  first_choice_ = top.choices;
  frames_.pop_back();
  ends();
}

void checker::array_ends() {
  if (ended_)
    return;
  auto& top = frames_.back();
  each(top.first, top.last, [&](std::size_t i, const rule& r) {
    if (r.min_items && top.count < *r.min_items)
      fail(i, counted("must have at least", *r.min_items, "item"), pointer(true));
  });
  first_ = top.first;
  first_choice_ = top.choices;
  frames_.pop_back();
  ends();
}

void checker::tell(const boost::json::value& v) {
  if (ended_)
    return;
  switch (v.kind()) {
  case boost::json::kind::string:
    return text_end({v.get_string().data(), v.get_string().size()});
  case boost::json::kind::int64:
  case boost::json::kind::uint64:
  case boost::json::kind::double_:
    return number(v);
  case boost::json::kind::array:
    array_begins();
    for (auto& item : v.get_array())
      tell(item);
    return array_ends();
  case boost::json::kind::object:
    object_begins();
    for (auto& m : v.get_object()) {
      member({m.key().data(), m.key().size()});
      tell(m.value());
    }
    return object_ends();
  default:
    literal(v);
  }
}

} // namespace parlor::json
