#pragma once
// Command lines of the load generators: "--name value" pairs, and flags without a value.

#include <charconv>
#include <concepts>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace bench {

using setter = std::function<void(const std::string& value)>;

template <class T>
requires std::integral<T> || std::floating_point<T> setter to(T& out) {
  return [&out](const std::string& text) {
    auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), out);
    if (fault != std::errc{} || end != text.data() + text.size())
      throw std::invalid_argument("no such number: " + text);
  };
}
inline setter to(std::string& out) {
  return [&out](const std::string& text) { out = text; };
}
/// May be given more than once.
inline setter to(std::vector<int>& out) {
  return [&out](const std::string& text) { to(out.emplace_back())(text); };
}

inline void read_arguments(int argc, char** argv, const std::map<std::string_view, setter>& options,
                           const std::map<std::string_view, bool*>& flags = {}) {
  for (int i = 1; i < argc; ++i) {
    std::string name = argv[i];
    if (auto flag = flags.find(name); flag != flags.end()) {
      *flag->second = true;
      continue;
    }
    auto option = options.find(name);
    if (option == options.end())
      throw std::invalid_argument("unknown option " + name);
    if (++i == argc)
      throw std::invalid_argument(name + " needs a value");
    option->second(argv[i]);
  }
}

} // namespace bench
