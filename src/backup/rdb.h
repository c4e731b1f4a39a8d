#pragma once
// RdbReader: walks an RDB file (the snapshot format of Redis) as it streams by. It finds the end,
// checks the CRC-64, and digests each key so that equal data gives equal digests, in whatever
// encoding a server chose to store it; or it finds where each value ends, to copy it as it stands.
// Format: docs/protocol/redis.md.
#include <array>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "crypto/crc64.h"
#include "crypto/hash.h"
#include "sealane/base/bytes.h"
#include "sealane/base/result.h"

namespace sealane::backup {

enum class RdbError : std::uint8_t {
  kNotRdb = 1,  // no "REDIS" and version at the start
  kNewer,       // a version or type of a server that is newer than this program
  kMalformed,
  kLimits,  // a string above kMaxStringSize
  kChecksum,
  kTruncated,
  kRefused,  // by the handler
};
std::string_view describe(RdbError error);  // a clause: "it is damaged"

using crypto::crc64;  // which RDB files and DUMP payloads end with

// LZF as Redis writes it. Nothing unless it gives exactly `size` bytes. REQUIRES: `size` was
// checked.
std::optional<Bytes> lzf_decompress(ByteSpan packed, std::size_t size);

// 256 bits that are added lane by lane: the digest of a set is the sum over its members'.
struct RdbDigest {
  std::array<std::uint64_t, 4> lanes{};
  void add(const RdbDigest& other) {
    for (std::size_t i = 0; i < lanes.size(); ++i) lanes[i] += other.lanes[i];
  }
  std::string hex() const;
  friend bool operator==(const RdbDigest&, const RdbDigest&) = default;
};

// One key, complete. The spans live until the handler returns.
struct RdbKey {
  std::uint64_t database = 0;
  int version = 0;  // of the file
  ByteSpan key;
  std::optional<std::int64_t> expires;  // Unix time in milliseconds
  std::uint8_t type = 0;                // of the RDB format
  ByteSpan value;                       // as in the file; empty unless asked for
  bool too_large = false;               // when copying: to be kept, so `value` is empty
  RdbDigest digest;                     // of key, kind, value, expiry; not when copying
};

// What RESTORE takes for the key: the value as it stands in the file, a version and a CRC-64. The
// version is not above the file's, and as low as the type allows.
// REQUIRES: the reader keeps values.
void append_dump(const RdbKey& key, Bytes& out);
constexpr std::size_t dump_size(const RdbKey& key) { return key.value.size() + 11; }

class RdbHandler {
 public:
  virtual ~RdbHandler() = default;
  // When copying, before the value is there: false passes over it, and on_key() is not called.
  virtual bool wants(const RdbKey&) { return true; }
  // False stops the reader with kRefused.
  virtual bool on_key(const RdbKey& key) = 0;
  virtual bool on_function(ByteSpan library) = 0;  // not when copying
};

// Values are kept as they stand, and only their ends are looked for: no digests, and types of newer
// servers too.
struct RdbCopying {
  // Of a value that is kept, and of a key's name; what is above is passed over as it arrives.
  std::size_t largest_value = 0;
};

// Not thread-safe. Errors are final. Any cut of the stream gives the same keys. Memory: what is fed
// at once and the largest string of the file, or the largest value with `keep_values`; when copying
// the largest kept value.
class RdbReader {
 public:
  static constexpr std::size_t kMaxStringSize = 512 * 1024 * 1024;  // proto-max-bulk-len's default
  static constexpr std::size_t kMaxValueSize = kMaxStringSize;      // of a kept value: one RESTORE
  static constexpr int kNewestVersion = 11;                         // Redis 7.2
  static constexpr int kNewestCopied = 12;                          // Redis 8.0
  static constexpr int kValkeyCopied = 80;                          // Valkey 9.0

  explicit RdbReader(RdbHandler& handler, bool keep_values = false)
      : handler_(handler), keep_values_(keep_values) {}
  RdbReader(RdbHandler& handler, RdbCopying copying) : handler_(handler), copying_(copying) {}

  // The text of a string's value as it stands in a file (type 0): a part of `value`, or unpacked
  // into `scratch`. Nothing if it has more than `largest` bytes, or is malformed.
  static std::optional<ByteSpan> text_of(ByteSpan value, std::size_t largest, Bytes& scratch);

