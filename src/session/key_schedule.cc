#include "session/key_schedule.h"

#include "base/byte_reader.h"
#include "base/copy_bytes.h"
#include "crypto/cipher.h"
#include "crypto/hash.h"

namespace sealane::session {
namespace {

constexpr std::string_view kSalt = "xaionaro-go/secureio.KeyExchanger";

// H of the document: SHA3-256(BLAKE3(psk || salt || label) || salt || label).
template <class Key>
Key hash_psk(ByteSpan psk, std::string_view label) {
  crypto::Blake3 inner;
  inner.update(psk);
  inner.update(as_bytes(kSalt));
  inner.update(as_bytes(label));
  SecretBytes outer_input(32 + kSalt.size() + label.size());
  inner.finish(outer_input.fill().first(32));
  copy_bytes(as_bytes(kSalt), outer_input.fill().begin() + 32);
  copy_bytes(as_bytes(label), outer_input.fill().begin() + 32 + kSalt.size());
  crypto::Sha3Digest digest = crypto::sha3_256(outer_input.expose());
  Key key(digest);
  cleanse(digest);
  return key;
}

// The first 8 bytes of the XChaCha20 keystream under the aux key with an all-zero nonce.
PacketIdMask derive_mask(const AuxCipherKey& key) {
  ByteArray<32> subkey;
  crypto::hchacha20(key.expose(), ByteArray<16>{}, subkey);
  crypto::ChaCha20 cipher(subkey);
  cleanse(subkey);
  ByteArray<8> mask{};
  cipher.xor_in_place(ByteArray<8>{}, 0, mask);
  return PacketIdMask{load<std::uint64_t>(mask, Endian::kLittle)};
}

}  // namespace

PskKeys::PskKeys(ByteSpan psk)
    : cipher_key_mask_(hash_psk<Secret<struct CipherKeyMaskTag, 32>>(psk, "cipherKey")),
      aux_key_(hash_psk<AuxCipherKey>(psk, "auxCipherKey")),
      mask_(derive_mask(aux_key_)) {}

Result<CipherKey, crypto::CurveError> derive_cipher_key(const crypto::X25519Private& own,
                                                        const crypto::X25519Public& peer,
                                                        const PskKeys* psk) {
  SEALANE_TRY(const auto shared, crypto::x25519(own, peer));
  ByteArray<32> bytes;
  copy_bytes(shared.expose(), bytes.begin());
  if (psk != nullptr) {
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] ^= psk->cipher_key_mask()[i];
  }
  CipherKey key(bytes);
  cleanse(bytes);
  return key;
}

}  // namespace sealane::session
