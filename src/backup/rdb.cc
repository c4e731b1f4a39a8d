#include "backup/rdb.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>

#include "base/byte_reader.h"

namespace sealane::backup {
namespace {

constexpr std::size_t kKeepPending = 1024 * 1024;  // memory that stays for what comes

enum Opcode : std::uint8_t {
  kSlotInfo = 244,
  kFunction2 = 245,
  kModuleAux = 247,
  kIdle = 248,
  kFrequency = 249,
  kAux = 250,
  kResizeDatabase = 251,
  kExpiresMilliseconds = 252,
  kExpiresSeconds = 253,
  kSelectDatabase = 254,
  kEnd = 255,
};

enum Type : std::uint8_t {
  kTypeString = 0,
  kTypeList = 1,
  kTypeSet = 2,
  kTypeZset = 3,
  kTypeHash = 4,
  kTypeZset2 = 5,
  kTypeModule2 = 7,
  kTypeHashZipmap = 9,
  kTypeListZiplist = 10,
  kTypeSetIntset = 11,
  kTypeZsetZiplist = 12,
  kTypeHashZiplist = 13,
  kTypeListQuicklist = 14,
  kTypeStream = 15,
  kTypeHashListpack = 16,
  kTypeZsetListpack = 17,
  kTypeListQuicklist2 = 18,
  kTypeStream2 = 19,
  kTypeSetListpack = 20,
  kTypeStream3 = 21,
  kTypeHashTimed = 22,  // of Valkey
  kTypeHashExpiring = 24,
  kTypeHashListpackExpiring = 25,
};

// What a user calls it: the digest of a list does not depend on the encoding it is stored in.
char kind_of(std::uint8_t type) {
  switch (type) {
    case kTypeString:
      return 's';
    case kTypeList:
    case kTypeListZiplist:
    case kTypeListQuicklist:
    case kTypeListQuicklist2:
      return 'l';
    case kTypeSet:
    case kTypeSetIntset:
    case kTypeSetListpack:
      return 'm';
    case kTypeZset:
    case kTypeZset2:
    case kTypeZsetZiplist:
    case kTypeZsetListpack:
      return 'z';
    case kTypeHash:
    case kTypeHashZiplist:
    case kTypeHashListpack:
      return 'h';
    case kTypeStream:
    case kTypeStream2:
    case kTypeStream3:
      return 'x';
    case kTypeModule2:
      return 'o';
    default:
      return 0;
  }
}

// Where the value ends is known, but its digest is not.
bool is_copied_only(std::uint8_t type, bool valkey) {
  if (type == kTypeHashZipmap) return true;
  if (valkey) return type == kTypeHashTimed;  // the two went apart at 22
  return type == kTypeHashExpiring || type == kTypeHashListpackExpiring;
}

// A span of the input, or bytes of its own: an integer as decimal text, an unpacked string.
class Text {
 public:
  Text() = default;
  explicit Text(ByteSpan view) : view_(view) {}
  explicit Text(Bytes owned) : owned_(std::move(owned)), is_owned_(true) {}
  explicit Text(std::int64_t number) : Text(to_bytes(std::to_string(number))) {}
  ByteSpan view() const { return is_owned_ ? ByteSpan(owned_) : view_; }
  bool is_owned() const { return is_owned_; }

 private:
  Bytes owned_;
  ByteSpan view_;
  bool is_owned_ = false;
};

std::int64_t little_signed(ByteSpan bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    value |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * i);
  }
  const auto unused = static_cast<unsigned>(64 - 8 * bytes.size());
  return static_cast<std::int64_t>(value << unused) >> unused;
}

// Calls `visit` with the decimal text of `number`.
template <class Visit>
bool visit_number(std::int64_t number, Visit& visit) {
  std::array<char, 24> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number).ptr;
  return visit(as_bytes(std::string_view(buffer.data(), end)));
}

// The packed forms, element by element: visit(ByteSpan) says whether to go on. False for a
// malformed one. Nothing is allocated, whatever they claim to hold.

// Total size (4 bytes), offset of the last (4), count (2), entries, 0xff.
template <class Visit>
bool visit_ziplist(ByteSpan blob, Visit visit) {
  ByteReader in(blob);
  const auto total = in.integer<std::uint32_t>(Endian::kLittle);
  const auto tail = in.integer<std::uint32_t>(Endian::kLittle);
  const auto count = in.integer<std::uint16_t>(Endian::kLittle);
  if (!total || !tail || !count || *total != blob.size()) return false;
  for (std::uint64_t seen = 0;; ++seen) {
    const auto previous = in.u8();  // size of the entry before: 1 byte, or 0xfe and 4
    if (!previous) return false;
    if (*previous == 0xff) return in.empty() && (*count == 0xffff || *count == seen);
    if (*previous == 0xfe && !in.bytes(4)) return false;
    const auto lead = in.u8();
    if (!lead) return false;
    if (*lead < 0xc0) {  // text, its size in 6, 14 or 32 bits
      std::size_t size = *lead & 0x3f;
      if (*lead >= 0x80) {
        const auto length = in.u32();
        if (*lead != 0x80 || !length) return false;
        size = *length;
      } else if (*lead >= 0x40) {
        const auto low = in.u8();
        if (!low) return false;
        size = size << 8 | *low;
      }
      const auto text = in.bytes(size);
      if (!text || !visit(*text)) return false;
      continue;
    }
    std::size_t width = 0;
    switch (*lead) {
      case 0xc0:
        width = 2;
        break;
      case 0xd0:
        width = 4;
        break;
      case 0xe0:
        width = 8;
        break;
      case 0xf0:
        width = 3;
        break;
      case 0xfe:
        width = 1;
        break;
      default:
        if (*lead < 0xf1 || *lead > 0xfd) return false;
        if (!visit_number(*lead - 0xf1, visit)) return false;
        continue;
    }
    const auto raw = in.bytes(width);
    if (!raw || !visit_number(little_signed(*raw), visit)) return false;
  }
}

