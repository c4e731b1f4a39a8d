#pragma once
// RSA for foreign formats: keys of 2048 to 4096 bits as PEM, OAEP and PSS with SHA-256 (RFC 8017).
// Keys are immutable and may be used by several threads at once. Padding and salts take OpenSSL's
// own randomness: these steps run outside of the cores, as their jobs.
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "crypto/hash.h"
#include "sealane/base/bytes.h"
#include "sealane/base/result.h"
#include "sealane/base/secret.h"

namespace sealane::crypto {

inline constexpr unsigned kMinRsaBits = 2048;  // less is broken or soon will be
inline constexpr unsigned kMaxRsaBits = 4096;  // bounds what a foreign key makes us compute
inline constexpr std::size_t kMaxRsaSize = kMaxRsaBits / 8;
inline constexpr std::size_t kMaxRsaPemSize = 16 * 1024;  // the key and the text around it

enum class RsaKeyError : std::uint8_t {
  kNotAKey = 1,      // no PEM block of an RSA key of the wanted kind, or damaged
  kPassphrase,       // an encrypted private key
  kUnsupportedSize,  // not kMinRsaBits .. kMaxRsaBits, or an exponent that is even, 1 or huge
};
std::string_view describe(RsaKeyError error);

// Why it failed is not told: whoever sent the bytes could learn from it.
enum class RsaError : std::uint8_t { kRefused = 1 };

enum class PssSalt : std::uint8_t {
  kAny = 1,  // whatever length the signature has
  kMaximum,  // exactly the largest that fits: size - 34 (for whole-byte moduli)
  kDigest,   // exactly 32
};

class RsaPublicKey {
 public:
  // The first PEM block of `text`, PKCS#1 ("RSA PUBLIC KEY") or SubjectPublicKeyInfo ("PUBLIC
  // KEY"). Text around it and CRLF are fine. At most kMaxRsaPemSize bytes.
  static Result<RsaPublicKey, RsaKeyError> from_pem(ByteSpan text);
  std::string to_pem() const;          // PKCS#1, 64 columns, LF
  Sha256Digest fingerprint() const;    // SHA-256 of the SubjectPublicKeyInfo DER
  std::size_t size() const;            // of the modulus in bytes; so of ciphertexts and signatures
  std::size_t max_plain_size() const;  // of one OAEP block: size() - 66
  friend bool operator==(const RsaPublicKey& a, const RsaPublicKey& b) {
    return a.fingerprint() == b.fingerprint();
  }

  // One OAEP block: SHA-256, MGF1 with SHA-256; size() bytes. REQUIRES: plain.size() <=
  // max_plain_size(). `label` is empty in all that we speak.
  Bytes encrypt(ByteSpan plain, ByteSpan label = {}) const;
  // PSS, SHA-256, MGF1 with SHA-256.
  Result<void, RsaError> verify(ByteSpan message, ByteSpan signature,
                                PssSalt salt = PssSalt::kAny) const;

 private:
  friend class RsaPrivateKey;
  struct State;
  explicit RsaPublicKey(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  std::shared_ptr<const State> state_;
};

class RsaPrivateKey {
 public:
  static RsaPrivateKey generate(unsigned bits = 2048);  // exponent 65537. REQUIRES: the range above
  // The first PEM block, PKCS#1 ("RSA PRIVATE KEY") or PKCS#8 ("PRIVATE KEY"), unencrypted. The
  // numbers must fit each other.
  static Result<RsaPrivateKey, RsaKeyError> from_pem(ByteSpan text);
  SecretBytes to_pem() const;  // PKCS#1
  const RsaPublicKey& public_key() const { return public_key_; }
  std::size_t size() const { return public_key_.size(); }

  // One OAEP block. A damaged block, another label and a wrong size look the same, and take the
  // same time as far as OpenSSL can.
  Result<Bytes, RsaError> decrypt(ByteSpan cipher, ByteSpan label = {}) const;
  Bytes sign(ByteSpan message) const;  // PSS as above with the largest salt; size() bytes

 private:
  explicit RsaPrivateKey(RsaPublicKey public_key) : public_key_(std::move(public_key)) {}
  RsaPublicKey public_key_;  // its state holds the private half too
};

}  // namespace sealane::crypto
