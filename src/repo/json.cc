#include "repo/json.h"

#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/copy_bytes.h"
#include "sealane/base/result.h"

namespace sealane::repo {
namespace {

constexpr std::size_t kNoLimit = static_cast<std::size_t>(-1);

DocumentError fault(DocumentFault kind, std::string_view field = {}) {
  return {.fault = kind, .field = printable(field, 64)};
}

// Builds the tree while nlohmann's parser walks the text; returning false stops it. With these
// callbacks the parser throws nothing: its errors come in as parse_error.
class TreeBuilder final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit TreeBuilder(std::size_t max_values) : values_left_(max_values) {}

  bool null() override { return add(JsonValue{nullptr}); }
  bool boolean(bool) override { return stop(DocumentFault::kBadValue); }
  bool number_integer(number_integer_t) override { return stop(DocumentFault::kNumber); }
  bool number_unsigned(number_unsigned_t value) override {
    // It is the first field: what a later format has behind it is never looked at.
    if (open_.size() == 1 && key_ == "format" && value > kFormat) {
      return stop(DocumentFault::kNewerFormat);
    }
    return add(JsonValue{static_cast<std::uint64_t>(value)});
  }
  bool number_float(number_float_t, const string_t&) override {
    return stop(DocumentFault::kNumber);
  }
  bool string(string_t& value) override { return add(JsonValue{std::move(value)}); }
  bool binary(binary_t&) override { return stop(DocumentFault::kNotJson); }
  bool start_object(std::size_t) override { return enter(JsonValue{std::vector<JsonMember>{}}); }
  bool start_array(std::size_t) override { return enter(JsonValue{std::vector<JsonValue>{}}); }
  bool end_object() override { return leave(); }
  bool end_array() override { return leave(); }
  bool key(string_t& name) override {
    auto& members = std::get<std::vector<JsonMember>>(open_.back().value);
    for (const JsonMember& member : members) {
      if (member.key == name) {
        key_ = name;
        return stop(DocumentFault::kDuplicateField);
      }
    }
    if (members.size() >= kMaxMembers) return stop(DocumentFault::kTooLarge);
    key_ = name;
    members.push_back({std::move(name), {}});
    return true;
  }
  bool parse_error(std::size_t, const std::string&,
                   const nlohmann::detail::exception& error) override {
    // 406: a number beyond what a double holds.
    return stop(error.id == 406 ? DocumentFault::kNumber : DocumentFault::kNotJson);
  }

  Result<JsonValue, DocumentError> take() {
    if (fault_) {
      const bool of_field =
          *fault_ != DocumentFault::kNotJson && *fault_ != DocumentFault::kTooLarge;
      return fault(*fault_, of_field ? key_ : "");
    }
    if (!root_) return fault(DocumentFault::kNotJson);
    return std::move(*root_);
  }
  void fail() {
    if (!fault_) fault_ = DocumentFault::kNotJson;
  }

 private:
  static constexpr std::size_t kMaxMembers =
      512;  // of one object: bounds the search for duplicates

  bool stop(DocumentFault why) {
    fault_ = why;
    return false;
  }
  bool enter(JsonValue container) {
    if (open_.size() >= kMaxJsonDepth || values_left_ == 0) return stop(DocumentFault::kNotJson);
    --values_left_;
    open_.push_back(std::move(container));
    return true;
  }
  bool leave() {
    JsonValue done = std::move(open_.back());
    open_.pop_back();
    return place(std::move(done));
  }
  bool add(JsonValue value) {
    if (values_left_ == 0) return stop(DocumentFault::kNotJson);
    --values_left_;
    return place(std::move(value));
  }
  bool place(JsonValue value) {
    if (open_.empty()) {
      root_ = std::move(value);
    } else if (auto* array = std::get_if<std::vector<JsonValue>>(&open_.back().value)) {
      array->push_back(std::move(value));
    } else {
      std::get<std::vector<JsonMember>>(open_.back().value).back().value = std::move(value);
    }
    return true;
  }

  std::size_t values_left_;
  std::vector<JsonValue> open_;
  std::optional<JsonValue> root_;
  std::optional<DocumentFault> fault_;
  std::string key_;
};

}  // namespace

Result<JsonValue, DocumentError> parse_json(std::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.size) return fault(DocumentFault::kTooLarge);
  TreeBuilder builder(limits.values);
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &builder)) builder.fail();
  return builder.take();
}

Result<FieldReader, DocumentError> FieldReader::open(
    const JsonValue& value, std::initializer_list<std::string_view> fields) {
  const auto* members = std::get_if<std::vector<JsonMember>>(&value.value);
  if (members == nullptr) return fault(DocumentFault::kBadValue);
  for (const JsonMember& member : *members) {
    if (std::ranges::find(fields, member.key) == fields.end()) {
      return fault(DocumentFault::kUnknownField, member.key);
    }
  }
  for (const std::string_view field : fields) {
    if (std::ranges::find(*members, field, &JsonMember::key) == members->end()) {
      return fault(DocumentFault::kMissingField, field);
    }
  }
  if (!std::ranges::equal(*members, fields, {}, &JsonMember::key)) {
    return fault(DocumentFault::kNotCanonical);
  }
  return FieldReader(*members);
}

const JsonMember& FieldReader::next() {
  SEALANE_CHECK(index_ < members_->size());
  return (*members_)[index_++];
}

DocumentError FieldReader::bad_value() const {
  return fault(DocumentFault::kBadValue, (*members_)[index_ - 1].key);
}

