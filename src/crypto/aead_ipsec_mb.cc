#include "crypto/aead_ipsec_mb.h"

#ifdef SEALANE_HAVE_IPSEC_MB
#include <intel-ipsec-mb.h>

#include "base/check.h"

namespace sealane::crypto {
namespace {

// The library's table of functions, chosen for this CPU. Read-only once made, so all threads share
// it: the one-shot calls used here keep nothing in it. Null where the CPU lacks the 512-bit code;
// the narrower versions are no faster than OpenSSL's.
IMB_MGR* manager() {
  static IMB_MGR* const chosen = []() -> IMB_MGR* {
    // Besides the CPU, the kernel must save the 512-bit registers, which the library does not ask.
    if (!__builtin_cpu_supports("avx512f")) return nullptr;
    IMB_MGR* made = alloc_mb_mgr(0);
    if (made == nullptr) return nullptr;
    IMB_ARCH architecture = IMB_ARCH_NONE;
    init_mb_mgr_auto(made, &architecture);
    constexpr std::uint64_t kNeeded = IMB_CPUFLAGS_AVX512_T2;
    if (architecture == IMB_ARCH_AVX512 && (made->features & kNeeded) == kNeeded) return made;
    free_mb_mgr(made);
    return nullptr;
  }();
  return chosen;
}

class IpsecMbGcm final : public Aead {
 public:
  explicit IpsecMbGcm(const AeadKey& key) {
    IMB_AES256_GCM_PRE(manager(), as_uchar(key.expose()), &key_);
  }
  IpsecMbGcm(const IpsecMbGcm& other) : Aead(other), key_(other.key_) {}
  IpsecMbGcm& operator=(const IpsecMbGcm&) = delete;
  ~IpsecMbGcm() override {
    cleanse(std::as_writable_bytes(std::span(&key_, 1)));
    cleanse(std::as_writable_bytes(std::span(&context_, 1)));
  }

  std::unique_ptr<Aead> clone() const override { return std::make_unique<IpsecMbGcm>(*this); }

 private:
  void encrypt(const AeadNonce& nonce, ByteSpan associated_data, ByteSpan plaintext,
               MutableByteSpan out) override {
    IMB_AES256_GCM_ENC(manager(), &key_, &context_, as_uchar(out), as_uchar(plaintext),
                       plaintext.size(), as_uchar(ByteSpan(nonce)), as_uchar(associated_data),
                       associated_data.size(), as_uchar(out.last(kAeadTagSize)), kAeadTagSize);
  }

  bool decrypt(const AeadNonce& nonce, ByteSpan associated_data, ByteSpan ciphertext,
               const AeadTag& given, MutableByteSpan out) override {
    AeadTag expected;
    IMB_AES256_GCM_DEC(manager(), &key_, &context_, as_uchar(out), as_uchar(ciphertext),
                       ciphertext.size(), as_uchar(ByteSpan(nonce)), as_uchar(associated_data),
                       associated_data.size(), as_uchar(MutableByteSpan(expected)), kAeadTagSize);
    return same_tag(expected, given);
  }

  // The library's aligned loads need this; its header asks for it only where LINUX is defined.
  alignas(64) gcm_key_data key_;
  alignas(64) gcm_context_data context_{};
};

class IpsecMbChaCha20Poly1305 final : public Aead {
 public:
  explicit IpsecMbChaCha20Poly1305(const AeadKey& key) : key_(key.duplicate()) {}
  ~IpsecMbChaCha20Poly1305() override { cleanse(std::as_writable_bytes(std::span(&context_, 1))); }

  std::unique_ptr<Aead> clone() const override {
    return std::make_unique<IpsecMbChaCha20Poly1305>(key_);
  }

 private:
  void encrypt(const AeadNonce& nonce, ByteSpan associated_data, ByteSpan plaintext,
               MutableByteSpan out) override {
    start(nonce, associated_data);
    if (!plaintext.empty()) {
      IMB_CHACHA20_POLY1305_ENC_UPDATE(manager(), as_uchar(key_.expose()), &context_, as_uchar(out),
                                       as_uchar(plaintext), plaintext.size());
    }
    IMB_CHACHA20_POLY1305_ENC_FINALIZE(manager(), &context_, as_uchar(out.last(kAeadTagSize)),
                                       kAeadTagSize);
  }

  bool decrypt(const AeadNonce& nonce, ByteSpan associated_data, ByteSpan ciphertext,
               const AeadTag& given, MutableByteSpan out) override {
    start(nonce, associated_data);
    if (!ciphertext.empty()) {
      IMB_CHACHA20_POLY1305_DEC_UPDATE(manager(), as_uchar(key_.expose()), &context_, as_uchar(out),
                                       as_uchar(ciphertext), ciphertext.size());
    }
    AeadTag expected;
    IMB_CHACHA20_POLY1305_DEC_FINALIZE(manager(), &context_, as_uchar(MutableByteSpan(expected)),
                                       kAeadTagSize);
    return same_tag(expected, given);
  }

  void start(const AeadNonce& nonce, ByteSpan associated_data) {
    IMB_CHACHA20_POLY1305_INIT(manager(), as_uchar(key_.expose()), &context_,
                               as_uchar(ByteSpan(nonce)), as_uchar(associated_data),
                               associated_data.size());
  }

  AeadKey key_;
  alignas(64) chacha20_poly1305_context_data context_{};
};

}  // namespace

bool ipsec_mb_available() { return manager() != nullptr; }

std::unique_ptr<Aead> make_ipsec_mb_aead(AeadAlgorithm algorithm, const AeadKey& key) {
  SEALANE_CHECK(ipsec_mb_available());
  if (algorithm == AeadAlgorithm::kAes256Gcm) return std::make_unique<IpsecMbGcm>(key);
  return std::make_unique<IpsecMbChaCha20Poly1305>(key);
}

}  // namespace sealane::crypto

#else

namespace sealane::crypto {

bool ipsec_mb_available() { return false; }

std::unique_ptr<Aead> make_ipsec_mb_aead(AeadAlgorithm, const AeadKey&) {
  SEALANE_CHECK(ipsec_mb_available());
  return nullptr;
}

}  // namespace sealane::crypto

#endif
