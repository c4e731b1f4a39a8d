#include "session/packet.h"

#include "base/byte_reader.h"
#include "base/check.h"
#include "base/copy_bytes.h"
#include "crypto/hash.h"

namespace sealane::session {
namespace {

constexpr std::size_t kHeaderChecksumAt = 8;
constexpr std::size_t kMessagesChecksumAt = 24;
constexpr std::size_t kLengthAt = 40;
// Keystream byte 0 meets packet byte 8, so this many message bytes fall into its first block.
constexpr std::size_t kEncryptedHeader = kPacketHeaderSize - kHeaderChecksumAt;
constexpr std::size_t kInFirstBlock = crypto::ChaCha20::kBlockSize - kEncryptedHeader;
// Messages are hashed and encrypted in pieces that stay in the first-level cache between the two.
constexpr std::size_t kPiece = 8 * 1024;
static_assert(kPiece % crypto::ChaCha20::kBlockSize == 0);
// Below this the one-shot Poly1305 is faster than the incremental one.
constexpr std::size_t kShortMessages = 64;

constexpr std::string_view kMacKeyMask = "github.com/xaionaro-go/secureio ";
static_assert(kMacKeyMask.size() == 32);

ByteArray<8> encode_id(std::uint64_t id) {
  ByteArray<8> out;
  store_integer(MutableByteSpan(out), id, Endian::kLittle);
  return out;
}

void xor_bytes(MutableByteSpan data, ByteSpan other) {
  for (std::size_t i = 0; i < data.size(); ++i) data[i] ^= other[i];
}

MacKey mac_key_from(PacketId id, std::span<const std::byte, 24> key_part) {
  ByteArray<32> input = [&] {
    ByteArray<32> bytes;
    copy_bytes(encode_id(static_cast<std::uint64_t>(id)), bytes.begin());
    copy_bytes(key_part, bytes.begin() + 8);
    return bytes;
  }();
  xor_bytes(input, as_bytes(kMacKeyMask));
  crypto::Blake3Digest digest = crypto::blake3(input);
  MacKey key(digest);
  cleanse(input);
  cleanse(digest);
  return key;
}

}  // namespace

ByteArray<SessionId::kEncodedSize> encode(const SessionId& id) {
  ByteArray<SessionId::kEncodedSize> out;
  store_integer(MutableByteSpan(out), id.created_at, Endian::kLittle);
  store_integer(MutableByteSpan(out).subspan(8), id.random, Endian::kLittle);
  return out;
}

SessionId decode_session_id(std::span<const std::byte, SessionId::kEncodedSize> in) {
  return {load<std::uint64_t>(in, Endian::kLittle),
          load<std::uint64_t>(in.subspan(8), Endian::kLittle)};
}

Result<PacketId, PacketError> read_packet_id(ByteSpan packet, PacketIdMask mask) {
  if (packet.size() < kPacketHeaderSize) return PacketError::kTooShort;
  if (packet.size() > kMaxPacketSize) return PacketError::kTooLong;
  return PacketId{load<std::uint64_t>(packet, Endian::kLittle) ^ static_cast<std::uint64_t>(mask)};
}

MacKey derive_mac_key(PacketId id, ByteSpan key) {
  SEALANE_CHECK(key.empty() || key.size() == 32);
  static constexpr ByteArray<24> kNoKey{};
  return mac_key_from(id, key.empty() ? std::span<const std::byte, 24>(kNoKey) : key.first<24>());
}

PacketKey::PacketKey(PacketClass packet_class, ByteSpan key)
    : class_(packet_class), mac_key_input_(key.first<24>()) {}

PacketKey PacketKey::session(const CipherKey& key, const SessionId& sender) {
  PacketKey result(PacketClass::kSession, key.expose());
  ByteArray<32> subkey;
  crypto::hchacha20(key.expose(), encode(sender), subkey);
  result.cipher_.emplace(subkey);
  cleanse(subkey);
  return result;
}

PacketKey PacketKey::aux(const AuxCipherKey& key) {
  PacketKey result(PacketClass::kAux, key.expose());
  result.cipher_.emplace(key.expose());
  return result;
}

PacketKey PacketKey::plain() { return {PacketClass::kPlain, ByteArray<32>{}}; }

// Keystream block 0; zeros for a plain packet.
ByteArray<64> PacketKey::first_block(PacketId id) {
  ByteArray<64> block{};
  if (cipher_) cipher_->xor_in_place(encode_id(static_cast<std::uint64_t>(id)), 0, block);
  return block;
}

void PacketKey::seal(PacketId id, PacketIdMask mask, MutableByteSpan packet) {
  SEALANE_CHECK(packet.size() >= kPacketHeaderSize && packet.size() <= kMaxPacketSize);
  SEALANE_CHECK(static_cast<std::uint64_t>(id) != 0);
  const MacKey mac_key = mac_key_from(id, mac_key_input_.expose());
  const MutableByteSpan messages = packet.subspan(kPacketHeaderSize);
  const ByteArray<8> nonce = encode_id(static_cast<std::uint64_t>(id));
  const auto write_header = [&](ByteSpan checksum) {
    const MutableByteSpan length = packet.subspan(kLengthAt, 4);
    store_integer(length, static_cast<std::uint32_t>(messages.size()), Endian::kLittle);
    copy_bytes(crypto::poly1305(mac_key.expose(), length), packet.begin() + kHeaderChecksumAt);
    copy_bytes(checksum, packet.begin() + kMessagesChecksumAt);
    copy_bytes(encode_id(static_cast<std::uint64_t>(id) ^ static_cast<std::uint64_t>(mask)),
               packet.begin());
  };
  if (messages.size() <= kPiece) {
    // Small enough to be in the cache when it is encrypted, all of it at once.
    write_header(messages_checksum(mac_key, messages));
    if (cipher_) cipher_->xor_in_place(nonce, 0, packet.subspan(kHeaderChecksumAt));
    return;
  }
  ByteArray<64> block = first_block(id);
  const MutableByteSpan head = messages.first(kInFirstBlock);
  MutableByteSpan rest = messages.subspan(head.size());
  authenticator_.start(mac_key.expose());
  authenticator_.update(head);
  if (cipher_) cipher_->start(nonce, 1);
  while (!rest.empty()) {
    const MutableByteSpan piece = rest.first(std::min(rest.size(), kPiece));
    authenticator_.update(piece);
    if (cipher_) cipher_->proceed(piece);
    rest = rest.subspan(piece.size());
  }
  xor_bytes(head, ByteSpan(block).subspan(kEncryptedHeader));
  write_header(authenticator_.finish());
  xor_bytes(packet.subspan(kHeaderChecksumAt, kEncryptedHeader), block);
  cleanse(block);
}

ByteArray<16> PacketKey::messages_checksum(const MacKey& key, ByteSpan messages) {
  if (messages.size() <= kShortMessages) return crypto::poly1305(key.expose(), messages);
  authenticator_.start(key.expose());
  authenticator_.update(messages);
  return authenticator_.finish();
}

Result<OpenedHeader, PacketError> PacketKey::peek_header(
    PacketIdMask mask, std::span<const std::byte, kPacketHeaderSize> header) {
  const PacketId id{load<std::uint64_t>(header, Endian::kLittle) ^
                    static_cast<std::uint64_t>(mask)};
  OpenedHeader opened(id, mac_key_from(id, mac_key_input_.expose()));
  ByteArray<64> block = first_block(id);
  ByteArray<kEncryptedHeader> clear;
  copy_bytes(header.subspan<kHeaderChecksumAt>(), clear.begin());
  xor_bytes(clear, block);
  opened.keystream_ = Secret<struct KeystreamTag, 28>(std::span(block).last<kInFirstBlock>());
  cleanse(block);
  const ByteSpan length = ByteSpan(clear).subspan(kLengthAt - kHeaderChecksumAt);
  const ByteArray<16> expected = crypto::poly1305(opened.mac_key_.expose(), length);
  if (!crypto::constant_time_equal(expected, ByteSpan(clear).first(16))) {
    return PacketError::kWrongKey;
  }
  opened.length_ = load<std::uint32_t>(length, Endian::kLittle);
  copy_bytes(ByteSpan(clear).subspan(16, 16), opened.messages_checksum_.begin());
  return opened;
}

Result<OpenedHeader, PacketError> PacketKey::open_header(PacketIdMask mask, ByteSpan packet) {
  SEALANE_TRY(read_packet_id(packet, mask));
  SEALANE_TRY(auto opened, peek_header(mask, packet.first<kPacketHeaderSize>()));
  if (opened.length() != packet.size() - kPacketHeaderSize) return PacketError::kLengthMismatch;
  return opened;
}

Result<ByteSpan, PacketError> PacketKey::open_messages(const OpenedHeader& header,
                                                       MutableByteSpan packet) {
  SEALANE_CHECK(packet.size() == kPacketHeaderSize + header.length());
  const MutableByteSpan messages = packet.subspan(kPacketHeaderSize);
  const ByteArray<8> nonce = encode_id(static_cast<std::uint64_t>(header.id()));
  const MutableByteSpan head = messages.first(std::min(messages.size(), kInFirstBlock));
  MutableByteSpan rest = messages.subspan(head.size());
  xor_bytes(head, header.keystream_.expose());

  ByteArray<16> checksum;
  if (messages.size() <= kPiece) {
    if (cipher_) cipher_->xor_in_place(nonce, 1, rest);
    checksum = messages_checksum(header.mac_key_, messages);
  } else {
    authenticator_.start(header.mac_key_.expose());
    authenticator_.update(head);
    if (cipher_) cipher_->start(nonce, 1);
    while (!rest.empty()) {
      const MutableByteSpan piece = rest.first(std::min(rest.size(), kPiece));
      if (cipher_) cipher_->proceed(piece);
      authenticator_.update(piece);
      rest = rest.subspan(piece.size());
    }
    checksum = authenticator_.finish();
  }
  if (!crypto::constant_time_equal(checksum, header.messages_checksum_)) {
    std::ranges::fill(messages, std::byte{0});
    return PacketError::kBadMessages;
  }
  return ByteSpan(messages);
}

}  // namespace sealane::session
