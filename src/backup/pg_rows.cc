#include "backup/pg_rows.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>

#include "base/check.h"

namespace sealane::backup {
namespace {

// Bob Jenkins' lookup3 as PostgreSQL's hashfn.c uses it.
struct Lanes {
  std::uint32_t a;
  std::uint32_t b;
  std::uint32_t c;

  Lanes(std::uint32_t size, std::uint64_t seed) {
    constexpr std::uint32_t kStart = 0x9e3779b9 + 3923095;
    a = b = c = kStart + size;
    if (seed == 0) return;
    a += static_cast<std::uint32_t>(seed >> 32);
    b += static_cast<std::uint32_t>(seed);
    mix();
  }
  void mix() {
    a -= c, a ^= std::rotl(c, 4), c += b;
    b -= a, b ^= std::rotl(a, 6), a += c;
    c -= b, c ^= std::rotl(b, 8), b += a;
    a -= c, a ^= std::rotl(c, 16), c += b;
    b -= a, b ^= std::rotl(a, 19), a += c;
    c -= b, c ^= std::rotl(b, 4), b += a;
  }
  std::uint64_t finish() {
    c ^= b, c -= std::rotl(b, 14);
    a ^= c, a -= std::rotl(c, 11);
    b ^= a, b -= std::rotl(a, 25);
    c ^= b, c -= std::rotl(b, 16);
    a ^= c, a -= std::rotl(c, 4);
    b ^= a, b -= std::rotl(a, 14);
    c ^= b, c -= std::rotl(b, 24);
    return std::uint64_t{b} << 32 | c;
  }
};

// `size` bytes of at most four, the first one lowest.
std::uint32_t word(const std::byte* at, std::size_t size) {
  static_assert(std::endian::native == std::endian::little);
  std::uint32_t value = 0;
  std::memcpy(&value, at, size);
  return value;
}

std::uint64_t hash_long(std::uint64_t value, std::uint64_t seed) {
  const auto low = static_cast<std::uint32_t>(value);
  const auto high = static_cast<std::uint32_t>(value >> 32);
  const bool negative = (value >> 63) != 0;
  return pg_hash(high, pg_hash(low ^ (negative ? ~high : high), seed));
}

template <typename Integer>
std::optional<Integer> parse_integer(std::string_view text) {
  Integer value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, value);
  if (code != std::errc{} || stop != end) return std::nullopt;
  return value;
}

// "5b30857f-0bfa-48b5-ac0b-5c64e28078d1"
std::optional<std::array<std::byte, 16>> parse_uuid(std::string_view text) {
  if (text.size() != 36) return std::nullopt;
  std::array<std::byte, 16> value{};
  std::size_t at = 0;
  for (std::byte& byte : value) {
    if (at == 8 || at == 13 || at == 18 || at == 23) {
      if (text[at++] != '-') return std::nullopt;
    }
    unsigned bits = 0;
    const auto [stop, code] = std::from_chars(&text[at], &text[at] + 2, bits, 16);
    if (code != std::errc{} || stop != &text[at] + 2) return std::nullopt;
    byte = static_cast<std::byte>(bits);
    at += 2;
  }
  return value;
}

// One value as record_out writes it (rowtypes.c).
void append_value(std::string& record, std::string_view value) {
  const bool quotes = value.empty() || value.find_first_of("\"\\(), \t\n\v\f\r") != value.npos;
  if (!quotes) {
    record += value;
    return;
  }
  record += '"';
  for (const char c : value) {
    if (c == '"' || c == '\\') record += c;
    record += c;
  }
  record += '"';
}

std::string decimal(Sum128 value) {
  const bool negative = value < 0;
  std::string digits;
  do {
    const int digit = static_cast<int>(value % 10);
    digits += static_cast<char>('0' + (negative ? -digit : digit));
    value /= 10;
  } while (value != 0);
  if (negative) digits += '-';
  std::ranges::reverse(digits);
  return digits;
}

// The columns that "COPY schema.table (a, "B") FROM stdin;\n" names, as indexes: all of the
// table's, each once. A table with generated columns has others besides.
std::optional<std::vector<std::size_t>> column_order(const PgRelation& table,
                                                     std::string_view statement) {
  const std::string head = "COPY " + table.quoted + " (";
  constexpr std::string_view kTail = ") FROM stdin;\n";
  if (!statement.starts_with(head) || !statement.ends_with(kTail) ||
      statement.size() < head.size() + kTail.size()) {
    return std::nullopt;
  }
  statement = statement.substr(head.size(), statement.size() - head.size() - kTail.size());
  std::vector<std::size_t> order;
  std::vector<bool> seen(table.columns.size());
  while (!statement.empty()) {
    bool quoted = false;
    std::size_t size = 0;
    while (size < statement.size() && (quoted || statement[size] != ',')) {
      quoted = quoted != (statement[size] == '"');
      ++size;
    }
    const auto found =
        std::ranges::find(table.columns, statement.substr(0, size), &PgColumn::quoted);
    if (found == table.columns.end()) return std::nullopt;
    const auto index = static_cast<std::size_t>(found - table.columns.begin());
    if (seen[index]) return std::nullopt;
    seen[index] = true;
    order.push_back(index);
    statement.remove_prefix(size);
    if (statement.starts_with(", ")) statement.remove_prefix(2);
  }
  if (order.size() != table.columns.size()) return std::nullopt;
  return order;
}

}  // namespace

