#pragma once
// Packets: the unit of an encrypted session, sealed and opened in place, without allocation.
// Format: docs/protocol/session.md, "Packet".
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "crypto/cipher.h"
#include "sealane/base/bytes.h"
#include "sealane/base/result.h"
#include "sealane/base/secret.h"

namespace sealane::session {

// Unique per sender, session and key; 1 or higher. Ids may be missing and may come out of order.
enum class PacketId : std::uint64_t {};

// Chosen by each side for itself; the first half of the nonce of each session packet it sends.
//   offset  size  field
//        0     8  created_at  nanoseconds since 1970, little-endian
//        8     8  random      little-endian
struct SessionId {
  static constexpr std::size_t kEncodedSize = 16;
  std::uint64_t created_at = 0;
  std::uint64_t random = 0;
  friend bool operator==(const SessionId&, const SessionId&) = default;
};
ByteArray<SessionId::kEncodedSize> encode(const SessionId& id);
SessionId decode_session_id(std::span<const std::byte, SessionId::kEncodedSize> in);

using CipherKey = Secret<struct CipherKeyTag, 32>;        // session packets, both directions
using AuxCipherKey = Secret<struct AuxCipherKeyTag, 32>;  // other packets where there is a PSK

// What hides packet ids where there is a PSK: XORed to them on the wire. 0 without a PSK.
enum class PacketIdMask : std::uint64_t {};

// The header before the messages of each packet. Little-endian. Bytes [8, end) of the packet are
// encrypted, unless it is a plain one.
//
//   offset  size  field
//        0     8  packet id          masked if there is a PSK
//        8    16  header checksum    Poly1305 of `length`
//       24    16  messages checksum  Poly1305 of the messages
//       40     4  length             bytes that follow
//       44     n  messages           messages.h
inline constexpr std::size_t kPacketHeaderSize = 44;
// No packet is larger, whatever the options say: bounds buffers. The format itself allows 4 GiB.
inline constexpr std::size_t kMaxPacketSize = std::size_t{16} << 20;

enum class PacketClass : std::uint8_t {
  kSession = 1,  // XChaCha20 under the exchanged key; nonce: sender's session id, packet id
  kAux,          // ChaCha20 under the PSK's key; nonce: packet id
  kPlain,        // not encrypted, and the checksums protect against accidents only
};

enum class PacketError : std::uint8_t {
  kTooShort = 1,    // less than a header
  kTooLong,         // more than kMaxPacketSize
  kWrongKey,        // the header does not open: another key, or not a packet at all
  kLengthMismatch,  // the header opens, but `length` is not what follows it
  kBadMessages,     // the header opens, the messages' checksum is wrong
};

// The packet id that stands at the front of `packet`; kTooShort, kTooLong.
Result<PacketId, PacketError> read_packet_id(ByteSpan packet, PacketIdMask mask);

// One-time key of a packet's two checksums.
using MacKey = Secret<struct MacKeyTag, 32>;
// `key`: what encrypts the packet, or empty for a plain one. REQUIRES: 0 or 32 bytes.
MacKey derive_mac_key(PacketId id, ByteSpan key);

// A header that opened under a PacketKey, and what is left to open the messages with it. Secret.
class OpenedHeader {
 public:
  PacketId id() const { return id_; }
  std::uint32_t length() const { return length_; }  // of the messages, as the header says

 private:
  friend class PacketKey;
  OpenedHeader(PacketId id, MacKey mac_key) : id_(id), mac_key_(std::move(mac_key)) {}
  PacketId id_;
  std::uint32_t length_ = 0;
  ByteArray<16> messages_checksum_{};
  MacKey mac_key_;
  // The rest of keystream block 0 belongs to the first bytes of the messages.
  Secret<struct KeystreamTag, 28> keystream_{ByteArray<28>{}};
};

// One way to seal and open packets: a class of them with its key and, for session packets, their
// sender. Expands the key once; sealing and opening allocate nothing. Not thread-safe.
class PacketKey {
 public:
  static PacketKey session(const CipherKey& key, const SessionId& sender);
  static PacketKey aux(const AuxCipherKey& key);
  static PacketKey plain();

  PacketClass packet_class() const { return class_; }

  // `packet` is kPacketHeaderSize bytes of room and the messages behind them; all of it becomes the
  // packet. An id must never be used again with this key, whatever became of the packet. REQUIRES:
  // kPacketHeaderSize <= packet.size() <= kMaxPacketSize, id is not 0.
  void seal(PacketId id, PacketIdMask mask, MutableByteSpan packet);

  // Tries this key on the header only, in about 0.3 us: kWrongKey, kLengthMismatch, and what
  // read_packet_id() says. `packet` is all of the packet, or, where a stream is cut by its headers,
  // the first kPacketHeaderSize bytes of it: then use peek_header(), which leaves `length`
  // unproven.
  Result<OpenedHeader, PacketError> open_header(PacketIdMask mask, ByteSpan packet);
  Result<OpenedHeader, PacketError> peek_header(
      PacketIdMask mask, std::span<const std::byte, kPacketHeaderSize> header);
  // Decrypts the messages in place and returns them: a part of `packet`. On kBadMessages that part
  // is zeroed, and the packet is lost for every other key too. The header's bytes stay as they are.
  // REQUIRES: `header` is of this key and packet, packet.size() == kPacketHeaderSize + length().
  Result<ByteSpan, PacketError> open_messages(const OpenedHeader& header, MutableByteSpan packet);

 private:
  PacketKey(PacketClass packet_class, ByteSpan key);
  ByteArray<64> first_block(PacketId id);
  ByteArray<16> messages_checksum(const MacKey& key, ByteSpan messages);

  PacketClass class_;
  Secret<struct MacKeyInputTag, 24> mac_key_input_;  // of a plain one: zeros
  std::optional<crypto::ChaCha20> cipher_;           // of a plain one: nothing
  crypto::Poly1305 authenticator_;
};

}  // namespace sealane::session