// Total size (4 bytes), count (2), entries with a backward size, 0xff.
template <class Visit>
bool visit_listpack(ByteSpan blob, Visit visit) {
  ByteReader in(blob);
  const auto total = in.integer<std::uint32_t>(Endian::kLittle);
  const auto count = in.integer<std::uint16_t>(Endian::kLittle);
  if (!total || !count || *total != blob.size()) return false;
  for (std::uint64_t seen = 0;; ++seen) {
    const std::size_t start = in.remaining();
    const auto lead = in.u8();
    if (!lead) return false;
    if (*lead == 0xff) return in.empty() && (*count == 0xffff || *count == seen);
    std::optional<std::size_t> text_size;
    std::int64_t number = 0;
    if (*lead < 0x80) {
      number = *lead;
    } else if (*lead < 0xc0) {
      text_size = *lead & 0x3f;
    } else if (*lead < 0xf0) {  // 13 bits, signed; or a size in 12 bits
      const auto low = in.u8();
      if (!low) return false;
      if (*lead < 0xe0) {
        number = (*lead & 0x1f) << 8 | *low;
        if (number >= 4096) number -= 8192;
      } else {
        text_size = static_cast<std::size_t>(*lead & 0x0f) << 8 | *low;
      }
    } else if (*lead == 0xf0) {
      const auto size = in.integer<std::uint32_t>(Endian::kLittle);
      if (!size) return false;
      text_size = *size;
    } else if (*lead <= 0xf4) {
      constexpr std::array<std::size_t, 4> kWidths = {2, 3, 4, 8};
      const auto raw = in.bytes(kWidths[*lead - 0xf1]);
      if (!raw) return false;
      number = little_signed(*raw);
    } else {
      return false;
    }
    ByteSpan text;
    if (text_size) {
      const auto raw = in.bytes(*text_size);
      if (!raw) return false;
      text = *raw;
    }
    // The backward size has 7 bits a byte.
    const std::size_t size = start - in.remaining();
    std::size_t back = 1;
    for (const std::size_t bound : {128u, 16383u, 2097151u, 268435455u})
      back += size >= bound ? 1 : 0;
    if (!in.bytes(back)) return false;
    if (!(text_size ? visit(text) : visit_number(number, visit))) return false;
  }
}

// Sorted integers: width (4 bytes), count (4), values.
template <class Visit>
bool visit_intset(ByteSpan blob, Visit visit) {
  ByteReader in(blob);
  const auto width = in.integer<std::uint32_t>(Endian::kLittle);
  const auto count = in.integer<std::uint32_t>(Endian::kLittle);
  if (!width || !count || (*width != 2 && *width != 4 && *width != 8)) return false;
  if (in.remaining() != static_cast<std::uint64_t>(*width) * *count) return false;
  while (!in.empty()) {
    if (!visit_number(little_signed(*in.bytes(*width)), visit)) return false;
  }
  return true;
}

std::optional<double> parse_score(std::string_view text) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, value);
  if (code != std::errc{} || stop != end) return std::nullopt;
  return value;
}

ByteArray<8> score_bytes(double score) {
  if (score == 0) score = 0;  // -0 is 0
  ByteArray<8> out{};
  store_integer(MutableByteSpan(out), std::bit_cast<std::uint64_t>(score), Endian::kLittle);
  return out;
}

RdbDigest to_digest(const crypto::Sha256Digest& hash) {
  RdbDigest digest;
  for (std::size_t i = 0; i < digest.lanes.size(); ++i) {
    digest.lanes[i] = load<std::uint64_t>(ByteSpan(hash).subspan(8 * i));
  }
  return digest;
}

}  // namespace

std::string_view describe(RdbError error) {
  switch (error) {
    case RdbError::kNotRdb:
      return "it is not an RDB file";
    case RdbError::kNewer:
      return "it is of a newer Redis, or of a module, that cannot be checked here";
    case RdbError::kMalformed:
      return "it is damaged";
    case RdbError::kLimits:
      return "a value in it is larger than 512 MiB";
    case RdbError::kChecksum:
      return "its checksum is wrong";
    case RdbError::kTruncated:
      return "its end is missing";
    case RdbError::kRefused:
      return "it was refused";
  }
  return "it cannot be read";
}

