#include "backup/pg_archive.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/byte_reader.h"

namespace sealane::backup {
namespace {

constexpr std::uint8_t kOldestMinor = 12;  // PostgreSQL 9.0
constexpr std::uint8_t kNewestMinor = 16;  // PostgreSQL 17
constexpr std::uint8_t kCustomFormat = 1;
constexpr std::byte kRowsBlock{1};
constexpr std::byte kObjectsBlock{3};

// Integers: a sign byte, then `integer_size` bytes, little-endian. Strings: such a length
// (negative: none) and the bytes. Once it ran out of input or met nonsense, every read gives
// nothing: what stands behind a text that is cut short is that text, and no number.
class Fields {
 public:
  Fields(ByteSpan input, std::uint8_t integer_size) : in_(input), integer_size_(integer_size) {}

  std::uint8_t byte() {
    if (bad()) return 0;
    const auto value = in_.u8();
    if (!value) short_ = true;
    return value.value_or(0);
  }
  std::int64_t integer() {
    const std::uint8_t sign = byte();
    if (bad()) return 0;
    const auto raw = in_.bytes(integer_size_);
    if (!raw) {
      short_ = true;
      return 0;
    }
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < raw->size(); ++i) {
      value |= std::to_integer<std::uint64_t>((*raw)[i]) << (8 * i);
    }
    if (value > INT32_MAX) malformed_ = true;
    const auto magnitude = static_cast<std::int64_t>(value & INT32_MAX);
    return sign != 0 ? -magnitude : magnitude;
  }
  std::optional<std::string_view> text() {
    const std::int64_t size = integer();
    if (size < 0 || bad()) return std::nullopt;
    const auto raw = in_.bytes(static_cast<std::size_t>(size));
    if (!raw) {
      short_ = true;
      return std::nullopt;
    }
    return as_text(*raw);
  }
  void skip(std::size_t count) {
    if (bad()) return;
    if (!in_.bytes(count)) short_ = true;
  }
  bool bad() const { return short_ || malformed_; }
  bool malformed() const { return malformed_; }
  std::size_t remaining() const { return in_.remaining(); }

 private:
  ByteReader in_;
  std::uint8_t integer_size_;
  bool short_ = false;
  bool malformed_ = false;
};

// "SELECT pg_catalog.setval('public.orders_id_seq', 42, true);\n". The name may hold anything, so
// it is read from the end.
std::optional<ArchiveReader::SequenceValue> parse_setval(std::string_view statement) {
  ArchiveReader::SequenceValue value;
  while (statement.ends_with('\n')) statement.remove_suffix(1);
  if (statement.ends_with(", true);")) {
    value.is_called = true;
    statement.remove_suffix(8);
  } else if (statement.ends_with(", false);")) {
    statement.remove_suffix(9);
  } else {
    return std::nullopt;
  }
  const auto space = statement.rfind(' ');
  if (space == std::string_view::npos) return std::nullopt;
  std::string_view number = statement.substr(space + 1);
  if (number.starts_with('\'') && number.ends_with('\'') && number.size() >= 2) {
    number = number.substr(1, number.size() - 2);
  }
  const char* end = number.data() + number.size();
  const auto [stop, code] = std::from_chars(number.data(), end, value.last_value);
  if (code != std::errc{} || stop != end) return std::nullopt;
  return value;
}

}  // namespace

Result<void, ArchiveError> ArchiveReader::feed(ByteSpan data) {
  if (state_ == State::kFailed) return ArchiveError::kMalformed;
  if (state_ == State::kUnknownVersion) {
    if (rows_ != nullptr) rows_->other(data);
    return success();
  }
  if (state_ == State::kData) return skim(data);
  // What is understood is dropped now and then, not at every small entry.
  if (offset_ > 0) {
    pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(offset_));
    offset_ = 0;
  }
  pending_.insert(pending_.end(), data.begin(), data.end());
  while (!complete()) {
    auto stepped = step();
    if (!stepped.has_value()) return fail(stepped.error());
    if (!stepped.value()) {
      if (pending_.size() - offset_ > kMaxEntrySize) return fail(ArchiveError::kLimits);
      if (rows_ != nullptr) rows_->other(data);
      return success();
    }
  }
  const Bytes all = std::move(pending_);
  pending_ = Bytes();
  const ByteSpan rest =
      state_ == State::kUnknownVersion ? ByteSpan() : ByteSpan(all).subspan(offset_);
  if (rows_ != nullptr) rows_->other(data.first(data.size() - rest.size()));
  return skim(rest);
}

