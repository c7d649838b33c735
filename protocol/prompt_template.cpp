#include "protocol/prompt_template.hpp"

#include "protocol/json.hpp"

#include <boost/json.hpp>

#include <algorithm>

namespace parlor {

namespace {

std::string_view trim(std::string_view s) {
  auto is_space = [](char c) { return c == ' ' || c == '\t'; };
  while (!s.empty() && is_space(s.front()))
    s.remove_prefix(1);
  while (!s.empty() && is_space(s.back()))
    s.remove_suffix(1);
  return s;
}

bool is_name(std::string_view s) {
  return !s.empty() && std::all_of(s.begin(), s.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  });
}

std::string joined(const prompt_template::place& p, std::size_t members) {
  auto out = p.source;
  for (std::size_t i = 0; i < members; ++i)
    out += "." + p.members[i];
  return out;
}

/// The text of `{{…}}` without the braces.
std::optional<prompt_template::place> read_place(std::string_view text) {
  prompt_template::place out;
  if (auto bar = text.find('|'); bar != text.npos) {
    out.otherwise = trim(text.substr(bar + 1));
    text = text.substr(0, bar);
  }
  text = trim(text);
  std::vector<std::string> names;
  for (;;) {
    auto dot = std::min(text.find('.'), text.size());
    if (!is_name(text.substr(0, dot)))
      return std::nullopt;
    names.emplace_back(text.substr(0, dot));
    if (dot == text.size())
      break;
    text.remove_prefix(dot + 1);
  }
  out.source = std::move(names.front());
  out.members.assign(std::make_move_iterator(names.begin() + 1),
                     std::make_move_iterator(names.end()));
  return out;
}

} // namespace

std::optional<prompt_template> prompt_template::parse(std::string_view text, template_fault& why) {
  prompt_template out;
  std::string plain;
  std::size_t line = 1;
  for (std::size_t i = 0; i < text.size();) {
    auto rest = text.substr(i);
    if (rest.starts_with("\\{{")) {
      plain += "{{";
      i += 3;
    } else if (rest.starts_with("{{")) {
      auto end = rest.find("}}");
      auto inside = rest.substr(2, end == rest.npos ? end : end - 2);
      if (end == rest.npos || inside.find('\n') != inside.npos) {
        why = {
            line, "{{ is not closed in its line; write \\{{ for the characters themselves", {}, {}};
        return std::nullopt;
      }
      auto place = read_place(inside);
      if (!place) {
        why = {line, "{{" + std::string{inside} + "}} must be like {{request.member}}", {}, {}};
        return std::nullopt;
      }
      place->line = line;
      out.texts_.push_back(std::move(plain));
      out.places_.push_back(std::move(*place));
      plain.clear();
      i += end + 2;
    } else {
      line += rest[0] == '\n';
      plain += rest[0];
      ++i;
    }
  }
  out.texts_.push_back(std::move(plain));
  return out;
}

std::optional<template_fault> prompt_template::check(const schemas& sources) const {
  for (auto& p : places_) {
    auto source = sources.find(p.source);
    if (source == sources.end()) {
      template_fault fault{p.line, "there is no " + p.source + " here", p.source, {}};
      for (auto& s : sources)
        fault.known.push_back(s.first);
      return fault;
    }
    std::size_t at = 0;
    std::vector<const json::rule*> inside;
    if (!json::declares(source->second->root(), p.members, at, inside)) {
      template_fault fault{p.line,
                           "the schema of " + joined(p, at) + " declares no " + p.members[at],
                           p.members[at],
                           {}};
      for (auto* r : inside)
        for (auto& name : json::declared_members(*r))
          fault.known.push_back(name);
      return fault;
    }
  }
  return std::nullopt;
}

std::string prompt_template::render(const values& sources) const {
  auto out = texts_.front();
  for (std::size_t i = 0; i < places_.size(); ++i) {
    auto& p = places_[i];
    std::string_view value;
    if (auto source = sources.find(p.source); source != sources.end())
      value = source->second;
    for (auto& name : p.members)
      value = json::raw_member(value, name); // empty when it is no object, or has no such member
    if (value.empty() || value == "null") {
      out += p.otherwise;
    } else if (value.front() == '"') {
      json::fault why{};
      auto text = json::parse(value, why);
      if (auto* s = text.if_string())
        out.append(s->data(), s->size());
    } else {
      out += value;
    }
    out += texts_[i + 1];
  }
  return out;
}

} // namespace parlor