std::uint64_t pg_hash(ByteSpan data, std::uint64_t seed) {
  Lanes lanes(static_cast<std::uint32_t>(data.size()), seed);
  const std::byte* at = data.data();
  std::size_t left = data.size();
  for (; left >= 12; left -= 12, at += 12) {
    lanes.a += word(at, 4);
    lanes.b += word(at + 4, 4);
    lanes.c += word(at + 8, 4);
    lanes.mix();
  }
  if (left > 0) lanes.a += word(at, std::min<std::size_t>(left, 4));
  if (left > 4) lanes.b += word(at + 4, std::min<std::size_t>(left - 4, 4));
  if (left > 8) lanes.c += word(at + 8, left - 8) << 8;  // its lowest byte is the size's
  return lanes.finish();
}

std::uint64_t pg_hash(std::uint32_t value, std::uint64_t seed) {
  Lanes lanes(sizeof value, seed);
  lanes.a += value;
  return lanes.finish();
}

std::optional<CopyRows::Kind> CopyRows::kind_of(const PgColumn& column) {
  switch (column.type) {
    case 16:
      return Kind::kBoolean;
    case 21:  // smallint
    case 23:  // integer
      return Kind::kInteger;
    case 20:  // bigint
      return Kind::kLong;
    case 25:    // text
    case 1042:  // character
    case 1043:  // character varying
      return Kind::kText;
    case 2950:
      return Kind::kUuid;
    case 17:  // bytea
      return Kind::kBytes;
    case 1184:  // timestamp with time zone
      return Kind::kTimeStamp;
    // What depends on no setting, or only on those that pg_dump makes itself: ISO dates, intervals
    // in PostgreSQL's style, shortest exact floats.
    case 18:    // "char"
    case 19:    // name
    case 26:    // oid
    case 114:   // json
    case 142:   // xml
    case 600:   // point
    case 650:   // cidr
    case 700:   // real
    case 701:   // double precision
    case 774:   // macaddr8
    case 829:   // macaddr
    case 869:   // inet
    case 1082:  // date
    case 1083:  // time
    case 1114:  // timestamp
    case 1186:  // interval
    case 1266:  // time with time zone
    case 1560:  // bit
    case 1562:  // bit varying
    case 1700:  // numeric
    case 3614:  // tsvector
    case 3802:  // jsonb
    case 3904:  // int4range
    case 3906:  // numrange
    case 3908:  // tsrange
    case 3912:  // daterange
    case 3926:  // int8range
    // Arrays of these.
    case 199:   // json
    case 1000:  // boolean
    case 1005:  // smallint
    case 1007:  // integer
    case 1009:  // text
    case 1014:  // character
    case 1015:  // character varying
    case 1016:  // bigint
    case 1021:  // real
    case 1022:  // double precision
    case 1041:  // inet
    case 1115:  // timestamp
    case 1182:  // date
    case 1231:  // numeric
    case 2951:  // uuid
    case 3807:  // jsonb
      return Kind::kPlain;
    default:
      if (column.is_enum) return Kind::kPlain;
      return std::nullopt;
  }
}

bool CopyRows::can_hash(const PgRelation& table) {
  // A row without columns is an empty line, as is what stands behind the end.
  return !table.columns.empty() && std::ranges::all_of(table.columns, [](const PgColumn& column) {
    return kind_of(column).has_value();
  });
}

CopyRows::CopyRows(const PgRelation& table, const std::vector<std::size_t>& order) {
  SEALANE_CHECK(can_hash(table) && order.size() == table.columns.size());
  columns_.resize(order.size());
  std::vector<std::size_t> other_of(order.size());
  std::size_t others = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    other_of[i] = others;
    if (*kind_of(table.columns[i]) >= Kind::kPlain) ++others;
  }
  for (std::size_t field = 0; field < order.size(); ++field) {
    const std::size_t index = order[field];
    columns_[field] = {*kind_of(table.columns[index]), index + 1, other_of[index]};
  }
  others_.resize(others);
}

void CopyRows::feed(ByteSpan data) {
  std::string_view text = as_text(data);
  while (!text.empty()) {
    const auto end = text.find('\n');
    unsure_ = unsure_ || partial_.size() + std::min(end, text.size()) > kMaxRowSize;
    if (unsure_) return;
    if (end == std::string_view::npos) {
      partial_ += text;
      return;
    }
    if (partial_.empty()) {
      take_line(text.substr(0, end));
    } else {
      partial_ += text.substr(0, end);
      take_line(partial_);
      partial_.clear();
    }
    text.remove_prefix(end + 1);
  }
}