ArchiveError ArchiveReader::fail(ArchiveError error) {
  state_ = State::kFailed;
  pending_ = Bytes();
  return error;
}

Result<void, ArchiveError> ArchiveReader::finish() const {
  if (state_ == State::kFailed) return ArchiveError::kMalformed;
  if (state_ == State::kUnknownVersion) return success();
  const bool between = expected_ == DataField::kKind && field_size_ == 0;
  if (state_ != State::kData || !between || missing_ > 0) return ArchiveError::kTruncated;
  return success();
}

// The data, of which this itself looks only at the few bytes between the pieces.
Result<void, ArchiveError> ArchiveReader::skim(ByteSpan data) {
  for (;;) {
    const auto skipped = static_cast<std::size_t>(std::min<std::uint64_t>(skip_, data.size()));
    if (rows_ != nullptr && skipped > 0) {
      reading_ ? rows_->rows(data.first(skipped)) : rows_->other(data.first(skipped));
    }
    skip_ -= skipped;
    data = data.subspan(skipped);
    if (data.empty()) return success();
    const std::size_t wanted = expected_ == DataField::kKind ? 1 : std::size_t{1} + integer_size_;
    ByteSpan field = data.first(std::min(wanted - field_size_, data.size()));
    data = data.subspan(field.size());
    if (rows_ != nullptr && !reading_) rows_->other(field);
    if (field.size() < wanted) {  // it began in an earlier piece, or ends in a later one
      std::ranges::copy(field, field_.begin() + static_cast<std::ptrdiff_t>(field_size_));
      field_size_ += field.size();
      if (field_size_ < wanted) return success();
      field_size_ = 0;
      field = ByteSpan(field_).first(wanted);
    }
    const auto understood = take_field(field);
    if (!understood.has_value()) return fail(understood.error());
  }
}

Result<void, ArchiveError> ArchiveReader::take_field(ByteSpan field) {
  if (expected_ == DataField::kKind) {
    if (field[0] != kRowsBlock && field[0] != kObjectsBlock) return ArchiveError::kMalformed;
    in_objects_ = field[0] == kObjectsBlock;
    expected_ = DataField::kDumpId;
    return success();
  }
  if (expected_ == DataField::kOid) {
    // Written as if it were signed, it may be any 32 bits; all that matters is whether it is none.
    const bool none =
        std::ranges::all_of(field.subspan(1), [](std::byte b) { return b == std::byte{}; });
    expected_ = none ? DataField::kKind : DataField::kSize;
    return success();
  }
  std::uint64_t value = 0;
  for (std::size_t i = field.size() - 1; i > 0; --i) {
    value = value << 8 | std::to_integer<std::uint64_t>(field[i]);
  }
  if (field[0] != std::byte{} || value > INT32_MAX) return ArchiveError::kMalformed;
  if (expected_ == DataField::kSize) {
    skip_ = value;
    if (value == 0) {
      expected_ = in_objects_ ? DataField::kOid : DataField::kKind;
      if (reading_) rows_->end(*std::exchange(reading_, std::nullopt));
    }
    return success();
  }
  const auto entry = std::ranges::lower_bound(with_data_, static_cast<std::uint32_t>(value));
  if (entry == with_data_.end() || *entry != value) return ArchiveError::kMalformed;
  const auto index = static_cast<std::size_t>(entry - with_data_.begin());
  if (seen_[index]) return ArchiveError::kMalformed;
  seen_[index] = true;
  --missing_;
  expected_ = in_objects_ ? DataField::kOid : DataField::kSize;
  const auto wanted = wanted_.find(*entry);
  if (wanted != wanted_.end() && !in_objects_) {
    reading_ = wanted->second;
    rows_->begin(*reading_);
  }
  return success();
}

Result<bool, ArchiveError> ArchiveReader::step() {
  if (state_ == State::kHeader) return read_header();
  if (entries_left_ == 0) return end_entries();
  return read_entry();
}

Result<bool, ArchiveError> ArchiveReader::end_entries() {
  std::ranges::sort(with_data_);
  if (std::ranges::adjacent_find(with_data_) != with_data_.end()) return ArchiveError::kMalformed;
  missing_ = with_data_.size();
  seen_.resize(missing_);
  state_ = State::kData;
  return true;
}