Result<std::uint64_t, DocumentError> FieldReader::number(std::uint64_t minimum,
                                                         std::uint64_t maximum) {
  const auto* found = std::get_if<std::uint64_t>(&next().value.value);
  if (found == nullptr || *found < minimum || *found > maximum) return bad_value();
  return *found;
}

Result<std::string, DocumentError> FieldReader::text(std::size_t limit) {
  const auto* found = std::get_if<std::string>(&next().value.value);
  if (found == nullptr) return bad_value();
  auto bytes = unescape_text(*found);
  if (!bytes || bytes->size() > limit) return bad_value();
  return std::move(*bytes);
}

Result<WallTime, DocumentError> FieldReader::time() {
  const auto* found = std::get_if<std::string>(&next().value.value);
  const auto time = found == nullptr ? std::nullopt : from_rfc3339(*found);
  if (!time) return bad_value();
  return *time;
}

Result<ByteArray<32>, DocumentError> FieldReader::digest() {
  const auto* found = std::get_if<std::string>(&next().value.value);
  if (found == nullptr || found->size() != 64) return bad_value();
  const auto bytes = from_hex(*found);
  if (!bytes || to_hex(*bytes) != *found) return bad_value();
  ByteArray<32> digest;
  copy_bytes(*bytes, digest.begin());
  return digest;
}

Result<const std::vector<JsonValue>*, DocumentError> FieldReader::array(std::size_t max_count) {
  const auto* found = std::get_if<std::vector<JsonValue>>(&next().value.value);
  if (found == nullptr || found->size() > max_count) return bad_value();
  return found;
}

Result<const std::vector<JsonMember>*, DocumentError> FieldReader::object(std::size_t max_count) {
  const auto* found = std::get_if<std::vector<JsonMember>>(&next().value.value);
  if (found == nullptr || found->size() > max_count) return bad_value();
  return found;
}

Result<std::string, DocumentError> FieldReader::matching(bool (*valid)(std::string_view)) {
  const auto* found = std::get_if<std::string>(&next().value.value);
  if (found == nullptr || !valid(*found)) return bad_value();
  return *found;
}

bool FieldReader::is_null() const {
  return index_ < members_->size() &&
         std::holds_alternative<std::nullptr_t>((*members_)[index_].value.value);
}

std::string escape_text(std::string_view bytes) {
  std::string out;
  for (;;) {
    const std::size_t slash = bytes.find('\\');
    out += printable(bytes.substr(0, slash), kNoLimit);
    if (slash == std::string_view::npos) return out;
    out += "\\\\";
    bytes.remove_prefix(slash + 1);
  }
}

std::optional<std::string> unescape_text(std::string_view text) {
  std::string bytes;
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] != '\\') {
      bytes += text[i++];
    } else if (text.substr(i, 2) == "\\\\") {
      bytes += '\\';
      i += 2;
    } else {
      const auto byte = text.substr(i, 2) == "\\x" ? from_hex(text.substr(i + 2, 2)) : std::nullopt;
      if (!byte || byte->size() != 1) return std::nullopt;
      bytes += as_text(*byte);
      i += 4;
    }
  }
  // One value, one encoding: \x41 for a letter or upper-case digits are refused here.
  if (escape_text(bytes) != text) return std::nullopt;
  return bytes;
}

JsonWriter::JsonWriter() {
  out_ = "{";
  levels_.push_back({});
}

void JsonWriter::new_line() {
  out_ += '\n';
  out_.append(2 * levels_.size(), ' ');
}

void JsonWriter::separate() {
  if (after_key_) {
    after_key_ = false;
    return;
  }
  Level& level = levels_.back();
  if (!level.empty) out_ += level.layout == Layout::kInline ? ", " : ",";
  if (level.layout == Layout::kLines) new_line();
  level.empty = false;
}

void JsonWriter::quote(std::string_view text) {
  out_ += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') out_ += '\\';
    out_ += c;
  }
  out_ += '"';
}

JsonWriter& JsonWriter::key(std::string_view name) {
  separate();
  quote(name);
  out_ += ": ";
  after_key_ = true;
  return *this;
}
JsonWriter& JsonWriter::number(std::uint64_t value) {
  separate();
  out_ += std::to_string(value);
  return *this;
}
JsonWriter& JsonWriter::text(std::string_view bytes) {
  separate();
  quote(escape_text(bytes));
  return *this;
}
JsonWriter& JsonWriter::plain(std::string_view ascii) {
  separate();
  quote(ascii);
  return *this;
}
JsonWriter& JsonWriter::time(WallTime value) { return plain(to_rfc3339(value)); }
JsonWriter& JsonWriter::digest(const ByteArray<32>& value) { return plain(to_hex(value)); }
JsonWriter& JsonWriter::null() {
  separate();
  out_ += "null";
  return *this;
}
JsonWriter& JsonWriter::begin_object(Layout layout) {
  separate();
  out_ += '{';
  levels_.push_back({.layout = layout});
  return *this;
}
JsonWriter& JsonWriter::begin_array() {
  separate();
  out_ += '[';
  levels_.push_back({.array = true});
  return *this;
}
JsonWriter& JsonWriter::end() {
  const Level level = levels_.back();
  levels_.pop_back();
  if (!level.empty && level.layout == Layout::kLines) new_line();
  out_ += level.array ? ']' : '}';
  return *this;
}
std::string JsonWriter::finish() {
  end();
  SEALANE_CHECK(levels_.empty());
  out_ += '\n';
  return std::move(out_);
}

}  // namespace sealane::repo
