#pragma once
// The JSON of our documents: a bounded reader and a writer with one layout. Unsigned integers,
// text, null, arrays and objects; no booleans, no fractions.
#include <cstdint>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "repo/document.h"
#include "sealane/base/seams.h"

namespace sealane::repo {

struct JsonLimits {
  std::size_t size = 0;    // bytes, compared before anything is parsed
  std::size_t values = 0;  // of all kinds: bounds the memory of the tree
};
inline constexpr std::size_t kMaxJsonDepth = 8;

struct JsonMember;
struct JsonValue {
  std::variant<std::nullptr_t, std::uint64_t, std::string, std::vector<JsonValue>,
               std::vector<JsonMember>>
      value;
};
struct JsonMember {
  std::string key;
  JsonValue value;
};

// Refuses what our documents never hold: doubles, negative numbers, booleans, duplicate keys.
Result<JsonValue, DocumentError> parse_json(std::string_view text, const JsonLimits& limits);

// The fields of one object, taken in their order.
class FieldReader {
 public:
  // kUnknownField, kMissingField, or kNotCanonical if `value` has not exactly `fields`, in order.
  // `value` must outlive the reader.
  static Result<FieldReader, DocumentError> open(const JsonValue& value,
                                                 std::initializer_list<std::string_view> fields);

  Result<std::uint64_t, DocumentError> number(std::uint64_t minimum, std::uint64_t maximum);
  // Text as written by JsonWriter::text(): any bytes, at most `limit` of them.
  Result<std::string, DocumentError> text(std::size_t limit);
  Result<WallTime, DocumentError> time();
  Result<ByteArray<32>, DocumentError> digest();
  // Plain text that `valid` accepts: names, ids, fingerprints.
  Result<std::string, DocumentError> matching(bool (*valid)(std::string_view));
  Result<const std::vector<JsonValue>*, DocumentError> array(std::size_t max_count);
  Result<const std::vector<JsonMember>*, DocumentError> object(std::size_t max_count);
  const JsonValue& any() { return next().value; }
  bool is_null() const;  // of the next field, which stays the next one
  // The fault kBadValue of the field read last.
  DocumentError bad_value() const;

 private:
  explicit FieldReader(const std::vector<JsonMember>& members) : members_(&members) {}
  const JsonMember& next();
  const std::vector<JsonMember>* members_;
  std::size_t index_ = 0;
};

// Parses a whole document: its object has exactly `fields`, the first is "format": 1.
// `read` takes a FieldReader that stands behind "format" and fills the value; `encode` is compared
// with the text, so that every value has one encoding.
template <class Value>
Result<Value, DocumentError> decode_document(std::string_view text, const JsonLimits& limits,
                                             std::initializer_list<std::string_view> fields,
                                             Result<Value, DocumentError> (*read)(FieldReader&),
                                             std::string (*encode)(const Value&)) {
  SEALANE_TRY(const JsonValue tree, parse_json(text, limits));
  SEALANE_TRY(FieldReader reader, FieldReader::open(tree, fields));
  SEALANE_TRY(reader.number(kFormat, kFormat));
  SEALANE_TRY(Value value, read(reader));
  if (encode(value) != text) return DocumentError{DocumentFault::kNotCanonical, {}};
  return value;
}

// Any bytes as printable UTF-8: a backslash is doubled, control and invalid bytes become \xNN.
std::string escape_text(std::string_view bytes);
// Nothing unless escape_text() wrote it.
std::optional<std::string> unescape_text(std::string_view text);

// Writes an object, its members one per line; elements of arrays one per line; objects in arrays on
// one line. The text ends with a line feed.
class JsonWriter {
 public:
  JsonWriter();
  JsonWriter& key(std::string_view name);
  JsonWriter& number(std::uint64_t value);
  JsonWriter& text(std::string_view bytes);  // escaped as above
  JsonWriter& plain(
      std::string_view ascii);  // REQUIRES: printable ASCII without quote or backslash
  JsonWriter& time(WallTime value);
  JsonWriter& digest(const ByteArray<32>& value);
  JsonWriter& null();
  enum class Layout : std::uint8_t { kLines, kInline };
  JsonWriter& begin_object(Layout layout = Layout::kLines);
  JsonWriter& begin_array();
  JsonWriter& end();
  std::string finish();  // ends the outermost object

 private:
  struct Level {
    bool array = false;
    Layout layout = Layout::kLines;
    bool empty = true;
  };
  void separate();
  void new_line();
  void quote(std::string_view text);
  std::string out_;
  std::vector<Level> levels_;
  bool after_key_ = false;
};

}  // namespace sealane::repo
