#include "entropy/wire.h"

#include <array>

#include "base/byte_reader.h"
#include "base/check.h"

namespace sealane::entropy {
namespace {

constexpr std::uint32_t kCDialectMagic = 64640001;  // the same digits, read as a decimal number

struct Entry {
  Reason reason;
  ErrorClass kind;
  std::string_view name;
  std::string_view sentence;
};
constexpr std::array kReasons = {
    Entry{Reason::kEofInNegotiation, ErrorClass::kIo, "eof_in_negotiation",
          "the stream ended within its first 20 bytes"},
    Entry{Reason::kBadMagic, ErrorClass::kProtocol, "bad_magic",
          "the stream does not begin with 64 64 00 01, so it is not of the unified dialect; the "
          "original C dialect is not spoken here"},
    Entry{Reason::kBadCommand, ErrorClass::kProtocol, "bad_command",
          "the command is not 1, the only one of the unified dialect"},
    Entry{Reason::kHeaderSizeRange, ErrorClass::kProtocol, "header_size_range",
          "the header size is not within 8..1024"},
    Entry{Reason::kBufferSizeRange, ErrorClass::kProtocol, "buffer_size_range",
          "the buffer size is not within 1..5242880"},
    Entry{Reason::kCipherSizeRange, ErrorClass::kProtocol, "cipher_size_range",
          "the cipher size is not within 1..5242880"},
    Entry{Reason::kEofInSnapshotHeader, ErrorClass::kIo, "eof_in_snapshot_header",
          "the stream ended within the snapshot header"},
    Entry{Reason::kBadEncryptFlag, ErrorClass::kProtocol, "bad_encrypt_flag",
          "the encrypt flag is neither 0 nor 1"},
    Entry{Reason::kTotalLenTooLarge, ErrorClass::kProtocol, "total_len_too_large",
          "the announced size is above 4294967294 bytes"},
    Entry{Reason::kEofInChunkLength, ErrorClass::kIo, "eof_in_chunk_length",
          "the stream ended before the announced size was reached"},
    Entry{Reason::kZeroChunk, ErrorClass::kProtocol, "zero_chunk", "a chunk has the length 0"},
    Entry{Reason::kChunkExceedsCipherSize, ErrorClass::kProtocol, "chunk_exceeds_cipher_size",
          "a chunk is longer than the cipher size that was announced"},
    Entry{Reason::kEofInChunkPayload, ErrorClass::kIo, "eof_in_chunk_payload",
          "the stream ended within a chunk"},
    Entry{Reason::kCiphertextNotBlockMultiple, ErrorClass::kCrypto, "ciphertext_not_block_multiple",
          "an encrypted chunk is not a multiple of 16 bytes long"},
    Entry{Reason::kBadPadding, ErrorClass::kCrypto, "bad_padding",
          "a chunk does not decrypt; key and IV may not be those of the sender"},
    Entry{Reason::kOvershootTotalLen, ErrorClass::kProtocol, "overshoot_total_len",
          "the chunks hold more than the announced size"},
    Entry{Reason::kTrailingBytes, ErrorClass::kProtocol, "trailing_bytes",
          "bytes follow after the announced size"},
    Entry{Reason::kIdleTimeout, ErrorClass::kPolicy, "idle_timeout", "nothing came for too long"},
    Entry{Reason::kTotalTimeout, ErrorClass::kPolicy, "total_timeout",
          "the whole took longer than allowed"},
    Entry{Reason::kPlaintextRefused, ErrorClass::kPolicy, "plaintext_refused",
          "it is not encrypted, and this side takes encrypted snapshots only"},
    Entry{Reason::kUnauthenticated, ErrorClass::kPolicy, "unauthenticated",
          "it is not signed with the cluster's secret, and this peer's have to be"},
    Entry{Reason::kStale, ErrorClass::kPolicy, "stale",
          "it was made too long ago, in the future, or before this side started; check the clocks, "
          "then send it again"},
    Entry{Reason::kReplayed, ErrorClass::kPolicy, "replayed",
          "this part was applied before; nothing was done"},
    Entry{Reason::kBusy, ErrorClass::kPolicy, "busy",
          "this part is being received already, or too many are; send it later"},
    Entry{Reason::kDigestMismatch, ErrorClass::kCrypto, "digest_mismatch",
          "what arrived is not what was signed"},
    Entry{Reason::kNoProgressChunk, ErrorClass::kProtocol, "no_progress_chunk",
          "an encrypted chunk holds nothing"},
    Entry{Reason::kResetBeforeEof, ErrorClass::kIo, "reset_before_eof",
          "the connection was reset before its end"},
    Entry{Reason::kQuota, ErrorClass::kPolicy, "quota",
          "the announced size is above what this side takes"},
    Entry{Reason::kNoKey, ErrorClass::kKey, "no_key",
          "it is encrypted, and this side has no key and IV"},
    Entry{Reason::kSpoolFailed, ErrorClass::kSink, "spool_failed",
          "this side could not keep it until it was whole; see whether its disk is full"},
};
static_assert(kReasons.size() == static_cast<std::size_t>(kLastReason));

const Entry& entry(Reason reason) {
  const Entry& found = kReasons.at(static_cast<std::size_t>(reason) - 1);
  SEALANE_CHECK(found.reason == reason);
  return found;
}

constexpr bool within(std::uint32_t value, std::uint32_t low, std::uint32_t high) {
  return value >= low && value <= high;
}

}  // namespace

std::string_view reason_name(Reason reason) { return entry(reason).name; }
ErrorClass reason_class(Reason reason) { return entry(reason).kind; }
std::string_view describe(Reason reason) { return entry(reason).sentence; }

std::string_view class_name(ErrorClass value) {
  switch (value) {
    case ErrorClass::kIo:
      return "io";
    case ErrorClass::kConfig:
      return "config";
    case ErrorClass::kKey:
      return "key";
    case ErrorClass::kProtocol:
      return "protocol";
    case ErrorClass::kCrypto:
      return "crypto";
    case ErrorClass::kSource:
      return "source";
    case ErrorClass::kSink:
      return "sink";
    case ErrorClass::kPolicy:
      return "policy";
  }
  SEALANE_CHECK(false);
  return {};
}

void encode(const Negotiation& value, std::span<std::byte, kNegotiationSize> out) {
  SEALANE_CHECK(within(value.header_size, kMinHeaderSize, kMaxHeaderSize));
  SEALANE_CHECK(within(value.buffer_size, 1, kMaxBufferSize));
  SEALANE_CHECK(within(value.cipher_size, 1, kMaxCipherSize));
  const MutableByteSpan bytes = out;
  store_integer(bytes, kMagic);
  store_integer(bytes.subspan(4), kPushCommand);
  store_integer(bytes.subspan(8), value.header_size);
  store_integer(bytes.subspan(12), value.buffer_size);
  store_integer(bytes.subspan(16), value.cipher_size);
}

Result<Negotiation, Reason> decode_negotiation(std::span<const std::byte, kNegotiationSize> in) {
  const auto field = [&in](std::size_t index) {
    return load<std::uint32_t>(ByteSpan(in).subspan(4 * index, 4));
  };
  if (field(0) != kMagic) return Reason::kBadMagic;
  if (field(1) != kPushCommand) return Reason::kBadCommand;
  if (!within(field(2), kMinHeaderSize, kMaxHeaderSize)) return Reason::kHeaderSizeRange;
  if (!within(field(3), 1, kMaxBufferSize)) return Reason::kBufferSizeRange;
  if (!within(field(4), 1, kMaxCipherSize)) return Reason::kCipherSizeRange;
  return Negotiation{field(2), field(3), field(4)};
}

std::optional<std::string_view> c_dialect_request(ByteSpan first_bytes) {
  ByteReader reader(first_bytes);
  if (reader.u32() != kCDialectMagic) return std::nullopt;
  switch (reader.u32().value_or(0)) {
    case 1:
      return "the peer speaks the original C dialect of Dynomite (03 DA 54 01) and asks for this "
             "node's data; only the unified dialect is spoken here";
    case 2:
      return "the peer speaks the original C dialect of Dynomite (03 DA 54 01) and wants to push "
             "records; only the unified dialect is spoken here";
    default:
      return "the peer speaks the original C dialect of Dynomite (03 DA 54 01); only the unified "
             "dialect is spoken here";
  }
}

}  // namespace sealane::entropy
