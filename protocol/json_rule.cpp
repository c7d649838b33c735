#include "protocol/json_rule.hpp"

#include <boost/json.hpp>

#include <algorithm>
#include <cmath>

namespace parlor::json {

void make_normal(boost::json::value& v) {
  constexpr double exact = 9007199254740992.0; // 2^53
  if (auto* object = v.if_object()) {
    for (auto& member : *object)
      make_normal(member.value());
  } else if (auto* array = v.if_array()) {
    for (auto& item : *array)
      make_normal(item);
  } else if (auto* text = v.if_string()) {
    if (text->find('\0') == text->npos)
      return;
    std::string out;
    for (char c : *text)
      c == '\0' ? void(out += "\xef\xbf\xbd") : void(out += c);
    v = out;
  } else if (auto* d = v.if_double()) {
    if (std::trunc(*d) == *d && std::abs(*d) <= exact)
      v = static_cast<std::int64_t>(*d);
  } else if (auto* u = v.if_uint64()) {
    if (*u <= static_cast<std::uint64_t>(INT64_MAX))
      v = static_cast<std::int64_t>(*u);
    else
      v = static_cast<double>(*u);
  }
}

type_bits type_of(const boost::json::value& v) noexcept {
  switch (v.kind()) {
  case boost::json::kind::null:
    return is_null;
  case boost::json::kind::bool_:
    return is_boolean;
  case boost::json::kind::int64:
  case boost::json::kind::uint64:
    return is_integer;
  case boost::json::kind::double_:
    return is_fraction;
  case boost::json::kind::string:
    return is_string;
  case boost::json::kind::array:
    return is_array;
  case boost::json::kind::object:
    return is_object;
  }
  return is_null;
}

std::string name_types(std::uint8_t types) {
  std::vector<std::string_view> names;
  auto name = [&](std::uint8_t bits, std::string_view text) {
    if ((types & bits) == bits)
      names.push_back(text);
  };
  name(is_object, "an object");
  name(is_array, "an array");
  name(is_string, "a string");
  if ((types & is_number) == is_number)
    names.emplace_back("a number");
  else
    name(is_integer, "an integer");
  if ((types & is_number) == is_fraction)
    names.emplace_back("a number with a fraction");
  name(is_boolean, "true or false");
  name(is_null, "null");
  std::string out;
  for (std::size_t i = 0; i < names.size(); ++i) {
    out += i == 0 ? "" : i + 1 < names.size() ? ", " : " or ";
    out += names[i];
  }
  return out;
}

bool is_multiple(const boost::json::value& number, const boost::json::value& of) noexcept {
  if (number.is_int64() && of.is_int64())
    return number.get_int64() % of.get_int64() == 0; // `of` is positive
  auto as_double = [](const boost::json::value& v) {
    return v.is_int64() ? static_cast<double>(v.get_int64()) : v.get_double();
  };
  auto quotient = as_double(number) / as_double(of);
  return std::abs(quotient - std::round(quotient)) <= 1e-9 * std::max(1.0, std::abs(quotient));
}

std::uint64_t count_characters(std::string_view text) noexcept {
  return static_cast<std::uint64_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string pointer_token(std::string_view name) {
  std::string out = "/";
  for (char c : name) {
    if (c == '~')
      out += "~0";
    else if (c == '/')
      out += "~1";
    else
      out += c;
  }
  return out;
}

namespace {

/// Calls `f` on the rule and those that may speak about the same value.
template <class F>
void in_place(const rule& r, F& f) {
  f(r);
  for (auto* a : r.all)
    in_place(*a, f);
  for (auto* lists : {&r.any, &r.one})
    for (auto& list : *lists)
      for (auto* b : list)
        in_place(*b, f);
  for (auto* b : {r.then, r.otherwise})
    if (b != nullptr)
      in_place(*b, f);
}

} // namespace

std::vector<std::string> declared_members(const rule& r) {
  std::vector<std::string> names;
  auto collect = [&](const rule& x) {
    for (auto& p : x.properties)
      names.push_back(p.first);
  };
  in_place(r, collect);
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

bool declares(const rule& root, const std::vector<std::string>& path, std::size_t& at,
              std::vector<const rule*>& inside) {
  inside = {&root};
  for (at = 0; at < path.size(); ++at) {
    std::vector<const rule*> next;
    for (auto* r : inside) {
      auto step = [&](const rule& x) {
        if ((x.types & is_object) == 0)
          return;
        if (auto found = x.properties.find(path[at]); found != x.properties.end()) {
          if (found->second->types != 0)
            next.push_back(found->second);
        } else if (x.additional != nullptr) {
          next.push_back(x.additional);
        }
      };
      in_place(*r, step);
    }
    if (next.empty())
      return false;
    std::sort(next.begin(), next.end());
    next.erase(std::unique(next.begin(), next.end()), next.end());
    inside = std::move(next);
  }
  return true;
}

} // namespace parlor::json