namespace {

// The first version that has the type, so that servers older than the file's take the value too: of
// one type it is the same in all versions. What a module saves is its own matter.
int dump_version(const RdbKey& key) {
  if (key.type > kTypeStream3 || key.type == kTypeModule2) return key.version;
  const int first = key.type >= kTypeSetListpack ? 11 : key.type >= kTypeHashListpack ? 10 : 9;
  return std::min(key.version, first);
}

}  // namespace

void append_dump(const RdbKey& key, Bytes& out) {
  ByteWriter tail;
  const ByteArray<1> type{static_cast<std::byte>(key.type)};
  tail.integer(static_cast<std::uint16_t>(dump_version(key)), Endian::kLittle);
  const std::uint64_t checksum = crc64(crc64(crc64(0, type), key.value), tail.view());
  tail.integer(checksum, Endian::kLittle);
  out.insert(out.end(), type.begin(), type.end());
  out.insert(out.end(), key.value.begin(), key.value.end());
  out.insert(out.end(), tail.view().begin(), tail.view().end());
}

std::optional<Bytes> lzf_decompress(ByteSpan packed, std::size_t size) {
  Bytes out;
  out.reserve(size);
  ByteReader in(packed);
  while (!in.empty()) {
    const unsigned control = *in.u8();
    if (control < 32) {  // a run of control + 1 bytes as they are
      const auto run = in.bytes(control + 1);
      if (!run || run->size() > size - out.size()) return std::nullopt;
      out.insert(out.end(), run->begin(), run->end());
      continue;
    }
    // A copy from what was written: length in 3 bits (7: another byte), distance in 13.
    std::size_t length = control >> 5;
    if (length == 7) {
      const auto more = in.u8();
      if (!more) return std::nullopt;
      length += *more;
    }
    const auto low = in.u8();
    if (!low) return std::nullopt;
    const std::size_t distance = (static_cast<std::size_t>(control & 0x1f) << 8 | *low) + 1;
    length += 2;
    if (distance > out.size() || length > size - out.size()) return std::nullopt;
    for (std::size_t i = 0; i < length; ++i) out.push_back(out[out.size() - distance]);
  }
  if (out.size() != size) return std::nullopt;
  return out;
}

std::string RdbDigest::hex() const {
  ByteArray<32> bytes{};
  for (std::size_t i = 0; i < lanes.size(); ++i) {
    store_integer(MutableByteSpan(bytes).subspan(8 * i), lanes[i]);
  }
  return to_hex(bytes);
}

// Reads the input of one step. A failed read leaves a reason: too short (and how many bytes would
// do) or an error. Nothing is consumed before commit().
class RdbReader::Cursor {
 public:
  explicit Cursor(ByteSpan input, std::size_t max_string_size = kMaxStringSize)
      : in_(input), total_(input.size()), max_string_size_(max_string_size) {}

  // From now on string() gives nothing, and need not have all of the string: pass_over() does the
  // rest. REQUIRES: nothing but tail() is read behind such a string.
  void pass_strings() { passes_ = true; }
  std::uint64_t passing() const { return passing_; }
  // Bytes behind a string that are of no interest.
  void tail(std::uint64_t size) {
    if (passing_ > 0) {
      passing_ += size;
    } else {
      raw(size);
    }
  }

  std::optional<ByteSpan> raw(std::uint64_t count) {
    if (bad()) return std::nullopt;
    if (count > in_.remaining()) {
      wanted_ = consumed() + count;
      return std::nullopt;
    }
    return in_.bytes(static_cast<std::size_t>(count));
  }
  std::uint8_t byte() {
    const auto one = raw(1);
    return one ? std::to_integer<std::uint8_t>((*one)[0]) : 0;
  }
  template <class T>
  T integer(Endian endian) {
    const auto bytes = raw(sizeof(T));
    return bytes ? load<T>(*bytes, endian) : T{};
  }

