#pragma once
// Messages: what packets carry. Format: docs/protocol/session.md, "Messages". Everything here is
// little-endian, and nothing allocates.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>
#include <variant>

#include "base/byte_reader.h"
#include "base/check.h"
#include "sealane/base/bytes.h"
#include "sealane/base/result.h"
#include "sealane/crypto/curve.h"
#include "session/packet.h"

namespace sealane::session {

enum class ChannelId : std::uint32_t {};
inline constexpr ChannelId kMaxChannelId{0xffffffeb};

enum class MessageType : std::uint32_t {
  kUndefined = 0,  // never sent
  // 0x00000001 .. 0xffffffec: channel_type(0) .. channel_type(kMaxChannelId)
  kFirstReserved = 0xffffffee,  // 14 values that a peer drops silently if it does not know them
  kLastReserved = 0xfffffffb,
  kReadWrite = 0xfffffffc,    // the byte pipe
  kNegotiation = 0xfffffffd,  // of the packet size
  kKeyExchange = 0xfffffffe,
};
// REQUIRES: channel <= kMaxChannelId.
inline MessageType channel_type(ChannelId channel) {
  SEALANE_CHECK(channel <= kMaxChannelId);
  return MessageType{static_cast<std::uint32_t>(channel) + 1};
}
inline std::optional<ChannelId> channel_of(MessageType type) {
  // 0 becomes the largest number, so one comparison refuses it too.
  const std::uint32_t number = static_cast<std::uint32_t>(type) - 1;
  if (number > static_cast<std::uint32_t>(kMaxChannelId)) return std::nullopt;
  return ChannelId{number};
}
// Not the user's: never merged with others, and sent in every state.
inline bool is_internal(MessageType type) {
  return type == MessageType::kKeyExchange || type == MessageType::kNegotiation;
}

// Of the flags byte of a message; the other bits are sent as 0 and ignored.
inline constexpr std::uint8_t kConfidential =
    1;                                          // set on all but key exchange and legacy fragments
inline constexpr std::uint8_t kFragmented = 2;  // the payload begins with a FragmentHeader

//   offset  size  field
//        0     4  type
//        4     4  payload size
//        8     1  flags
//        9     n  payload
inline constexpr std::size_t kMessageHeaderSize = 9;

// Writes header and payload to the start of `room` and returns their size. `payload` may lie in
// `room` already, behind the space of the header. REQUIRES: there is room, the size fits 32 bits.
inline std::size_t write_message(MutableByteSpan room, MessageType type, std::uint8_t flags,
                                 ByteSpan payload) {
  SEALANE_CHECK(room.size() >= kMessageHeaderSize &&
                payload.size() <= room.size() - kMessageHeaderSize && payload.size() <= 0xffffffff);
  const std::size_t size = payload.size();
  if (size != 0) std::memmove(room.data() + kMessageHeaderSize, payload.data(), size);
  // Small messages are made by the ten million a second: this compiles to two stores.
  const auto header = static_cast<std::uint64_t>(type) | static_cast<std::uint64_t>(size) << 32;
  store_integer(room, header, Endian::kLittle);
  room[8] = std::byte{flags};
  return kMessageHeaderSize + size;
}

struct Message {
  MessageType type = MessageType::kUndefined;
  std::uint8_t flags = 0;
  ByteSpan payload;
};

// Goes over the messages of an opened packet, which must outlive it. Ends where they end, or at one
// that is cut: what came before stays valid.
class MessageReader {
 public:
  explicit MessageReader(ByteSpan messages) : rest_(messages) {}
  std::optional<Message> next();
  bool truncated() const { return truncated_; }  // after next() gave nothing

