#pragma once
// The extension block, in the reserved bytes of the snapshot header, and the acknowledgement that
// answers it. The foreign engine ignores the one and never reads the other. Format:
// docs/protocol/entropy.md, section 6. Integers are big-endian.
//
//   offset  size  field        (from byte 8 of the snapshot header)
//        0     4  magic        45 4E 58 31
//        4     2  version      1
//        6     2  block_size   of all of it, the MAC too: 85 + n + 32
//        8     4  flags        1 acknowledgement wanted, 2 idempotent commands, 4 part of a series,
//                              8 digest exchange follows on request, 16 the acknowledgement may
//                              have a cause, 32 the sender's name ends with its store; others are
//                              ignored
//       12    16  snapshot     its random id
//       28     8  created      milliseconds since 1970
//       36     4  part         its index
//       40     4  parts        their number, 0 unknown
//       44     4  range_start  of tokens, exclusive
//       48     4  range_end    inclusive
//       52    32  digest       SHA-256 of this connection's plaintext
//       84     1  n            0..64
//       85     n  sender       its name; with flag 32 then "store:" and 32 hexadecimal digits
//     85+n    32  MAC          HMAC-SHA-256 over the negotiation header, total_len, encrypted and
//                              the block up to here
//
//   offset  size  field        the acknowledgement
//        0     4  magic        45 4E 58 41
//        4     2  version      1
//        6     1  cause        FailureCause; 0 but for kPartly and kSinkFailed, and but for who
//                              asked for it by flag 16
//        7     1  status       AckStatus
//        8    16  snapshot
//       24     4  applied      commands; if refused: a Refusal
//       28     4  skipped      if refused as kStale: the time here, in milliseconds since 1970, its
//       32     4  failed       upper and its lower half
//       36     4  part         so that the answer to one part is none to another
//       40    24  MAC          HMAC-SHA-256 over the bytes before, its first 24 bytes
//
// The key of both MACs is HKDF-SHA-256(cluster secret, salt = snapshot, info = "entropy-ext-1").
#include <cstdint>
#include <optional>
#include <string>

#include "crypto/hash.h"
#include "entropy/key_file.h"
#include "entropy/wire.h"

namespace sealane::entropy {

using SnapshotId = ByteArray<16>;
using StoreId = ByteArray<16>;

struct Extension {
  static constexpr std::size_t kMaxNameSize = 64;  // bounds the block within the smallest header
  static constexpr std::size_t kFixedSize = 85;
  static constexpr std::size_t kMacSize = 32;
  static constexpr std::uint32_t kAcknowledge = 1;
  static constexpr std::uint32_t kIdempotent = 2;
  static constexpr std::uint32_t kSeries = 4;
  static constexpr std::uint32_t kDigestExchange = 8;
  static constexpr std::uint32_t kCauses = 16;
  static constexpr std::uint32_t kStore = 32;

  std::uint32_t flags = kAcknowledge;
  SnapshotId snapshot{};
  std::uint64_t created_ms = 0;
  std::uint32_t part = 0;
  std::uint32_t parts = 0;
  std::uint32_t range_start = 0;
  std::uint32_t range_end = 0;
  crypto::Sha256Digest digest{};
  std::string sender;  // as on the wire
  friend bool operator==(const Extension&, const Extension&) = default;

