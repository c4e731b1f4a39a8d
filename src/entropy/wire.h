#pragma once
// The unified entropy dialect on the wire. Format: docs/protocol/entropy.md, sections 2 and 3.
//
// All integers are unsigned, 32 bits, big-endian. The dialing side sends:
//
//   offset  size          field
//        0     4          magic        0x64640001
//        4     4          command      1
//        8     4          header_size  H, 8..1024
//       12     4          buffer_size  B, 1..5242880; the sender's plaintext chunk, for information
//       16     4          cipher_size  C, 1..5242880; no chunk is longer
//       20     4          total_len    L, 0..4294967294; plaintext bytes, padding never counted
//       24     4          encrypted    0 or 1
//       28   H-8          reserved     zero, or an extension block (extension.h); else ignored
//     20+H                until L plaintext bytes were delivered, each time:
//              4          chunk_len    1..C
//      chunk_len          payload      plain; or AES-128-CBC with PKCS#7, every chunk from the
//      file's IV end                FIN
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "sealane/base/bytes.h"
#include "sealane/base/result.h"

namespace sealane::entropy {

inline constexpr std::uint32_t kMagic = 0x64640001;
inline constexpr std::uint32_t kPushCommand = 1;
inline constexpr std::uint32_t kMinHeaderSize = 8;
inline constexpr std::uint32_t kMaxHeaderSize = 1024;
inline constexpr std::uint32_t kMaxBufferSize = 5'242'880;
inline constexpr std::uint32_t kMaxCipherSize = 5'242'880;  // bounds the memory for one chunk
inline constexpr std::uint32_t kMaxTotal = 4'294'967'294;   // one less than the field could say
inline constexpr std::size_t kNegotiationSize = 20;
inline constexpr std::size_t kChunkLengthSize = 4;

// Why a stream is refused; names are stable (reason_name), they go to logs and metrics.
enum class Reason : std::uint8_t {
  kEofInNegotiation = 1,
  kBadMagic,
  kBadCommand,
  kHeaderSizeRange,
  kBufferSizeRange,
  kCipherSizeRange,
  kEofInSnapshotHeader,
  kBadEncryptFlag,
  kTotalLenTooLarge,
  kEofInChunkLength,
  kZeroChunk,
  kChunkExceedsCipherSize,
  kEofInChunkPayload,
  kCiphertextNotBlockMultiple,
  kBadPadding,
  kOvershootTotalLen,
  kTrailingBytes,
  // Below: refused by our rules where the foreign engine goes on.
  kIdleTimeout,
  kTotalTimeout,
  kPlaintextRefused,
  kUnauthenticated,
  kStale,
  kReplayed,
  kBusy,
  kDigestMismatch,
  kNoProgressChunk,
  kResetBeforeEof,
  kQuota,
  kNoKey,
  kSpoolFailed,
};
inline constexpr Reason kLastReason = Reason::kSpoolFailed;

// The foreign engine's classes, and `policy`, which is ours.
enum class ErrorClass : std::uint8_t {
  kIo = 1,
  kConfig,
  kKey,
  kProtocol,
  kCrypto,
  kSource,
  kSink,
  kPolicy
};

std::string_view reason_name(Reason reason);    // "bad_magic"
std::string_view class_name(ErrorClass value);  // "protocol"
ErrorClass reason_class(Reason reason);
std::string_view describe(Reason reason);  // a sentence for a person, without a full stop

struct Negotiation {
  std::uint32_t header_size = 0;
  std::uint32_t buffer_size = 0;
  std::uint32_t cipher_size = 0;
  friend bool operator==(const Negotiation&, const Negotiation&) = default;
};

// REQUIRES: fields within their limits.
void encode(const Negotiation& value, std::span<std::byte, kNegotiationSize> out);
// The reason is that of the first field, in the order of the table, that is out of its limits.
Result<Negotiation, Reason> decode_negotiation(std::span<const std::byte, kNegotiationSize> in);

// Whether those 20 bytes, or as many as there are, begin a request of the original C engine, which
// has another magic and other rules, and what it asks for. Nothing else is known of that dialect
// here. (Its answers carry no magic at all, so they cannot be told from noise.)
std::optional<std::string_view> c_dialect_request(ByteSpan first_bytes);

}  // namespace sealane::entropy