  // Bytes after the end are counted, not read.
  Result<void, RdbError> feed(ByteSpan data);
  // After the last byte: kTruncated unless the end was there.
  Result<void, RdbError> finish() const;

  bool done() const { return state_ == State::kDone; }
  std::uint64_t size() const { return size_; }          // of the file, as far as it was read
  std::uint64_t trailing() const { return trailing_; }  // bytes after its end
  bool has_checksum() const { return has_checksum_; }   // a server may be told to write none
  int version() const { return version_; }

 private:
  enum class State : std::uint8_t { kHeader, kBetween, kValue, kDone, kFailed };
  // What the rest of a value consists of, last part first. Each is read `count` times.
  enum class Part : std::uint8_t {
    kCollection,     // the number of parts of one of the next kinds
    kElement,        // of a list, in order
    kMember,         // of a set
    kPair,           // field and value of a hash
    kScored,         // member and binary double
    kScoredText,     // member and textual double
    kBlob,           // a whole value, or a node of a list, in one string
    kQuicklistNode,  // its kind and the string
    // Of streams and modules:
    kString,
    kLength,
    kIgnoredLength,  // what older servers do not keep
    kIgnoredRaw8,
    kRaw4,
    kRaw8,
    kRaw16,
    kStreamNodes,
    kStreamGroups,
    kStreamGroup,
    kStreamPending,
    kStreamPendingEntry,
    kStreamConsumers,
    kStreamConsumer,
    kStreamOwned,
    kModule,
    // When copying only:
    kTextScore,
    kExpiringField,  // of a hash: expiry, name; the value follows
    kTimedField,     // of a hash: name; the value and the expiry follow
  };
  struct Task {
    Part part = Part::kElement;
    std::uint64_t count = 0;
  };
  class Cursor;

  Result<void, RdbError> fail(RdbError error);
  Result<bool, RdbError> step();  // false: more bytes are needed
  Result<bool, RdbError> read_header();
  Result<bool, RdbError> read_between();
  Result<bool, RdbError> take_short_string();
  Result<bool, RdbError> begin_value(Cursor& in, std::uint8_t type);
  Result<bool, RdbError> begin_passing(const Cursor& in, std::initializer_list<Task> tasks);
  bool pass();
  void sum_up();
  void compact();
  RdbKey head() const;
  Result<bool, RdbError> read_part();
  Result<bool, RdbError> end_value();
  Result<bool, RdbError> settle(const Cursor& in);
  bool commit(const Cursor& in, bool value);

  void add_sized(ByteSpan data);
  void add_number(std::uint64_t value);
  void add_raw(ByteSpan data);
  void add_element(ByteSpan element);
  void add_member(std::initializer_list<ByteSpan> parts);
  bool add_blob(ByteSpan blob);

  RdbHandler& handler_;
  bool keep_values_ = false;
  std::optional<RdbCopying> copying_;
  State state_ = State::kHeader;
  Bytes pending_;
  std::size_t offset_ = 0;  // of what was understood
  std::size_t wanted_ = 0;  // bytes in pending_ before another try makes sense
  std::uint64_t crc_ = 0;
  std::size_t summed_ = 0;  // of pending_, in crc_
  std::uint64_t size_ = 0;
  std::uint64_t trailing_ = 0;
  bool has_checksum_ = false;
  int version_ = 0;
  bool valkey_ = false;  // its types from 22 on
  RdbError error_ = RdbError::kMalformed;

  std::uint64_t database_ = 0;
  std::optional<std::int64_t> expires_;
  std::uint8_t type_ = 0;
  Bytes key_;
  Bytes value_;
  // When copying, of the value under way:
  bool is_key_ = false;      // or a note, a function, what a module saved
  bool wanted_key_ = false;  // by the handler
  bool holding_ = false;     // it stays in pending_, from value_begin_ on
  std::size_t value_begin_ = 0;
  std::uint64_t passing_ = 0;  // bytes of a string that did not arrive yet
  std::vector<Task> tasks_;
  std::uint64_t elements_ = 0;
  crypto::Sha256 ordered_;  // of what has an order
  crypto::Sha256 member_hash_;
  RdbDigest members_;  // of what has none
};

}  // namespace sealane::backup
