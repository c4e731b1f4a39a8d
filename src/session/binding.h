#pragma once
// Identity binding between two Sealane ends, and what is exported from it.
// Format: docs/protocol/session-binding.md.
#include <cstdint>
#include <string_view>

#include "sealane/base/bytes.h"
#include "sealane/base/result.h"
#include "sealane/base/secret.h"
#include "session/messages.h"
#include "session/packet.h"

namespace sealane::session {

// Flag of a key exchange message: its sender knows this extension. Signed with the rest.
inline constexpr std::uint8_t kSealaneFlag = 2;
// Bits 2 to 7 of the flags of such a message: the number of its key, modulo kKeyNumbers. Each new
// key counts one up, so that a late message does not bring an older key back.
inline constexpr int kKeyNumbers = 64;
inline constexpr int kKeyNumberShift = 2;

// Reserved message types, in session packets only. A legacy peer drops them silently; none is sent
// to one all the same.
inline constexpr MessageType kBindingMessage{0xfffffffb};
inline constexpr MessageType kLivenessMessage{0xfffffffa};
inline constexpr MessageType kCloseMessage{0xfffffff9};

// The side with the smaller session id proposes, the other one replies to a proposal that holds.
enum class BindingRole : std::uint8_t { kProposal = 1, kReply = 2 };

using KeyExchangeBody = ByteArray<KeyExchangeMessage::kEncodedSize>;

//   offset  size  field
//        0     1  version        1
//        1     1  role           BindingRole
//        2   146  sender body    a key exchange message of the sender, with its signature
//      148   146  receiver body  one of the receiver, as the sender got it
//      294    64  signature      by the sender's identity; over binding_transcript()
inline constexpr std::size_t kBindingSize = 358;
// Sealane is not announced where packets could be too small to carry a binding.
inline constexpr std::size_t kMinBoundPayloadSize = kBindingSize;

struct Binding {
  BindingRole role = BindingRole::kProposal;
  KeyExchangeBody sender_body{};
  KeyExchangeBody receiver_body{};
  friend bool operator==(const Binding&, const Binding&) = default;
};
struct UnverifiedBinding {
  Binding claimed;
  crypto::Ed25519Signature signature{};
};
enum class BindingError : std::uint8_t {
  kMalformed = 1,  // size, version or role
  kBadSignature,
};

// What is signed, and what an exporter is bound to: context string, role, both bodies, both
// identities, both session ids, sender first. REQUIRES: bodies that parse.
Bytes binding_transcript(const Binding& binding);

// REQUIRES: the seed is that of the identity in sender_body.
ByteArray<kBindingSize> encode(const Binding& binding, const crypto::Ed25519Seed& seed);
Result<UnverifiedBinding, BindingError> parse_binding(ByteSpan payload);
// The signature alone, by the identity that sender_body names. Whether the bodies are the right
// ones is for the session to say.
Result<void, BindingError> verify(const UnverifiedBinding& binding);

using ExporterSecret = Secret<struct ExporterSecretTag, 32>;
// HKDF-SHA256 of the cipher key whose public halves stand in the proposal, salted with the hash of
// the proposal's transcript.
ExporterSecret derive_exporter_secret(const CipherKey& key, const Binding& proposal);
// REQUIRES: out.size() <= 255 * 32; label and context below 64 KiB.
void export_bytes(const ExporterSecret& secret, std::string_view label, ByteSpan context,
                  MutableByteSpan out);

}  // namespace sealane::session