void CopyRows::take_line(std::string_view line) {
  if (ended_) {
    ++lines_behind_;
    if (!line.empty() || lines_behind_ > 2) unsure_ = true;
  } else if (line == "\\.") {
    ended_ = true;
  } else {
    ++count_;
    if (!columns_.empty() && !hash_row(line)) unsure_ = true;
  }
}

std::optional<std::string> CopyRows::finish() const {
  if (unsure_ || !ended_ || lines_behind_ != 2 || !partial_.empty()) return std::nullopt;
  std::string sums = std::to_string(count_);
  if (!columns_.empty()) sums += ' ' + decimal(sum_);
  return sums;
}

bool CopyRows::hash_row(std::string_view line) {
  const bool escapes = line.find('\\') != std::string_view::npos;
  unescaped_.clear();
  unescaped_.reserve(line.size());  // so that no view into it moves
  std::uint64_t seed = 0;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    const auto end = line.find('\t');
    const bool last = i + 1 == columns_.size();
    if (last != (end == std::string_view::npos)) return false;
    std::optional<std::string_view> field = line.substr(0, end);
    if (!last) line.remove_prefix(end + 1);
    const bool is_null = *field == "\\N";
    if (is_null) {
      field.reset();
    } else if (escapes) {
      field = unescape(*field);
      if (!field) return false;
    }
    const Column& column = columns_[i];
    if (column.kind >= Kind::kPlain) {
      if (field && column.kind == Kind::kBytes && !field->starts_with("\\x")) return false;
      if (field && column.kind == Kind::kTimeStamp && !field->ends_with("+00") &&
          !field->ends_with("+00 BC") && !field->ends_with("infinity")) {
        return false;
      }
      others_[column.other] = field;
    } else if (field) {
      const auto hash = hash_simple(column, *field);
      if (!hash) return false;
      seed ^= *hash;
    } else {
      seed ^= ~column.number + 1;
    }
  }
  record_.clear();
  if (!others_.empty()) {
    for (const auto& value : others_) {
      record_ += record_.empty() ? '(' : ',';
      if (value) append_value(record_, *value);
    }
    record_ += ')';
  }
  sum_ += static_cast<std::int64_t>(pg_hash(as_bytes(record_), seed));
  return true;
}

std::optional<std::uint64_t> CopyRows::hash_simple(const Column& column, std::string_view field) {
  switch (column.kind) {
    case Kind::kInteger: {
      const auto value = parse_integer<std::int32_t>(field);
      if (!value) return std::nullopt;
      return pg_hash(static_cast<std::uint32_t>(*value), column.number);
    }
    case Kind::kLong: {
      const auto value = parse_integer<std::int64_t>(field);
      if (!value) return std::nullopt;
      return hash_long(static_cast<std::uint64_t>(*value), column.number);
    }
    case Kind::kBoolean:
      if (field != "t" && field != "f") return std::nullopt;
      return pg_hash(std::uint32_t{field == "t"}, column.number);
    case Kind::kText:
      return pg_hash(as_bytes(field), column.number);
    case Kind::kUuid: {
      const auto value = parse_uuid(field);
      if (!value) return std::nullopt;
      return pg_hash(*value, column.number);
    }
    default:
      return std::nullopt;
  }
}

// The escapes that COPY TO writes, and no other.
std::optional<std::string_view> CopyRows::unescape(std::string_view field) {
  const std::size_t start = unescaped_.size();
  while (!field.empty()) {
    const auto at = std::min(field.find('\\'), field.size());
    unescaped_ += field.substr(0, at);
    field.remove_prefix(at);
    if (field.empty()) break;
    constexpr std::string_view kLetters = "bfnrtv\\";
    constexpr std::string_view kMeanings = "\b\f\n\r\t\v\\";
    const auto letter = field.size() < 2 ? kLetters.npos : kLetters.find(field[1]);
    if (letter == kLetters.npos) return std::nullopt;
    unescaped_ += kMeanings[letter];
    field.remove_prefix(2);
  }
  return std::string_view(unescaped_).substr(start);
}

ArchiveRows::ArchiveRows(std::shared_ptr<const std::vector<PgRelation>> tables,
                         FingerprintLevel level)
    : tables_(std::move(tables)), level_(level), orders_(tables_->size()), sums_(tables_->size()) {
  for (std::size_t i = 0; i < tables_->size(); ++i) {
    by_name_[{(*tables_)[i].schema, (*tables_)[i].name}] = i;
  }
}

std::optional<std::size_t> ArchiveRows::want(std::string_view schema, std::string_view name,
                                             std::string_view statement) {
  const auto found = by_name_.find({schema, name});
  if (found == by_name_.end()) return std::nullopt;
  if (level_ == FingerprintLevel::kContent) {
    auto order = column_order((*tables_)[found->second], statement);
    if (!order) return std::nullopt;
    orders_[found->second] = std::move(*order);
  } else if (!statement.starts_with("COPY ")) {
    return std::nullopt;
  }
  return found->second;
}

void ArchiveRows::begin(std::size_t handle) {
  rows_ = level_ == FingerprintLevel::kContent ? CopyRows((*tables_)[handle], orders_[handle])
                                               : CopyRows();
}

}  // namespace sealane::backup