  // Lengths: 6 bits, 14 bits, or a byte 0x80 / 0x81 and 32 / 64 bits, big-endian. The fourth form
  // (0xc0…) is a special string.
  struct Length {
    std::uint64_t value = 0;
    bool special = false;
  };
  Length length_or_special() {
    const std::uint8_t lead = byte();
    if (bad()) return {};
    switch (lead >> 6) {
      case 0:
        return {lead, false};
      case 1: {
        const std::uint64_t high = lead & 0x3fu;
        return {high << 8 | byte(), false};
      }
      case 3:
        return {lead & 0x3fu, true};
      default:
        if (lead == 0x80) return {integer<std::uint32_t>(Endian::kBig), false};
        if (lead == 0x81) return {integer<std::uint64_t>(Endian::kBig), false};
        error_ = RdbError::kMalformed;
        return {};
    }
  }
  std::uint64_t length() {
    const Length length = length_or_special();
    if (length.special) error_ = RdbError::kMalformed;
    return length.value;
  }
  Text string() {
    const Length length = length_or_special();
    if (bad()) return Text();
    if (!length.special) {
      if (length.value > max_string_size_) {
        error_ = RdbError::kLimits;
        return Text();
      }
      if (passes_) return pass(length.value);
      const auto bytes = raw(length.value);
      return bytes ? Text(*bytes) : Text();
    }
    if (length.value <= 2) {
      const auto bytes = raw(std::uint64_t{1} << length.value);
      return bytes && !passes_ ? Text(little_signed(*bytes)) : Text();
    }
    if (length.value != 3) {
      error_ = RdbError::kMalformed;
      return Text();
    }
    const std::uint64_t packed_size = this->length();
    const std::uint64_t size = this->length();
    if (bad()) return Text();
    // Three packed bytes give at most 264.
    if (packed_size > max_string_size_ || size > max_string_size_ || size / 264 > packed_size) {
      error_ = size > max_string_size_ ? RdbError::kLimits : RdbError::kMalformed;
      return Text();
    }
    if (passes_) return pass(packed_size);
    const auto packed = raw(packed_size);
    if (!packed) return Text();
    auto unpacked = lzf_decompress(*packed, static_cast<std::size_t>(size));
    if (!unpacked) {
      error_ = RdbError::kMalformed;
      return Text();
    }
    return Text(std::move(*unpacked));
  }

  bool bad() const { return wanted_ > 0 || error_.has_value(); }
  std::optional<RdbError> error() const { return error_; }
  std::size_t consumed() const { return total_ - in_.remaining(); }
  std::uint64_t wanted() const { return wanted_; }

 private:
  Text pass(std::uint64_t size) {
    const std::uint64_t here = std::min<std::uint64_t>(size, in_.remaining());
    static_cast<void>(in_.bytes(static_cast<std::size_t>(here)));
    passing_ = size - here;
    return Text();
  }

  ByteReader in_;
  std::size_t total_;
  std::size_t max_string_size_;
  bool passes_ = false;
  std::uint64_t passing_ = 0;
  std::uint64_t wanted_ = 0;
  std::optional<RdbError> error_;
};

std::optional<ByteSpan> RdbReader::text_of(ByteSpan value, std::size_t largest, Bytes& scratch) {
  // Nearly all small ones: their size in 6 or 14 bits, and their bytes.
  if (value.size() >= 2) {
    const auto lead = std::to_integer<std::size_t>(value[0]);
    const auto low = std::to_integer<std::size_t>(value[1]);
    const std::size_t head = lead < 0x40 ? 1 : 2;
    const std::size_t size = head == 1 ? lead : (lead & 0x3f) << 8 | low;
    if (lead < 0x80 && value.size() - head == size && size <= largest) return value.subspan(head);
  }
  Cursor in(value, largest);
  const Text text = in.string();
  const ByteSpan view = text.view();
  if (in.bad() || in.consumed() != value.size() || view.size() > largest) return std::nullopt;
  if (!text.is_owned()) return view;
  scratch.assign(view.begin(), view.end());
  return ByteSpan(scratch);
}

// After the reads of one step. False: more bytes are needed.
Result<bool, RdbError> RdbReader::settle(const Cursor& in) {
  if (in.error()) return *in.error();
  if (in.wanted() > 0) wanted_ = static_cast<std::size_t>(in.wanted());
  return in.wanted() == 0;
}

Result<void, RdbError> RdbReader::fail(RdbError error) {
  state_ = State::kFailed;
  error_ = error;
  pending_ = Bytes();
  value_ = Bytes();
  holding_ = false;
  return error;
}

Result<void, RdbError> RdbReader::feed(ByteSpan data) {
  if (state_ == State::kFailed) return error_;
  if (state_ == State::kDone) {
    trailing_ += data.size();
    return success();
  }
  compact();
  pending_.insert(pending_.end(), data.begin(), data.end());
  while (state_ != State::kDone && pending_.size() - offset_ >= wanted_) {
    wanted_ = 0;
    const auto stepped = step();
    if (!stepped.has_value()) return fail(stepped.error());
    if (!stepped.value()) break;
  }
  sum_up();
  if (state_ == State::kDone) {
    trailing_ = pending_.size() - offset_;
    pending_ = Bytes();
    offset_ = 0;
  }
  return success();
}

// Of many small pieces at once: that is what a CRC is fast with.
void RdbReader::sum_up() {
  crc_ = crc64(crc_, ByteSpan(pending_).subspan(summed_, offset_ - summed_));
  summed_ = offset_;
}

// Forgets what was understood, where that moves less than it frees.
void RdbReader::compact() {
  const std::size_t done = holding_ ? value_begin_ : offset_;
  if (done < pending_.size() && done <= pending_.size() / 2) return;
  pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(done));
  offset_ -= done;
  summed_ -= done;
  value_begin_ -= holding_ ? done : 0;
  if (pending_.empty() && pending_.capacity() > kKeepPending) pending_ = Bytes();
}

Result<void, RdbError> RdbReader::finish() const {
  if (state_ == State::kFailed) return error_;
  if (state_ != State::kDone) return size_ == 0 ? RdbError::kNotRdb : RdbError::kTruncated;
  return success();
}

