#include "session/messages.h"

#include "base/byte_reader.h"
#include "base/check.h"
#include "base/copy_bytes.h"
#include "crypto/hash.h"

namespace sealane::session {
namespace {

constexpr auto kLittle = Endian::kLittle;

constexpr std::size_t kSignatureSize = 64;
constexpr std::size_t kKindControl = 0;
constexpr std::size_t kKindPing = 1;
constexpr std::size_t kKindPong = 2;
constexpr std::size_t kChecksumAt = 1;
constexpr std::size_t kIterationAt = 65;

}  // namespace

std::optional<Message> MessageReader::next() {
  if (rest_.empty()) return std::nullopt;
  if (rest_.size() >= kMessageHeaderSize) {
    const std::size_t size = load<std::uint32_t>(rest_.subspan(4), kLittle);
    if (size <= rest_.size() - kMessageHeaderSize) {
      const Message message{MessageType{load<std::uint32_t>(rest_, kLittle)},
                            std::to_integer<std::uint8_t>(rest_[8]),
                            rest_.subspan(kMessageHeaderSize, size)};
      rest_ = rest_.subspan(kMessageHeaderSize + size);
      return message;
    }
  }
  truncated_ = true;
  rest_ = {};
  return std::nullopt;
}

ByteArray<KeyExchangeMessage::kSignedSize> encode_signed_part(const KeyExchangeMessage& message) {
  ByteArray<KeyExchangeMessage::kSignedSize> out;
  auto at = copy_bytes(encode(message.session), out.begin());
  at = copy_bytes(message.identity.bytes, at);
  at = copy_bytes(message.exchange_key, at);
  *at++ = static_cast<std::byte>(message.answers_mode);
  *at = std::byte{message.flags};
  return out;
}

ByteArray<KeyExchangeMessage::kEncodedSize> encode(const KeyExchangeMessage& message,
                                                   const crypto::Ed25519Seed& seed) {
  const auto signed_part = encode_signed_part(message);
  ByteArray<KeyExchangeMessage::kEncodedSize> out;
  copy_bytes(crypto::ed25519_sign(seed, signed_part), out.begin());
  copy_bytes(signed_part, out.begin() + kSignatureSize);
  return out;
}

Result<UnverifiedKeyExchange, KeyExchangeError> parse_key_exchange(ByteSpan payload) {
  if (payload.size() < KeyExchangeMessage::kEncodedSize) return KeyExchangeError::kTooShort;
  ByteReader reader(payload);
  UnverifiedKeyExchange out;
  out.signed_part = payload.subspan(kSignatureSize, KeyExchangeMessage::kSignedSize);
  out.signature = *reader.array<kSignatureSize>();
  out.claimed.session = decode_session_id(*reader.array<SessionId::kEncodedSize>());
  out.claimed.identity.bytes = *reader.array<32>();
  out.claimed.exchange_key = *reader.array<32>();
  const std::uint8_t mode = *reader.u8();
  if (mode < static_cast<std::uint8_t>(AnswersMode::kAnswerAndWait) ||
      mode > static_cast<std::uint8_t>(AnswersMode::kDisabled)) {
    return KeyExchangeError::kUnknownMode;
  }
  out.claimed.answers_mode = AnswersMode{mode};
  out.claimed.flags = *reader.u8();
  out.tail = reader.rest();
  return out;
}

Result<void, KeyExchangeError> verify(const UnverifiedKeyExchange& message,
                                      const crypto::Ed25519Public& key) {
  if (message.claimed.identity != key ||
      !crypto::ed25519_verify(key, message.signed_part, message.signature).has_value()) {
    return KeyExchangeError::kBadSignature;
  }
  return success();
}

void encode(const FragmentHeader& header, std::span<std::byte, FragmentHeader::kEncodedSize> out) {
  store_integer(MutableByteSpan(out), header.chain, kLittle);
  store_integer(MutableByteSpan(out).subspan(8), header.start, kLittle);
  store_integer(MutableByteSpan(out).subspan(16), header.total, kLittle);
}

Result<Fragment, FragmentError> parse_fragment(ByteSpan payload) {
  if (payload.size() < FragmentHeader::kEncodedSize) return FragmentError::kTooShort;
  const Fragment fragment{
      {load<std::uint64_t>(payload, kLittle), load<std::uint64_t>(payload.subspan(8), kLittle),
       load<std::uint64_t>(payload.subspan(16), kLittle)},
      payload.subspan(FragmentHeader::kEncodedSize)};
  if (fragment.piece.empty() || fragment.header.total == 0) return FragmentError::kEmpty;
  if (fragment.piece.size() > fragment.header.total ||
      fragment.header.start > fragment.header.total - fragment.piece.size()) {
    return FragmentError::kOutOfRange;
  }
  return fragment;
}

void encode(const SizeControl& control, std::span<std::byte, SizeControl::kEncodedSize> out) {
  out[0] = std::byte{kKindControl};
  store_integer(MutableByteSpan(out).subspan(1), control.largest, kLittle);
  out[5] = std::byte{control.end};
}

void encode_ping(std::uint32_t iteration, MutableByteSpan out) {
  SEALANE_CHECK(out.size() >= kMinProbeSize && out.size() <= kMaxPacketSize);
  out[0] = std::byte{kKindPing};
  store_integer(out.subspan(kIterationAt), iteration, kLittle);
  for (std::size_t i = kMinProbeSize; i < out.size(); ++i) {
    out[i] = static_cast<std::byte>(i - kMinProbeSize);
  }
  copy_bytes(crypto::sha512(out.subspan(kIterationAt)), out.begin() + kChecksumAt);
}

void make_pong(MutableByteSpan ping) { ping[0] = std::byte{kKindPong}; }

Result<NegotiationMessage, NegotiationError> parse_negotiation(ByteSpan payload) {
  if (payload.empty()) return NegotiationError::kTooShort;
  switch (std::to_integer<std::size_t>(payload[0])) {
    case kKindControl:
      if (payload.size() < SizeControl::kEncodedSize) return NegotiationError::kTooShort;
      return NegotiationMessage(SizeControl{load<std::uint32_t>(payload.subspan(1), kLittle),
                                            (payload[5] & std::byte{1}) != std::byte{0}});
    case kKindPing:
    case kKindPong: {
      if (payload.size() < kMinProbeSize) return NegotiationError::kTooShort;
      const auto iteration = load<std::uint32_t>(payload.subspan(kIterationAt), kLittle);
      if (payload[0] == std::byte{kKindPing}) {
        return NegotiationMessage(SizePing{iteration, payload.size()});
      }
      const auto expected = crypto::sha512(payload.subspan(kIterationAt));
      if (!std::ranges::equal(expected, payload.subspan(kChecksumAt, expected.size()))) {
        return NegotiationError::kBadChecksum;
      }
      return NegotiationMessage(SizePong{iteration, payload.size()});
    }
    default:
      return NegotiationError::kUnknownKind;
  }
}

}  // namespace sealane::session
