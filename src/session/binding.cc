#include "session/binding.h"

#include "base/byte_reader.h"
#include "base/check.h"
#include "base/copy_bytes.h"
#include "crypto/hash.h"
#include "crypto/kdf.h"

namespace sealane::session {
namespace {

constexpr std::uint8_t kVersion = 1;
constexpr std::string_view kContext = "sealane-session-binding@v1";
constexpr std::string_view kSecretInfo = "sealane-session-exporter-secret@v1";
constexpr std::string_view kExportInfo = "sealane-session-export@v1";

KeyExchangeMessage claimed_by(const KeyExchangeBody& body) {
  auto parsed = parse_key_exchange(body);
  SEALANE_CHECK(parsed.has_value());
  return parsed.value().claimed;
}

}  // namespace

Bytes binding_transcript(const Binding& binding) {
  const KeyExchangeMessage sender = claimed_by(binding.sender_body);
  const KeyExchangeMessage receiver = claimed_by(binding.receiver_body);
  ByteWriter writer;
  writer.text(kContext).u8(0).u8(static_cast<std::uint8_t>(binding.role));
  writer.bytes(binding.sender_body).bytes(binding.receiver_body);
  writer.bytes(sender.identity.bytes).bytes(receiver.identity.bytes);
  writer.bytes(encode(sender.session)).bytes(encode(receiver.session));
  return writer.take();
}

ByteArray<kBindingSize> encode(const Binding& binding, const crypto::Ed25519Seed& seed) {
  ByteArray<kBindingSize> out{};
  out[0] = std::byte{kVersion};
  out[1] = static_cast<std::byte>(binding.role);
  const MutableByteSpan rest = MutableByteSpan(out).subspan(2);
  copy_bytes(binding.sender_body, rest.begin());
  copy_bytes(binding.receiver_body, rest.subspan(binding.sender_body.size()).begin());
  const crypto::Ed25519Signature signature =
      crypto::ed25519_sign(seed, binding_transcript(binding));
  copy_bytes(signature, rest.last(signature.size()).begin());
  return out;
}

Result<UnverifiedBinding, BindingError> parse_binding(ByteSpan payload) {
  if (payload.size() != kBindingSize) return BindingError::kMalformed;
  ByteReader reader(payload);
  const auto version = reader.u8();
  const auto role = reader.u8();
  if (*version != kVersion) return BindingError::kMalformed;
  if (*role != static_cast<std::uint8_t>(BindingRole::kProposal) &&
      *role != static_cast<std::uint8_t>(BindingRole::kReply)) {
    return BindingError::kMalformed;
  }
  UnverifiedBinding binding;
  binding.claimed.role = static_cast<BindingRole>(*role);
  binding.claimed.sender_body = *reader.array<KeyExchangeMessage::kEncodedSize>();
  binding.claimed.receiver_body = *reader.array<KeyExchangeMessage::kEncodedSize>();
  binding.signature = *reader.array<64>();
  if (!parse_key_exchange(binding.claimed.sender_body).has_value() ||
      !parse_key_exchange(binding.claimed.receiver_body).has_value()) {
    return BindingError::kMalformed;
  }
  return binding;
}

Result<void, BindingError> verify(const UnverifiedBinding& binding) {
  const KeyExchangeMessage sender = claimed_by(binding.claimed.sender_body);
  if (!crypto::ed25519_verify(sender.identity, binding_transcript(binding.claimed),
                              binding.signature)
           .has_value()) {
    return BindingError::kBadSignature;
  }
  return success();
}

ExporterSecret derive_exporter_secret(const CipherKey& key, const Binding& proposal) {
  ByteArray<32> bytes;
  const crypto::Sha512Digest salt = crypto::sha512(binding_transcript(proposal));
  crypto::hkdf_sha256(key.expose(), salt, as_bytes(kSecretInfo), bytes);
  ExporterSecret secret(bytes);
  cleanse(bytes);
  return secret;
}

void export_bytes(const ExporterSecret& secret, std::string_view label, ByteSpan context,
                  MutableByteSpan out) {
  SEALANE_CHECK(label.size() <= 0xffff && context.size() <= 0xffff && out.size() <= 255 * 32);
  ByteWriter info;
  info.text(kExportInfo).u8(0);
  info.u16(static_cast<std::uint16_t>(label.size())).text(label);
  info.u16(static_cast<std::uint16_t>(context.size())).bytes(context);
  crypto::hkdf_sha256(secret.expose(), {}, info.view(), out);
}

}  // namespace sealane::session