bool RdbReader::commit(const Cursor& in, bool value) {
  const ByteSpan taken = ByteSpan(pending_).subspan(offset_, in.consumed());
  size_ += taken.size();
  offset_ += taken.size();
  if (value && keep_values_) {
    if (taken.size() > kMaxValueSize - value_.size()) return false;
    value_.insert(value_.end(), taken.begin(), taken.end());
  }
  if (copying_) {
    passing_ = in.passing();
    if (holding_ && offset_ - value_begin_ + passing_ > copying_->largest_value) holding_ = false;
  }
  return true;
}

// The rest of a string of which nothing is looked at. False: more bytes are needed.
bool RdbReader::pass() {
  const auto size =
      static_cast<std::size_t>(std::min<std::uint64_t>(passing_, pending_.size() - offset_));
  size_ += size;
  offset_ += size;
  passing_ -= size;
  if (passing_ > 0) wanted_ = 1;
  return passing_ == 0;
}

Result<bool, RdbError> RdbReader::step() {
  switch (state_) {
    case State::kHeader:
      return read_header();
    case State::kBetween:
      return read_between();
    default:
      if (passing_ > 0) return pass();
      return tasks_.empty() ? end_value() : read_part();
  }
}

Result<bool, RdbError> RdbReader::read_header() {
  Cursor in(ByteSpan(pending_).subspan(offset_));
  const std::string_view rest = as_text(ByteSpan(pending_).subspan(offset_));
  valkey_ = rest.starts_with('V');
  const std::string_view magic = valkey_ ? "VALKEY" : "REDIS";
  const std::size_t known = std::min(rest.size(), magic.size());
  if (rest.substr(0, known) != magic.substr(0, known)) return RdbError::kNotRdb;
  const auto header = in.raw(9);
  if (!header) {
    wanted_ = 9;
    // The magic is checked byte by byte, so that a wrong file is refused at once.
    if (known < magic.size()) wanted_ = known + 1;
    return false;
  }
  for (const char c : as_text(*header).substr(magic.size())) {
    if (c < '0' || c > '9') return RdbError::kNotRdb;
    version_ = version_ * 10 + (c - '0');
  }
  if (version_ < 1) return RdbError::kNotRdb;
  const bool known_version = valkey_ ? copying_ && version_ == kValkeyCopied
                                     : version_ <= (copying_ ? kNewestCopied : kNewestVersion);
  if (!known_version) return RdbError::kNewer;
  commit(in, false);
  state_ = State::kBetween;
  return true;
}

// When copying: most keys are strings that have arrived as a whole, name and value below 16 KiB and
// not packed. Those need no plan. False: this is none.
Result<bool, RdbError> RdbReader::take_short_string() {
  const ByteSpan rest = ByteSpan(pending_).subspan(offset_);
  if (rest.empty() || rest[0] != std::byte{kTypeString}) return false;
  std::size_t at = 1;
  const auto text = [&]() -> std::optional<ByteSpan> {
    if (rest.size() - at < 2) return std::nullopt;
    const auto lead = std::to_integer<std::size_t>(rest[at]);
    if (lead >= 0x80) return std::nullopt;
    std::size_t size = lead & 0x3f;
    ++at;
    if (lead >= 0x40) size = size << 8 | std::to_integer<std::size_t>(rest[at++]);
    if (rest.size() - at < size) return std::nullopt;
    at += size;
    return rest.subspan(at - size, size);
  };
  const auto name = text();
  if (!name) return false;
  const std::size_t value_at = at;
  if (!text()) return false;
  const std::size_t largest = copying_->largest_value;
  if (name->size() > largest || at - value_at > largest) return false;
  RdbKey key;
  key.database = database_;
  key.version = version_;
  key.key = *name;
  key.expires = std::exchange(expires_, {});
  key.type = kTypeString;
  size_ += at;
  offset_ += at;
  if (!handler_.wants(key)) return true;
  key.value = rest.subspan(value_at, at - value_at);
  if (!handler_.on_key(key)) return RdbError::kRefused;
  return true;
}

