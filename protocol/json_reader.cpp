#include "protocol/json_reader.hpp"

#include <boost/json.hpp>
#include <boost/json/basic_parser_impl.hpp>

namespace parlor::json {

namespace {

namespace bj = boost::json;

/// The events of Boost.JSON, to those of the checker.
struct handler {
  static constexpr std::size_t max_array_size = SIZE_MAX;
  static constexpr std::size_t max_object_size = SIZE_MAX;
  static constexpr std::size_t max_string_size = SIZE_MAX;
  static constexpr std::size_t max_key_size = SIZE_MAX;

  explicit handler(checker& to) : out{to} {}

  checker& out;
  std::string name; // of a member, until it is whole

  bool on_document_begin(bj::error_code&) { return true; }
  bool on_document_end(bj::error_code&) { return true; }
  bool on_object_begin(bj::error_code&) { return out.object_begins(), true; }
  bool on_object_end(std::size_t, bj::error_code&) { return out.object_ends(), true; }
  bool on_array_begin(bj::error_code&) { return out.array_begins(), true; }
  bool on_array_end(std::size_t, bj::error_code&) { return out.array_ends(), true; }
  bool on_key_part(bj::string_view s, std::size_t, bj::error_code&) {
    name.append(s.data(), s.size());
    return true;
  }
  bool on_key(bj::string_view s, std::size_t, bj::error_code&) {
    name.append(s.data(), s.size());
    out.member(name);
    name.clear();
    return true;
  }
  bool on_string_part(bj::string_view s, std::size_t, bj::error_code&) {
    return out.text_part({s.data(), s.size()}), true;
  }
  bool on_string(bj::string_view s, std::size_t, bj::error_code&) {
    return out.text_end({s.data(), s.size()}), true;
  }
  bool on_number_part(bj::string_view, bj::error_code&) { return out.number_begins(), true; }
  bool on_int64(std::int64_t i, bj::string_view, bj::error_code&) { return out.number(i), true; }
  bool on_uint64(std::uint64_t u, bj::string_view, bj::error_code&) { return out.number(u), true; }
  bool on_double(double d, bj::string_view, bj::error_code&) { return out.number(d), true; }
  bool on_bool(bool b, bj::error_code&) { return out.literal(b), true; }
  bool on_null(bj::error_code&) { return out.literal(nullptr), true; }
  bool on_comment_part(bj::string_view, bj::error_code&) { return true; }
  bool on_comment(bj::string_view, bj::error_code&) { return true; }
};

bj::parse_options options() {
  bj::parse_options o;
  o.max_depth = 64;
  return o;
}

} // namespace

struct reader::impl {
  explicit impl(checker& to) : parser{options(), to} {}
  bj::basic_parser<handler> parser;
};

reader::reader(checker& to) : impl_{std::make_unique<impl>(to)} {}
reader::~reader() = default;

bool reader::write(std::string_view piece, bool last) {
  bj::error_code error;
  auto taken = impl_->parser.write_some(!last, piece.data(), piece.size(), error);
  return !error && taken == piece.size();
}

} // namespace parlor::json
