#pragma once
// The upgrade of a connection: from RSA blocks, which anybody can forge, to sealed frames. Format:
// docs/protocol/hub.md, "Upgrade".
//
// The hub's share is in its first CONFIG (bb_share), the client's in its answer, which must be the
// first frame after that, with bb_proof: PSS by the client's key over
//
//   "sealane-hub-upgrade@v1", a zero byte, the transcript hash (32 bytes)
//
// Transcript hash: SHA-256 over, each with its 4-byte big-endian size before it,
//   challenge payload, response plaintext, CONFIG plaintext, client's share, accepted features
//
// Keys: HKDF-SHA-256 of the X25519 secret, salt: the transcript hash, info "sealane-hub-keys@v1":
//   offset  size  field
//        0    32  key of the client's frames
//       32    12  mask of the client's nonces
//       44    32  key of the hub's frames
//       76    12  mask of the hub's nonces
//
// Sealed frame, payload: ChaCha20-Poly1305 of one message, then the tag (16). Associated data: the
// frame's size field. Nonce: the mask XOR (4 zero bytes, the direction's frame count from 0 as 8
// bytes big-endian).
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "crypto/aead.h"
#include "crypto/hash.h"
#include "hub/config.h"
#include "hub/frame.h"
#include "sealane/base/bytes.h"
#include "sealane/base/result.h"
#include "sealane/crypto/curve.h"

namespace sealane::hub {

inline constexpr std::string_view kUpgradeContext = "sealane-hub-upgrade@v1";
inline constexpr std::size_t kMaxSealedPlainSize = kMaxPayloadSize - crypto::kAeadTagSize;

struct UpgradeTranscript {
  ByteSpan challenge;  // the frame's payload
  ByteSpan response;   // its plaintext
  ByteSpan config;     // the plaintext of the hub's first CONFIG
  crypto::X25519Public client_share{};
  Features accepted;
};
crypto::Sha256Digest hash(const UpgradeTranscript& transcript);
Bytes proof_message(const crypto::Sha256Digest& transcript_hash);

// One direction. Errors are final. Not thread-safe.
class SealedFrames {
 public:
  static constexpr std::size_t kNonceMaskSize = crypto::kAeadNonceSize;
  SealedFrames(const crypto::AeadKey& key, const crypto::AeadNonce& mask);
  // Appends the whole frame of a message that lies in pieces. REQUIRES: together they have at most
  // kMaxSealedPlainSize bytes.
  void seal(std::span<const ByteSpan> pieces, Bytes& out);
  // Of a payload, in its buffer: replayed, reordered, spliced or damaged ones do not open. A
  // failure does not count as a frame.
  std::optional<Bytes> open(Bytes payload);

 private:
  crypto::AeadNonce next_nonce() const;
  std::unique_ptr<crypto::Aead> aead_;
  crypto::AeadNonce mask_;
  std::uint64_t count_ = 0;
};

struct UpgradeKeys {
  SealedFrames client;  // of frames that the client makes
  SealedFrames hub;
};
UpgradeKeys derive_keys(const crypto::SharedSecret& secret,
                        const crypto::Sha256Digest& transcript_hash);

}  // namespace sealane::hub