Result<bool, RdbError> RdbReader::read_between() {
  if (copying_) {
    SEALANE_TRY(const bool taken, take_short_string());
    if (taken) return true;
  }
  Cursor in(ByteSpan(pending_).subspan(offset_),
            copying_ ? std::min(copying_->largest_value, kMaxStringSize) : kMaxStringSize);
  const std::uint8_t opcode = in.byte();
  std::optional<Text> function;
  if (!in.bad()) {
    switch (opcode) {
      case kAux:
        if (copying_) return begin_passing(in, {{Part::kString, 2}});
        in.string();
        in.string();
        break;
      case kResizeDatabase:
        in.length();
        in.length();
        break;
      case kSelectDatabase: {
        const std::uint64_t database = in.length();
        if (!in.bad()) database_ = database;
        break;
      }
      case kExpiresMilliseconds: {
        const auto at = in.integer<std::uint64_t>(Endian::kLittle);
        if (!in.bad()) expires_ = static_cast<std::int64_t>(at);
        break;
      }
      case kExpiresSeconds: {
        const auto at = in.integer<std::uint32_t>(Endian::kLittle);
        if (!in.bad()) expires_ = std::int64_t{1000} * static_cast<std::int32_t>(at);
        break;
      }
      case kIdle:
        in.length();
        break;
      case kFrequency:
        in.byte();
        break;
      case kFunction2:
        if (copying_) return begin_passing(in, {{Part::kString, 1}});
        function = in.string();
        break;
      case kEnd: {
        if (version_ < 5) {
          commit(in, false);
          state_ = State::kDone;
          return true;
        }
        const auto stored = in.integer<std::uint64_t>(Endian::kLittle);
        if (in.bad()) break;
        sum_up();
        const std::uint64_t computed = crc64(crc_, ByteSpan(pending_).subspan(offset_, 1));
        has_checksum_ = stored != 0;
        if (has_checksum_ && stored != computed) return RdbError::kChecksum;
        commit(in, false);
        state_ = State::kDone;
        return true;
      }
      case kModuleAux:  // which module, and what it saved
        if (!copying_) return RdbError::kNewer;
        return begin_passing(in, {{Part::kModule, 1}, {Part::kLength, 1}});
      case kSlotInfo:  // number, keys, keys that expire
        if (!copying_) return RdbError::kNewer;
        return begin_passing(in, {{Part::kLength, 3}});
      default:
        return begin_value(in, opcode);
    }
  }
  SEALANE_TRY(const bool enough, settle(in));
  if (!enough) return false;
  if (function && !handler_.on_function(function->view())) return RdbError::kRefused;
  commit(in, false);
  return true;
}

// What is no key is read like a value that nobody wants.
Result<bool, RdbError> RdbReader::begin_passing(const Cursor& in,
                                                std::initializer_list<Task> tasks) {
  tasks_ = tasks;
  is_key_ = false;
  holding_ = false;
  commit(in, false);
  state_ = State::kValue;
  return true;
}

// The type and the key are read; what the value consists of is planned.
Result<bool, RdbError> RdbReader::begin_value(Cursor& in, std::uint8_t type) {
  if (kind_of(type) == 0 && !(copying_ && is_copied_only(type, valkey_))) return RdbError::kNewer;
  const Text key = in.string();
  SEALANE_TRY(const bool enough, settle(in));
  if (!enough) return false;
  type_ = type;
  key_.assign(key.view().begin(), key.view().end());
  value_.clear();
  tasks_.clear();
  elements_ = 0;
  members_ = {};
  commit(in, false);
  state_ = State::kValue;
  if (copying_) {
    is_key_ = true;
    wanted_key_ = handler_.wants(head());
    holding_ = wanted_key_;
    value_begin_ = offset_;
    if (type == kTypeString) {  // most are, so it is tried at once
      Cursor value(ByteSpan(pending_).subspan(offset_));
      value.pass_strings();
      static_cast<void>(value.string());
      if (!value.bad()) {
        commit(value, true);
        if (passing_ == 0) return end_value();
        return true;
      }
    }
  }
  switch (type) {
    case kTypeList:
    case kTypeSet:
    case kTypeZset:
    case kTypeZset2:
    case kTypeHash:
    case kTypeListQuicklist:
    case kTypeListQuicklist2:
    case kTypeHashTimed:
      tasks_.push_back({Part::kCollection, 1});
      break;
    case kTypeHashExpiring:
      tasks_.push_back({Part::kCollection, 1});
      tasks_.push_back({Part::kRaw8, 1});  // when the first field expires
      break;
    case kTypeHashListpackExpiring:
      tasks_.push_back({Part::kBlob, 1});
      tasks_.push_back({Part::kRaw8, 1});
      break;
    case kTypeStream:
    case kTypeStream2:
    case kTypeStream3:
      tasks_.push_back({Part::kStreamGroups, 1});
      // First id, highest deleted id, entries ever added.
      if (type != kTypeStream) tasks_.push_back({Part::kIgnoredLength, 5});
      tasks_.push_back({Part::kLength, 3});  // entries, last id
      tasks_.push_back({Part::kStreamNodes, 1});
      break;
    case kTypeModule2:
      tasks_.push_back({Part::kModule, 1});
      tasks_.push_back({Part::kLength, 1});  // which module
      break;
    default:
      tasks_.push_back({Part::kBlob, 1});
      break;
  }
  return true;
}