 private:
  ByteSpan rest_;
  bool truncated_ = false;
};

// ---- Key exchange: the payload of kKeyExchange -------------------------------------------------

enum class AnswersMode : std::uint8_t { kAnswerAndWait = 1, kAnswer = 2, kDisabled = 3 };

//   offset  size  field
//        0    64  signature     Ed25519 of bytes [64, 146), by `identity`
//       64    16  session id    of the sender
//       80    32  identity      Ed25519 public key of the sender
//      112    32  exchange key  X25519 public key of the sender
//      144     1  answers mode  1, 2, 3
//      145     1  flags
//      146        anything: not signed, for extensions that prove themselves
struct KeyExchangeMessage {
  static constexpr std::size_t kEncodedSize = 146;
  static constexpr std::size_t kSignedSize = 82;
  static constexpr std::uint8_t kAnswer =
      1;  // of the flags; the other bits are room for extensions
  SessionId session;
  crypto::Ed25519Public identity;
  crypto::X25519Public exchange_key{};
  AnswersMode answers_mode = AnswersMode::kAnswerAndWait;
  std::uint8_t flags = 0;
  bool is_answer() const { return (flags & kAnswer) != 0; }
  friend bool operator==(const KeyExchangeMessage&, const KeyExchangeMessage&) = default;
};
// The bytes that are signed.
ByteArray<KeyExchangeMessage::kSignedSize> encode_signed_part(const KeyExchangeMessage& message);
// REQUIRES: message.identity is seed's public key.
ByteArray<KeyExchangeMessage::kEncodedSize> encode(const KeyExchangeMessage& message,
                                                   const crypto::Ed25519Seed& seed);

enum class KeyExchangeError : std::uint8_t {
  kTooShort = 1,
  kUnknownMode,
  kBadSignature,
};
// A message whose signature has not been looked at; a view of the payload, which must outlive it.
struct UnverifiedKeyExchange {
  KeyExchangeMessage claimed;
  ByteSpan signed_part;
  crypto::Ed25519Signature signature{};
  ByteSpan tail;
};
Result<UnverifiedKeyExchange, KeyExchangeError> parse_key_exchange(ByteSpan payload);
// kBadSignature unless `key` signed it. `key` is the pinned identity; claimed.identity where any is
// taken. It also must be the one that the message claims: a message that names somebody else is
// refused although a peer's older code lets it pass.
Result<void, KeyExchangeError> verify(const UnverifiedKeyExchange& message,
                                      const crypto::Ed25519Public& key);

// ---- Fragments: the payload of a message with kFragmented --------------------------------------

//   offset  size  field
//        0     8  chain id  one per large message; grows
//        8     8  start     offset of this piece in the message
//       16     8  total     size of the message
//       24     n  piece
struct FragmentHeader {
  static constexpr std::size_t kEncodedSize = 24;
  std::uint64_t chain = 0;
  std::uint64_t start = 0;
  std::uint64_t total = 0;
  friend bool operator==(const FragmentHeader&, const FragmentHeader&) = default;
};
void encode(const FragmentHeader& header, std::span<std::byte, FragmentHeader::kEncodedSize> out);

enum class FragmentError : std::uint8_t {
  kTooShort = 1,
  kEmpty,       // no piece, or a total of 0
  kOutOfRange,  // start + piece is more than total
};
struct Fragment {
  FragmentHeader header;
  ByteSpan piece;  // of the payload
};
// start + piece.size() <= total holds for what it returns.
Result<Fragment, FragmentError> parse_fragment(ByteSpan payload);

// ---- Negotiation of the packet size: the payload of kNegotiation -------------------------------

// "Size" is that of the whole payload.
//   control:    u8 0, u32 largest round trip seen, u8 flags (bit 0: end)
//   ping, pong: u8 1 or 2, 64 checksum, u32 iteration, filler; SHA-512 over bytes [65, size)
struct SizeControl {
  static constexpr std::size_t kEncodedSize = 6;
  std::uint32_t largest = 0;
  bool end = false;
  friend bool operator==(const SizeControl&, const SizeControl&) = default;
};
inline constexpr std::size_t kMinProbeSize = 69;
struct SizePing {
  std::uint32_t iteration = 0;
  std::size_t size = 0;
  friend bool operator==(const SizePing&, const SizePing&) = default;
};
struct SizePong {
  std::uint32_t iteration = 0;
  std::size_t size = 0;
  friend bool operator==(const SizePong&, const SizePong&) = default;
};
using NegotiationMessage = std::variant<SizeControl, SizePing, SizePong>;

enum class NegotiationError : std::uint8_t {
  kTooShort = 1,
  kUnknownKind,
  kBadChecksum,  // of a pong; a ping's is the business of who sent it
};
void encode(const SizeControl& control, std::span<std::byte, SizeControl::kEncodedSize> out);
// Fills all of `out`. REQUIRES: kMinProbeSize <= out.size() <= kMaxPacketSize.
void encode_ping(std::uint32_t iteration, MutableByteSpan out);
// Turns a copy of a ping's payload into its pong.
void make_pong(MutableByteSpan ping);
Result<NegotiationMessage, NegotiationError> parse_negotiation(ByteSpan payload);

}  // namespace sealane::session
