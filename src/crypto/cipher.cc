#include "crypto/cipher.h"

#include "base/check.h"
#include "crypto/openssl.h"
#include "crypto/sodium.h"

namespace sealane::crypto {

// libsodium here, not OpenSSL: it needs no heap and no set-up, and these serve short messages.
void chacha20_xor(std::span<const std::byte, 32> key, std::span<const std::byte, 12> nonce,
                  std::uint32_t counter, ByteSpan in, MutableByteSpan out) {
  SEALANE_CHECK(in.size() == out.size());
  const std::uint64_t blocks = in.size() / 64 + (in.size() % 64 != 0 ? 1 : 0);
  SEALANE_CHECK(blocks <= (std::uint64_t{1} << 32) - counter);
  if (in.empty()) return;
  ensure_sodium();
  crypto_stream_chacha20_ietf_xor_ic(as_uchar(out), as_uchar(in), in.size(), as_uchar(nonce),
                                     counter, as_uchar(key));
}

void hchacha20(std::span<const std::byte, 32> key, std::span<const std::byte, 16> input,
               std::span<std::byte, 32> out) {
  ensure_sodium();
  crypto_core_hchacha20(as_uchar(MutableByteSpan(out)), as_uchar(input), as_uchar(key), nullptr);
}

ByteArray<16> poly1305(std::span<const std::byte, 32> one_time_key, ByteSpan message) {
  ensure_sodium();
  ByteArray<16> tag;
  crypto_onetimeauth_poly1305(as_uchar(MutableByteSpan(tag)), as_uchar(message), message.size(),
                              as_uchar(one_time_key));
  return tag;
}

void aes256_ctr_xor(std::span<const std::byte, 32> key, std::span<const std::byte, 16> iv,
                    ByteSpan in, MutableByteSpan out) {
  SEALANE_CHECK(in.size() == out.size());
  static const EVP_CIPHER* const cipher = fetch_cipher("AES-256-CTR");
  const CipherContext context = make_cipher_context();
  SEALANE_CHECK(EVP_EncryptInit_ex2(context.get(), cipher, as_uchar(ByteSpan(key)),
                                    as_uchar(ByteSpan(iv)), nullptr) == 1);
  constexpr std::size_t kCallLimit = 1 << 30;  // OpenSSL counts in int
  while (!in.empty()) {
    const std::size_t size = std::min(in.size(), kCallLimit);
    int written = 0;
    SEALANE_CHECK(EVP_EncryptUpdate(context.get(), as_uchar(out), &written, as_uchar(in),
                                    static_cast<int>(size)) == 1);
    SEALANE_CHECK(written == static_cast<int>(size));
    in = in.subspan(size);
    out = out.subspan(size);
  }
}

}  // namespace sealane::crypto
