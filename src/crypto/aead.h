#pragma once
// Authenticated encryption with associated data: AES-256-GCM (NIST SP 800-38D) and
// ChaCha20-Poly1305 (RFC 8439), 256-bit keys, 96-bit nonces, 128-bit tags. Sealed = ciphertext,
// then tag. The same nonce must never be used twice under one key for different plaintexts.
#include <cstdint>
#include <memory>

#include "sealane/base/bytes.h"
#include "sealane/base/result.h"
#include "sealane/base/secret.h"

namespace sealane::crypto {

inline constexpr std::size_t kAeadKeySize = 32;
inline constexpr std::size_t kAeadNonceSize = 12;
inline constexpr std::size_t kAeadTagSize = 16;

using AeadKey = Secret<struct AeadKeyTag, kAeadKeySize>;
using AeadNonce = ByteArray<kAeadNonceSize>;

enum class AeadAlgorithm : std::uint8_t { kAes256Gcm = 1, kChaCha20Poly1305 };
enum class AeadError : std::uint8_t { kNotAuthentic = 1 };

// Which code does it. kIpsecMb needs a build that has it and a CPU with AVX-512, kVaes (AES-256-GCM
// only) one with VAES and VPCLMULQDQ. SEALANE_CPU=generic in the environment forces kOpenSsl.
enum class AeadEngine : std::uint8_t { kAutomatic, kOpenSsl, kIpsecMb, kVaes };
bool aead_engine_available(AeadAlgorithm algorithm, AeadEngine engine);
// What kAutomatic gives: the fastest that is available.
AeadEngine automatic_aead_engine(AeadAlgorithm algorithm);

using AeadTag = ByteArray<kAeadTagSize>;

// One key, expanded. Not thread-safe: one per thread; clone() is cheap. All calls are
// constant-time in key and plaintext. Lengths up to 2^31 - 64 bytes per call.
class Aead {
 public:
  virtual ~Aead() = default;
  // Writes plaintext.size() + kAeadTagSize bytes. REQUIRES: out.size() is exactly that. `out` may
  // begin at plaintext's first byte (in place), else they must not overlap.
  void seal(const AeadNonce& nonce, ByteSpan associated_data, ByteSpan plaintext,
            MutableByteSpan out);
  // Writes sealed.size() - kAeadTagSize bytes; on failure `out` is zeroed. Too short:
  // kNotAuthentic. REQUIRES: out.size() is sealed.size() - kAeadTagSize (0 when too short). In
  // place as above.
  Result<void, AeadError> open(const AeadNonce& nonce, ByteSpan associated_data, ByteSpan sealed,
                               MutableByteSpan out);
  virtual std::unique_ptr<Aead> clone() const = 0;

 protected:
  Aead() = default;
  Aead(const Aead&) = default;
  Aead& operator=(const Aead&) = default;
  // Whether they are the same, found in constant time. Wipes `expected`: of a forged message it is
  // the tag that an attacker looks for.
  static bool same_tag(AeadTag& expected, const AeadTag& given);

 private:
  // What an engine does; the sizes are checked. `out` holds the plaintext's size and the tag's.
  virtual void encrypt(const AeadNonce& nonce, ByteSpan associated_data, ByteSpan plaintext,
                       MutableByteSpan out) = 0;
  // False: not authentic, and `out`, of the ciphertext's size, may hold anything. `given` is a
  // copy, over which `out` does not lie.
  virtual bool decrypt(const AeadNonce& nonce, ByteSpan associated_data, ByteSpan ciphertext,
                       const AeadTag& given, MutableByteSpan out) = 0;
};

// REQUIRES: aead_engine_available(algorithm, engine).
std::unique_ptr<Aead> make_aead(AeadAlgorithm algorithm, const AeadKey& key,
                                AeadEngine engine = AeadEngine::kAutomatic);

}  // namespace sealane::crypto
