#pragma once
// From secrets to keys. Format: docs/protocol/session.md, "Keys".
#include "sealane/base/bytes.h"
#include "sealane/base/result.h"
#include "sealane/base/secret.h"
#include "sealane/crypto/curve.h"
#include "session/packet.h"

namespace sealane::session {

// What a pre-shared key gives. An empty PSK is a PSK; none at all is another protocol.
class PskKeys {
 public:
  // Hashes only: an off-line guess costs next to nothing, so the PSK must be of high entropy.
  explicit PskKeys(ByteSpan psk);
  const AuxCipherKey& aux_key() const { return aux_key_; }
  PacketIdMask packet_id_mask() const { return mask_; }
  // XORed to each session's cipher key.
  std::span<const std::byte, 32> cipher_key_mask() const { return cipher_key_mask_.expose(); }

 private:
  Secret<struct CipherKeyMaskTag, 32> cipher_key_mask_;
  AuxCipherKey aux_key_;
  PacketIdMask mask_;
};

// X25519 of both, used as it is, or XORed with the PSK's mask. kLowOrder for a key of the peer that
// leaves no secret: an all-zero result is refused before any XOR. `psk` may be null.
Result<CipherKey, crypto::CurveError> derive_cipher_key(const crypto::X25519Private& own,
                                                        const crypto::X25519Public& peer,
                                                        const PskKeys* psk);

}  // namespace sealane::session
