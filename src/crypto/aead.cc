#include "crypto/aead.h"

#include "base/check.h"
#include "base/copy_bytes.h"
#include "crypto/aead_ipsec_mb.h"
#include "crypto/aead_vaes.h"
#include "crypto/cpu.h"
#include "crypto/hash.h"
#include "crypto/openssl.h"

namespace sealane::crypto {
namespace {

const EVP_CIPHER* method(AeadAlgorithm algorithm) {
  static const EVP_CIPHER* const gcm = fetch_cipher("AES-256-GCM");
  static const EVP_CIPHER* const chacha = fetch_cipher("ChaCha20-Poly1305");
  return algorithm == AeadAlgorithm::kAes256Gcm ? gcm : chacha;
}

// One context serves both directions: the key stays expanded in it, every call sets only the nonce.
class OpenSslAead final : public Aead {
 public:
  OpenSslAead(AeadAlgorithm algorithm, const AeadKey& key)
      : algorithm_(algorithm), key_(key.duplicate()), context_(make_cipher_context()) {
    SEALANE_CHECK(EVP_CipherInit_ex2(context_.get(), method(algorithm), as_uchar(key_.expose()),
                                     nullptr, 1, nullptr) == 1);
  }

  std::unique_ptr<Aead> clone() const override {
    return std::make_unique<OpenSslAead>(algorithm_, key_);
  }

 private:
  enum class Direction : int { kOpen = 0, kSeal = 1 };

  void encrypt(const AeadNonce& nonce, ByteSpan associated_data, ByteSpan plaintext,
               MutableByteSpan out) override {
    start(nonce, Direction::kSeal, associated_data);
    run(plaintext, out.first(plaintext.size()));
    unsigned char nothing[kAeadTagSize];
    int size = 0;
    SEALANE_CHECK(EVP_CipherFinal_ex(context_.get(), nothing, &size) == 1 && size == 0);
    SEALANE_CHECK(EVP_CIPHER_CTX_ctrl(context_.get(), EVP_CTRL_AEAD_GET_TAG, kAeadTagSize,
                                      as_uchar(out.last(kAeadTagSize))) == 1);
  }

  bool decrypt(const AeadNonce& nonce, ByteSpan associated_data, ByteSpan ciphertext,
               const AeadTag& given, MutableByteSpan out) override {
    start(nonce, Direction::kOpen, associated_data);
    run(ciphertext, out);
    AeadTag tag = given;  // OpenSSL takes it as what could be written to
    SEALANE_CHECK(
        EVP_CIPHER_CTX_ctrl(context_.get(), EVP_CTRL_AEAD_SET_TAG, kAeadTagSize, tag.data()) == 1);
    unsigned char nothing[kAeadTagSize];
    int size = 0;
    return EVP_CipherFinal_ex(context_.get(), nothing, &size) == 1;
  }

  void start(const AeadNonce& nonce, Direction direction, ByteSpan associated_data) {
    SEALANE_CHECK(EVP_CipherInit_ex2(context_.get(), nullptr, nullptr, as_uchar(ByteSpan(nonce)),
                                     static_cast<int>(direction), nullptr) == 1);
    if (associated_data.empty()) return;
    int size = 0;
    SEALANE_CHECK(EVP_CipherUpdate(context_.get(), nullptr, &size, as_uchar(associated_data),
                                   static_cast<int>(associated_data.size())) == 1);
  }
  void run(ByteSpan in, MutableByteSpan out) {
    if (in.empty()) return;  // a null `out` would mean associated data
    int size = 0;
    SEALANE_CHECK(EVP_CipherUpdate(context_.get(), as_uchar(out), &size, as_uchar(in),
                                   static_cast<int>(in.size())) == 1);
    SEALANE_CHECK(static_cast<std::size_t>(size) == in.size());
  }

  AeadAlgorithm algorithm_;
  AeadKey key_;
  CipherContext context_;
};

// OpenSSL counts in int; the contract leaves room for the tag.
constexpr std::size_t kCallLimit = (std::size_t{1} << 31) - 64;

void check_sizes(ByteSpan associated_data, std::size_t plaintext_size, std::size_t room) {
  SEALANE_CHECK(plaintext_size == room);
  SEALANE_CHECK(plaintext_size <= kCallLimit && associated_data.size() <= kCallLimit);
}

}  // namespace

void Aead::seal(const AeadNonce& nonce, ByteSpan associated_data, ByteSpan plaintext,
                MutableByteSpan out) {
  check_sizes(associated_data, plaintext.size(), out.size() - kAeadTagSize);
  encrypt(nonce, associated_data, plaintext, out);
}

Result<void, AeadError> Aead::open(const AeadNonce& nonce, ByteSpan associated_data,
                                   ByteSpan sealed, MutableByteSpan out) {
  if (sealed.size() < kAeadTagSize) {
    SEALANE_CHECK(out.empty());
    return AeadError::kNotAuthentic;
  }
  check_sizes(associated_data, sealed.size() - kAeadTagSize, out.size());
  AeadTag given;
  copy_bytes(sealed.last(kAeadTagSize), given.begin());
  if (!decrypt(nonce, associated_data, sealed.first(out.size()), given, out)) {
    cleanse(out);
    return AeadError::kNotAuthentic;
  }
  return success();
}

bool Aead::same_tag(AeadTag& expected, const AeadTag& given) {
  const bool same = constant_time_equal(expected, given);
  cleanse(expected);
  return same;
}

bool aead_engine_available(AeadAlgorithm algorithm, AeadEngine engine) {
  switch (engine) {
    case AeadEngine::kAutomatic:
    case AeadEngine::kOpenSsl:
      return true;
    case AeadEngine::kIpsecMb:
      return !generic_cpu_forced() && ipsec_mb_available();
    case AeadEngine::kVaes:
      return algorithm == AeadAlgorithm::kAes256Gcm && !generic_cpu_forced() && vaes_available();
  }
  return false;
}

AeadEngine automatic_aead_engine(AeadAlgorithm algorithm) {
  for (const AeadEngine engine : {AeadEngine::kIpsecMb, AeadEngine::kVaes}) {
    if (aead_engine_available(algorithm, engine)) return engine;
  }
  return AeadEngine::kOpenSsl;
}

std::unique_ptr<Aead> make_aead(AeadAlgorithm algorithm, const AeadKey& key, AeadEngine engine) {
  SEALANE_CHECK(aead_engine_available(algorithm, engine));
  if (engine == AeadEngine::kAutomatic) engine = automatic_aead_engine(algorithm);
  if (engine == AeadEngine::kIpsecMb) return make_ipsec_mb_aead(algorithm, key);
  if (engine == AeadEngine::kVaes) return make_vaes_gcm(key);
  return std::make_unique<OpenSslAead>(algorithm, key);
}

}  // namespace sealane::crypto