Result<bool, RdbError> RdbReader::read_part() {
  const Task task = tasks_.back();
  Cursor in(ByteSpan(pending_).subspan(offset_));
  if (copying_) in.pass_strings();
  Text first;
  Text second;
  std::uint64_t number = 0;
  ByteSpan raw;
  switch (task.part) {
    case Part::kElement:
    case Part::kMember:
    case Part::kBlob:
    case Part::kString:
    case Part::kStreamGroup:
    case Part::kStreamConsumer:
    case Part::kTimedField:
      first = in.string();
      break;
    case Part::kPair:
      first = in.string();
      second = in.string();
      break;
    case Part::kScored:
      first = in.string();
      if (copying_) {
        in.tail(8);
      } else {
        raw = in.raw(8).value_or(ByteSpan());
      }
      break;
    case Part::kScoredText:
      first = in.string();
      if (copying_) break;
      [[fallthrough]];
    case Part::kTextScore:
      number = in.byte();  // 253 to 255: not a number, infinities
      if (number < 253) raw = in.raw(number).value_or(ByteSpan());
      break;
    case Part::kQuicklistNode:
    case Part::kExpiringField:
      number = in.length();
      first = in.string();
      break;
    case Part::kRaw4:
      raw = in.raw(4).value_or(ByteSpan());
      break;
    case Part::kRaw8:
    case Part::kIgnoredRaw8:
      raw = in.raw(8).value_or(ByteSpan());
      break;
    case Part::kRaw16:
      raw = in.raw(16).value_or(ByteSpan());
      break;
    case Part::kStreamPendingEntry:
      raw = in.raw(24).value_or(ByteSpan());  // id, time of delivery
      number = in.length();
      break;
    case Part::kCollection:
    case Part::kLength:
    case Part::kIgnoredLength:
    case Part::kStreamNodes:
    case Part::kStreamGroups:
    case Part::kStreamPending:
    case Part::kStreamConsumers:
    case Part::kStreamOwned:
    case Part::kModule:
      number = in.length();
      break;
  }
  SEALANE_TRY(const bool enough, settle(in));
  if (!enough) return false;

  if (--tasks_.back().count == 0) tasks_.pop_back();
  const auto add = [&](Part part, std::uint64_t count) {
    if (count > 0) tasks_.push_back({part, count});
  };
  bool good = true;
  switch (task.part) {
    case Part::kElement:
      add_element(first.view());
      break;
    case Part::kMember:
      add_member({first.view()});
      break;
    case Part::kPair:
      add_member({first.view(), second.view()});
      break;
    case Part::kScored:
      if (copying_) break;
      add_member({first.view(),
                  score_bytes(std::bit_cast<double>(load<std::uint64_t>(raw, Endian::kLittle)))});
      break;
    case Part::kTextScore:
      break;
    case Part::kScoredText: {
      if (copying_) {
        add(Part::kTextScore, 1);
        break;
      }
      std::optional<double> score;
      if (number < 253) score = parse_score(as_text(raw));
      if (number >= 254) score = number == 254 ? HUGE_VAL : -HUGE_VAL;
      good = score.has_value();
      if (good) add_member({first.view(), score_bytes(*score)});
      break;
    }
    case Part::kBlob:
      good = add_blob(first.view());
      break;
    case Part::kQuicklistNode:
      // 1: one element as it is; 2: a listpack.
      good = number == 1 || number == 2;
      if (number == 1) add_element(first.view());
      if (number == 2 && !copying_) {
        good = visit_listpack(first.view(), [&](ByteSpan element) {
          add_element(element);
          return true;
        });
      }
      break;
    case Part::kString:
      add_sized(first.view());
      break;
    case Part::kLength:
      add_number(number);
      break;
    case Part::kRaw4:
    case Part::kRaw8:
    case Part::kRaw16:
      add_raw(raw);
      break;
    case Part::kExpiringField:
      add(Part::kString, 1);
      break;
    case Part::kTimedField:
      add(Part::kRaw8, 1);
      add(Part::kString, 1);
      break;
    case Part::kIgnoredLength:
    case Part::kIgnoredRaw8:
      break;
    case Part::kCollection: {
      Part part = Part::kElement;
      if (type_ == kTypeSet) part = Part::kMember;
      if (type_ == kTypeHash) part = Part::kPair;
      if (type_ == kTypeHashExpiring) part = Part::kExpiringField;
      if (type_ == kTypeHashTimed) part = Part::kTimedField;
      if (type_ == kTypeZset) part = Part::kScoredText;
      if (type_ == kTypeZset2) part = Part::kScored;
      if (type_ == kTypeListQuicklist) part = Part::kBlob;
      if (type_ == kTypeListQuicklist2) part = Part::kQuicklistNode;
      if (part == Part::kPair && copying_) {
        good = number <= UINT64_MAX / 2;
        if (good) add(Part::kString, 2 * number);
        break;
      }
      add(part, number);
      break;
    }
    case Part::kStreamNodes:
      good = number <= UINT64_MAX / 2;
      add_number(number);
      if (good) add(Part::kString, 2 * number);  // first id, listpack
      break;
    case Part::kStreamGroups:
      add_number(number);
      add(Part::kStreamGroup, number);
      break;
    case Part::kStreamGroup:
      add_sized(first.view());
      add(Part::kStreamConsumers, 1);
      add(Part::kStreamPending, 1);
      if (type_ != kTypeStream) add(Part::kIgnoredLength, 1);  // entries read
      add(Part::kLength, 2);                                   // last delivered id
      break;
    case Part::kStreamPending:
      add_number(number);
      add(Part::kStreamPendingEntry, number);
      break;
    case Part::kStreamPendingEntry:
      add_raw(raw);
      add_number(number);  // deliveries
      break;
    case Part::kStreamConsumers:
      add_number(number);
      add(Part::kStreamConsumer, number);
      break;
    case Part::kStreamConsumer:
      add_sized(first.view());
      add(Part::kStreamOwned, 1);
      if (type_ == kTypeStream3) add(Part::kIgnoredRaw8, 1);  // last active
      add(Part::kRaw8, 1);                                    // last seen
      break;
    case Part::kStreamOwned:
      add_number(number);
      add(Part::kRaw16, number);
      break;
    case Part::kModule: {
      // What a module saved says its own types: 0 ends it.
      add_number(number);
      constexpr std::array<Part, 6> kTypes = {Part::kModule, Part::kLength, Part::kLength,
                                              Part::kRaw4,   Part::kRaw8,   Part::kString};
      good = number < kTypes.size();
      if (good && number > 0) {
        add(Part::kModule, 1);
        add(kTypes[number], 1);
      }
      break;
    }
  }
  if (!good) return RdbError::kMalformed;
  if (!commit(in, true)) return RdbError::kLimits;
  return true;
}

