#include "crypto/aes_cbc.h"

#include "crypto/aes_cbc_ipsec_mb.h"
#include "crypto/cpu.h"
#include "crypto/openssl.h"

namespace sealane::crypto {
namespace {

class OpenSslAesCbc final : public AesCbc {
 public:
  OpenSslAesCbc(const AesCbcKey& key, const AesCbcIv& iv) : iv_(iv.duplicate()) {
    static const EVP_CIPHER* const cipher = fetch_cipher("AES-128-CBC");
    const auto* key_bytes = as_uchar(ByteSpan(key.expose()));
    SEALANE_CHECK(EVP_EncryptInit_ex2(seal_.get(), cipher, key_bytes, nullptr, nullptr) == 1);
    SEALANE_CHECK(EVP_DecryptInit_ex2(open_.get(), cipher, key_bytes, nullptr, nullptr) == 1);
  }

  void encrypt(std::span<const Piece> pieces) override {
    check_cbc_pieces(pieces);
    for (const Piece& piece : pieces) {
      SEALANE_CHECK(EVP_EncryptInit_ex2(seal_.get(), nullptr, nullptr, iv(), nullptr) == 1);
      SEALANE_CHECK(EVP_CIPHER_CTX_set_padding(seal_.get(), 0) == 1);
      const std::size_t body = piece.plaintext.size() / kBlockSize * kBlockSize;
      const ByteArray<kBlockSize> last = last_cbc_block(piece.plaintext);
      if (body > 0) update(seal_.get(), piece.plaintext.first(body), piece.out.first(body));
      update(seal_.get(), last, piece.out.subspan(body));
    }
  }

  Opened decrypt(ByteSpan ciphertext, MutableByteSpan out) override {
    check_cbc_sizes(ciphertext, out);
    SEALANE_CHECK(EVP_DecryptInit_ex2(open_.get(), nullptr, nullptr, iv(), nullptr) == 1);
    // Padding is ours to judge: OpenSSL's answer is an early one.
    SEALANE_CHECK(EVP_CIPHER_CTX_set_padding(open_.get(), 0) == 1);
    int written = 0;
    SEALANE_CHECK(EVP_DecryptUpdate(open_.get(), as_uchar(out), &written, as_uchar(ciphertext),
                                    static_cast<int>(ciphertext.size())) == 1);
    SEALANE_CHECK(written == static_cast<int>(ciphertext.size()));
    return remove_padding(out);
  }

 private:
  const unsigned char* iv() const { return as_uchar(ByteSpan(iv_.expose())); }
  static void update(EVP_CIPHER_CTX* context, ByteSpan in, MutableByteSpan out) {
    int written = 0;
    SEALANE_CHECK(EVP_EncryptUpdate(context, as_uchar(out), &written, as_uchar(in),
                                    static_cast<int>(in.size())) == 1);
    SEALANE_CHECK(written == static_cast<int>(in.size()));
  }

  AesCbcIv iv_;
  CipherContext seal_ = make_cipher_context();
  CipherContext open_ = make_cipher_context();
};

AesCbcEngine automatic() {
  return cbc_ipsec_mb_available() && !generic_cpu_forced() ? AesCbcEngine::kIpsecMb
                                                           : AesCbcEngine::kOpenSsl;
}

}  // namespace

AesCbc::Opened remove_padding(ByteSpan padded) {
  constexpr std::uint32_t kBlock = AesCbc::kBlockSize;
  const auto byte_at = [&](std::uint32_t from_end) {
    return std::to_integer<std::uint32_t>(padded[padded.size() - from_end]);
  };
  // All ones where a < b, for values below 2^31.
  const auto below = [](std::uint32_t a, std::uint32_t b) { return 0U - ((a - b) >> 31U); };
  const std::uint32_t pad = byte_at(1);
  std::uint32_t bad = below(pad, 1) | below(kBlock, pad);
  for (std::uint32_t i = 1; i <= kBlock; ++i) {
    const std::uint32_t counts = below(i - 1, pad);  // one of the last `pad` bytes
    bad |= counts & (byte_at(i) ^ pad);
  }
  const std::uint32_t good = ((bad | (0U - bad)) >> 31U) ^ 1U;
  return {(padded.size() - pad) & (std::size_t{0} - good), good != 0};
}

bool aes_cbc_engine_available(AesCbcEngine engine) {
  return engine != AesCbcEngine::kIpsecMb || (cbc_ipsec_mb_available() && !generic_cpu_forced());
}

std::unique_ptr<AesCbc> make_aes_cbc(const AesCbcKey& key, const AesCbcIv& iv,
                                     AesCbcEngine engine) {
  SEALANE_CHECK(aes_cbc_engine_available(engine));
  if (engine == AesCbcEngine::kAutomatic) engine = automatic();
  if (engine == AesCbcEngine::kIpsecMb) return make_ipsec_mb_aes_cbc(key, iv);
  return std::make_unique<OpenSslAesCbc>(key, iv);
}

}  // namespace sealane::crypto