  std::size_t encoded_size() const { return kFixedSize + sender.size() + kMacSize; }
  // Which store the part was read from, so that a receiver does not write to that. It stands behind
  // the name, where a receiver that does not know of it shows it and does nothing else. A name that
  // leaves no room for it is cut.
  void set_store(const StoreId& store);
  std::optional<StoreId> store() const;
  std::string_view name() const;
};

// What the MAC binds besides the block: the 20 bytes of the negotiation, total_len and encrypted.
using BoundHeader = std::span<const std::byte, kNegotiationSize + 8>;

// REQUIRES: the name is within its limit, and `out` has encoded_size() bytes.
void encode(const Extension& value, BoundHeader bound, const ClusterSecret& secret,
            MutableByteSpan out);

enum class ExtensionError : std::uint8_t {
  kAbsent =
      1,       // no magic, or a version that is not known: to be ignored as the foreign engine does
  kMalformed,  // begins as ours and is not; nobody but an attacker or a fault writes that
  kNotAuthentic,
};
// `reserved` is what follows byte 8 of the snapshot header. Bytes after the block are ignored.
Result<Extension, ExtensionError> decode_extension(ByteSpan reserved, BoundHeader bound,
                                                   std::span<const ClusterSecret> secrets,
                                                   std::size_t* secret_used = nullptr);

enum class AckStatus : std::uint8_t {
  kApplied = 0,
  kPartly = 1,  // some commands failed, or it ended in the middle
  kRefused = 2,
  kBusy = 3,        // later
  kSinkFailed = 4,  // nothing, or an unknown part of it, was applied
};
// Why, where that was decided before anything was decrypted: a signed sender may know it. All that
// a part decrypts to is kNotSaid.
enum class Refusal : std::uint32_t {
  kNotSaid = 0,
  kStale = 1,      // by the clock here; see Acknowledgement::time_ms()
  kPlaintext = 2,  // has to be encrypted
  kQuota = 3,      // too large
  kNoKey = 4,      // nothing to decrypt it with
};
// What most of the failures of a part have in common. What is not known here is kOther.
enum class FailureCause : std::uint8_t {
  kNotSaid = 0,
  kOther = 1,
  kConnectionLost = 2,  // of the sink to its store
  kOutOfMemory = 3,
  kReadOnly = 4,
  kMoved = 5,  // another node of a cluster has the keys
  kLoading = 6,
  kDiskFull = 7,
  kPayloadVersion = 8,  // the values are of a newer server, or damaged
  kWrongType = 9,
  kNoPermission = 10,
  kRefused = 11,    // commands that are not allowed
  kSpool = 12,      // no place for the part until it is whole
  kTimeout = 13,    // the sink takes longer than a part may
  kSameStore = 14,  // it would write to what the sender reads
};
inline constexpr FailureCause kLastFailureCause = FailureCause::kSameStore;
// "connection_lost", "disk_full", …: stable, as of warm::Cause; empty if it was not said.
std::string_view cause_name(FailureCause cause);

struct Acknowledgement {
  static constexpr std::size_t kEncodedSize = 64;
  AckStatus status = AckStatus::kRefused;
  SnapshotId snapshot{};
  std::uint32_t part = 0;
  std::uint32_t applied = 0;
  std::uint32_t skipped = 0;
  std::uint32_t failed = 0;
  std::uint8_t cause = 0;  // as on the wire
  friend bool operator==(const Acknowledgement&, const Acknowledgement&) = default;

  static constexpr bool may_have_cause(AckStatus status) {
    return status == AckStatus::kPartly || status == AckStatus::kSinkFailed;
  }
  FailureCause failure_cause() const;

  // Of kRefused. One that is not known here is kNotSaid.
  static Acknowledgement refused(Refusal why, std::uint64_t time_ms);
  Refusal refusal() const;
  std::uint64_t time_ms() const { return std::uint64_t{skipped} << 32 | failed; }  // of kStale
};
void encode(const Acknowledgement& value, const ClusterSecret& secret,
            std::span<std::byte, Acknowledgement::kEncodedSize> out);

enum class AckError : std::uint8_t {
  kMalformed = 1,  // magic, version, status, or a cause where there is none
  kNotAuthentic,
  kOther,  // authentic, of another snapshot or part
};
// Accepts only the answer to `snapshot` and `part`.
Result<Acknowledgement, AckError> decode_acknowledgement(
    std::span<const std::byte, Acknowledgement::kEncodedSize> in, const ClusterSecret& secret,
    const SnapshotId& snapshot, std::uint32_t part);

}  // namespace sealane::entropy