RdbKey RdbReader::head() const {
  RdbKey key;
  key.database = database_;
  key.version = version_;
  key.key = key_;
  key.expires = expires_;
  key.type = type_;
  return key;
}

Result<bool, RdbError> RdbReader::end_value() {
  state_ = State::kBetween;
  if (copying_) {
    if (!is_key_) return true;
    RdbKey key = head();
    expires_.reset();
    if (!wanted_key_) return true;
    key.too_large = !holding_;
    if (holding_) key.value = ByteSpan(pending_).subspan(value_begin_, offset_ - value_begin_);
    holding_ = false;
    if (!handler_.on_key(key)) return RdbError::kRefused;
    return true;
  }
  const auto ordered = ordered_.finish();  // and as new for the next value
  const auto kind = static_cast<std::byte>(kind_of(type_));
  ordered_.update(ByteSpan(&kind, 1));
  add_sized(key_);
  add_number(expires_ ? 1 : 0);
  add_number(static_cast<std::uint64_t>(expires_.value_or(0)));
  add_number(elements_);
  ordered_.update(ordered);
  for (const std::uint64_t lane : members_.lanes) add_number(lane);
  RdbKey key = head();
  key.value = value_;
  key.digest = to_digest(ordered_.finish());
  if (!handler_.on_key(key)) return RdbError::kRefused;
  expires_.reset();
  value_ = Bytes();
  return true;
}

// Of what follows nothing is needed to copy a value.

void RdbReader::add_sized(ByteSpan data) {
  if (copying_) return;
  add_number(data.size());
  ordered_.update(data);
}

void RdbReader::add_raw(ByteSpan data) {
  if (!copying_) ordered_.update(data);
}

void RdbReader::add_number(std::uint64_t value) {
  if (copying_) return;
  ByteArray<8> bytes{};
  store_integer(MutableByteSpan(bytes), value, Endian::kLittle);
  ordered_.update(bytes);
}

void RdbReader::add_element(ByteSpan element) {
  if (copying_) return;
  ++elements_;
  add_sized(element);
}

void RdbReader::add_member(std::initializer_list<ByteSpan> parts) {
  if (copying_) return;
  ++elements_;
  crypto::Sha256& hash = member_hash_;
  for (const ByteSpan part : parts) {
    ByteArray<8> size{};
    store_integer(MutableByteSpan(size), static_cast<std::uint64_t>(part.size()), Endian::kLittle);
    hash.update(size);
    hash.update(part);
  }
  members_.add(to_digest(hash.finish()));
}

// A whole value, or a node of a list, in one string.
bool RdbReader::add_blob(ByteSpan blob) {
  if (copying_) return true;
  const auto element = [&](ByteSpan data) {
    add_element(data);
    return true;
  };
  const auto member = [&](ByteSpan data) {
    add_member({data});
    return true;
  };
  // Two by two: field and value, or member and score.
  std::optional<Bytes> before;
  const bool scored = type_ == kTypeZsetZiplist || type_ == kTypeZsetListpack;
  const auto pair = [&](ByteSpan data) {
    if (!before) {
      before = to_bytes(data);
      return true;
    }
    if (scored) {
      const auto score = parse_score(as_text(data));
      if (!score) return false;
      add_member({*before, score_bytes(*score)});
    } else {
      add_member({*before, data});
    }
    before.reset();
    return true;
  };
  switch (type_) {
    case kTypeString:
      add_sized(blob);
      return true;
    case kTypeListZiplist:
    case kTypeListQuicklist:
      return visit_ziplist(blob, element);
    case kTypeSetIntset:
      return visit_intset(blob, member);
    case kTypeSetListpack:
      return visit_listpack(blob, member);
    case kTypeZsetZiplist:
    case kTypeHashZiplist:
      return visit_ziplist(blob, pair) && !before;
    default:
      return visit_listpack(blob, pair) && !before;
  }
}

}  // namespace sealane::backup
