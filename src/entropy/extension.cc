#include "entropy/extension.h"

#include <tuple>

#include "base/byte_reader.h"
#include "base/check.h"
#include "base/copy_bytes.h"
#include "crypto/kdf.h"

namespace sealane::entropy {
namespace {

constexpr std::uint32_t kBlockMagic = 0x454E5831;
constexpr std::uint32_t kAckMagic = 0x454E5841;
constexpr std::uint16_t kVersion = 1;
constexpr std::size_t kAckMacSize = 24;
constexpr std::string_view kStoreMark = "store:";
constexpr std::size_t kStoreSize = kStoreMark.size() + 2 * std::tuple_size_v<StoreId>;

using MacKey = Secret<struct EntropyMacKeyTag, 32>;

MacKey mac_key(const ClusterSecret& secret, const SnapshotId& snapshot) {
  ByteArray<32> bytes;
  crypto::hkdf_sha256(secret.expose(), snapshot, as_bytes("entropy-ext-1"), bytes);
  MacKey key{std::span<const std::byte, 32>(bytes)};
  cleanse(bytes);
  return key;
}

crypto::Sha256Digest block_mac(const ClusterSecret& secret, const SnapshotId& snapshot,
                               BoundHeader bound, ByteSpan block) {
  Bytes signed_bytes;
  signed_bytes.reserve(bound.size() + block.size());
  signed_bytes.insert(signed_bytes.end(), bound.begin(), bound.end());
  signed_bytes.insert(signed_bytes.end(), block.begin(), block.end());
  return crypto::hmac_sha256(mac_key(secret, snapshot).expose(), signed_bytes);
}

}  // namespace

void encode(const Extension& value, BoundHeader bound, const ClusterSecret& secret,
            MutableByteSpan out) {
  SEALANE_CHECK(value.sender.size() <= Extension::kMaxNameSize);
  SEALANE_CHECK(out.size() == value.encoded_size());
  ByteWriter writer;
  writer.u32(kBlockMagic).u16(kVersion).u16(static_cast<std::uint16_t>(out.size()));
  writer.u32(value.flags).bytes(value.snapshot).u64(value.created_ms);
  writer.u32(value.part).u32(value.parts).u32(value.range_start).u32(value.range_end);
  writer.bytes(value.digest).u8(static_cast<std::uint8_t>(value.sender.size()));
  writer.text(value.sender);
  writer.bytes(block_mac(secret, value.snapshot, bound, writer.view()));
  copy_bytes(writer.view(), out.begin());
}

void Extension::set_store(const StoreId& store) {
  sender = sender.substr(0, kMaxNameSize - kStoreSize);
  sender.append(kStoreMark).append(to_hex(store));
  flags |= kStore;
}

std::optional<StoreId> Extension::store() const {
  if ((flags & kStore) == 0 || sender.size() < kStoreSize) return std::nullopt;
  const std::string_view all = std::string_view(sender).substr(sender.size() - kStoreSize);
  if (!all.starts_with(kStoreMark)) return std::nullopt;
  StoreId out{};
  const auto bytes = from_hex(all.substr(kStoreMark.size()));
  if (!bytes || bytes->size() != out.size()) return std::nullopt;
  copy_bytes(*bytes, out.begin());
  return out;
}

std::string_view Extension::name() const {
  const std::string_view all = sender;
  return store() ? all.substr(0, all.size() - kStoreSize) : all;
}

Result<Extension, ExtensionError> decode_extension(ByteSpan reserved, BoundHeader bound,
                                                   std::span<const ClusterSecret> secrets,
                                                   std::size_t* secret_used) {
  ByteReader reader(reserved);
  if (reader.u32() != kBlockMagic) return ExtensionError::kAbsent;
  const auto version = reader.u16();
  if (!version) return ExtensionError::kMalformed;
  if (*version != kVersion) return ExtensionError::kAbsent;
  const auto size = reader.u16();
  if (!size || *size > reserved.size() || *size < Extension::kFixedSize + Extension::kMacSize) {
    return ExtensionError::kMalformed;
  }
  const ByteSpan block = reserved.first(*size - Extension::kMacSize);
  const ByteSpan mac = reserved.subspan(block.size(), Extension::kMacSize);
  ByteReader fields(block.subspan(8));
  Extension out;
  out.flags = *fields.u32();
  out.snapshot = *fields.array<16>();
  out.created_ms = *fields.u64();
  out.part = *fields.u32();
  out.parts = *fields.u32();
  out.range_start = *fields.u32();
  out.range_end = *fields.u32();
  out.digest = *fields.array<32>();
  const std::size_t name_size = *fields.u8();
  if (name_size > Extension::kMaxNameSize || name_size != fields.remaining()) {
    return ExtensionError::kMalformed;
  }
  out.sender = to_text(fields.rest());
  for (std::size_t i = 0; i < secrets.size(); ++i) {
    const auto expected = block_mac(secrets[i], out.snapshot, bound, block);
    if (!crypto::constant_time_equal(expected, mac)) continue;
    if (secret_used != nullptr) *secret_used = i;
    return out;
  }
  return ExtensionError::kNotAuthentic;
}

Acknowledgement Acknowledgement::refused(Refusal why, std::uint64_t time_ms) {
  Acknowledgement out;
  out.status = AckStatus::kRefused;
  out.applied = static_cast<std::uint32_t>(why);
  if (why != Refusal::kStale) return out;
  out.skipped = static_cast<std::uint32_t>(time_ms >> 32);
  out.failed = static_cast<std::uint32_t>(time_ms);
  return out;
}

Refusal Acknowledgement::refusal() const {
  const bool known =
      status == AckStatus::kRefused && applied <= static_cast<std::uint32_t>(Refusal::kNoKey);
  return known ? static_cast<Refusal>(applied) : Refusal::kNotSaid;
}

FailureCause Acknowledgement::failure_cause() const {
  const bool known = cause <= static_cast<std::uint8_t>(kLastFailureCause);
  return known ? static_cast<FailureCause>(cause) : FailureCause::kOther;
}

std::string_view cause_name(FailureCause cause) {
  switch (cause) {
    case FailureCause::kNotSaid:
      return {};
    case FailureCause::kOther:
      return "other";
    case FailureCause::kConnectionLost:
      return "connection_lost";
    case FailureCause::kOutOfMemory:
      return "out_of_memory";
    case FailureCause::kReadOnly:
      return "read_only";
    case FailureCause::kMoved:
      return "moved";
    case FailureCause::kLoading:
      return "loading";
    case FailureCause::kDiskFull:
      return "disk_full";
    case FailureCause::kPayloadVersion:
      return "payload_version";
    case FailureCause::kWrongType:
      return "wrong_type";
    case FailureCause::kNoPermission:
      return "no_permission";
    case FailureCause::kRefused:
      return "refused";
    case FailureCause::kSpool:
      return "spool";
    case FailureCause::kTimeout:
      return "timeout";
    case FailureCause::kSameStore:
      return "same_store";
  }
  SEALANE_CHECK(false);
  return {};
}

void encode(const Acknowledgement& value, const ClusterSecret& secret,
            std::span<std::byte, Acknowledgement::kEncodedSize> out) {
  ByteWriter writer;
  SEALANE_CHECK(value.cause == 0 || Acknowledgement::may_have_cause(value.status));
  writer.u32(kAckMagic).u16(kVersion);
  writer.u8(value.cause).u8(static_cast<std::uint8_t>(value.status));
  writer.bytes(value.snapshot).u32(value.applied).u32(value.skipped).u32(value.failed);
  writer.u32(value.part);
  const auto mac = crypto::hmac_sha256(mac_key(secret, value.snapshot).expose(), writer.view());
  writer.bytes(ByteSpan(mac).first(kAckMacSize));
  copy_bytes(writer.view(), out.begin());
}

Result<Acknowledgement, AckError> decode_acknowledgement(
    std::span<const std::byte, Acknowledgement::kEncodedSize> in, const ClusterSecret& secret,
    const SnapshotId& snapshot, std::uint32_t part) {
  constexpr std::size_t kSigned = Acknowledgement::kEncodedSize - kAckMacSize;
  ByteReader reader(ByteSpan(in).first(kSigned));
  if (reader.u32() != kAckMagic || reader.u16() != kVersion) return AckError::kMalformed;
  Acknowledgement out;
  out.cause = *reader.u8();
  const std::uint8_t status = *reader.u8();
  if (status > static_cast<std::uint8_t>(AckStatus::kSinkFailed)) return AckError::kMalformed;
  out.status = static_cast<AckStatus>(status);
  if (out.cause != 0 && !Acknowledgement::may_have_cause(out.status)) return AckError::kMalformed;
  out.snapshot = *reader.array<16>();
  out.applied = *reader.u32();
  out.skipped = *reader.u32();
  out.failed = *reader.u32();
  out.part = *reader.u32();
  // The key is that of the snapshot we ask about, so another's answer is not authentic either.
  const auto mac =
      crypto::hmac_sha256(mac_key(secret, snapshot).expose(), ByteSpan(in).first(kSigned));
  if (!crypto::constant_time_equal(ByteSpan(mac).first(kAckMacSize),
                                   ByteSpan(in).last(kAckMacSize))) {
    return AckError::kNotAuthentic;
  }
  if (out.snapshot != snapshot || out.part != part) return AckError::kOther;
  return out;
}

}  // namespace sealane::entropy