Result<bool, ArchiveError> ArchiveReader::read_header() {
  constexpr std::string_view kMagic = "PGDMP";
  const ByteSpan rest = ByteSpan(pending_).subspan(offset_);
  const std::size_t known = std::min(rest.size(), kMagic.size());
  if (as_text(rest.first(known)) != kMagic.substr(0, known)) return ArchiveError::kNotAnArchive;
  if (rest.size() < kMagic.size() + 6) return false;
  Fields head(rest.subspan(kMagic.size()), 4);
  const std::uint8_t major = head.byte();
  minor_ = head.byte();
  head.skip(1);  // revision
  integer_size_ = head.byte();
  offset_size_ = head.byte();
  if (head.byte() != kCustomFormat) return ArchiveError::kNotAnArchive;
  if (major != 1 || minor_ < kOldestMinor || minor_ > kNewestMinor) {
    state_ = State::kUnknownVersion;
    return true;
  }
  if (integer_size_ < 2 || integer_size_ > 8 || offset_size_ < 1 || offset_size_ > 8) {
    return ArchiveError::kMalformed;
  }
  Fields in(rest.subspan(kMagic.size() + 6), integer_size_);
  if (minor_ >= 15) {
    in.skip(1);  // compression algorithm
  } else {
    in.integer();  // compression level
  }
  for (int i = 0; i < 7 && !in.bad(); ++i) in.integer();  // time
  for (int i = 0; i < 3 && !in.bad(); ++i) in.text();     // database, server, pg_dump
  if (in.malformed()) return ArchiveError::kMalformed;
  const std::size_t size = rest.size() - in.remaining();
  const std::int64_t count = in.bad() ? 0 : in.integer();
  if (in.malformed() || count < 0) return ArchiveError::kMalformed;
  if (in.bad()) return false;
  if (static_cast<std::uint64_t>(count) > kMaxEntries) return ArchiveError::kLimits;
  if (rows_ != nullptr) rows_->header(rest.first(size), integer_size_);
  entries_left_ = static_cast<std::uint64_t>(count);
  offset_ = pending_.size() - in.remaining();
  state_ = State::kEntries;
  return true;
}

Result<bool, ArchiveError> ArchiveReader::read_entry() {
  Fields in(ByteSpan(pending_).subspan(offset_), integer_size_);
  const std::int64_t dump_id = in.integer();
  const bool has_data = in.integer() != 0;
  in.text();  // table's oid
  in.text();  // oid
  const auto tag = in.text();
  const auto description = in.text();
  in.integer();  // section
  const auto definition = in.text();
  in.text();  // drop statement
  const auto copy = in.text();
  const auto name_space = in.text();
  in.text();                       // table space
  if (minor_ >= 14) in.text();     // access method
  if (minor_ >= 16) in.integer();  // kind of relation
  const auto owner = in.text();
  in.text();  // "with oids"
  const auto dependency = in.text();
  for (auto next = dependency; next && !in.bad(); next = in.text()) {
  }                           // ended by none
  in.skip(1 + offset_size_);  // where its data is
  if (in.malformed()) return ArchiveError::kMalformed;
  if (in.bad()) return false;
  if (description == "SEQUENCE SET" && tag && definition) {
    const auto value = parse_setval(*definition);
    if (!value) return ArchiveError::kMalformed;
    sequences_[{std::string(name_space.value_or("")), std::string(*tag)}] = *value;
  }
  if (rows_ != nullptr) {
    const ByteSpan rest = ByteSpan(pending_).subspan(offset_);
    rows_->entry({.dump_id = dump_id,
                  .tag = tag.value_or(""),
                  .description = description.value_or(""),
                  .owner = owner.value_or(""),
                  .definition = definition.value_or(""),
                  .dependency = dependency.value_or(""),
                  .data = rest.first(rest.size() - in.remaining())});
  }
  if (has_data) {
    if (dump_id < 0) return ArchiveError::kMalformed;
    with_data_.push_back(static_cast<std::uint32_t>(dump_id));
    if (rows_ != nullptr && description == "TABLE DATA" && name_space && tag && copy) {
      if (const auto handle = rows_->want(*name_space, *tag, *copy)) {
        wanted_.emplace(with_data_.back(), *handle);
      }
    }
  }
  --entries_left_;
  offset_ = pending_.size() - in.remaining();
  return true;
}

}  // namespace sealane::backup
