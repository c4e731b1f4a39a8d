#include "crypto/kdf.h"

#include "base/check.h"
#include "base/copy_bytes.h"
#include "crypto/hash.h"
#include "crypto/openssl.h"
#include "sealane/base/secret.h"

namespace sealane::crypto {
namespace {

constexpr std::uint64_t kMaxScryptMemory = std::uint64_t{2} << 30;

// RFC 5869. An absent salt is a string of zeros, which as an HMAC key equals the empty one.
template <class Digest>
void hkdf(Digest (*hmac)(ByteSpan, ByteSpan), ByteSpan key_material, ByteSpan salt, ByteSpan info,
          MutableByteSpan out) {
  constexpr std::size_t kDigestSize = std::tuple_size_v<Digest>;
  SEALANE_CHECK(out.size() <= 255 * kDigestSize);
  Digest pseudorandom_key = hmac(salt, key_material);
  Digest block{};
  // T(i) = HMAC(PRK, T(i - 1) | info | i)
  SecretBytes input(kDigestSize + info.size() + 1);
  const MutableByteSpan text = input.fill();
  copy_bytes(info, text.begin() + kDigestSize);
  for (std::uint8_t counter = 1; !out.empty(); ++counter) {
    text.back() = std::byte{counter};
    block = hmac(pseudorandom_key, counter == 1 ? text.subspan(kDigestSize) : text);
    copy_bytes(block, text.begin());
    const std::size_t taken = std::min(out.size(), block.size());
    copy_bytes(ByteSpan(block).first(taken), out.begin());
    out = out.subspan(taken);
  }
  cleanse(pseudorandom_key);
  cleanse(block);
}

}  // namespace

void hkdf_sha256(ByteSpan key_material, ByteSpan salt, ByteSpan info, MutableByteSpan out) {
  hkdf(&hmac_sha256, key_material, salt, info, out);
}
void hkdf_sha512(ByteSpan key_material, ByteSpan salt, ByteSpan info, MutableByteSpan out) {
  hkdf(&hmac_sha512, key_material, salt, info, out);
}

Result<void, KdfError> scrypt(ByteSpan passphrase, ByteSpan salt, unsigned log2_n, std::uint32_t r,
                              std::uint32_t p, MutableByteSpan out) {
  SEALANE_CHECK(log2_n >= 1 && log2_n <= 63 && r >= 1 && p >= 1);
  // RFC 7914, section 2: N < 2^(128 * r / 8) and p <= (2^32 - 1) * 32 / (128 * r).
  if (log2_n >= 16 * std::uint64_t{r} || std::uint64_t{p} * r > (1u << 30) - 1) {
    return KdfError::kLimits;
  }
  // N blocks, and beside them p blocks and two for work; by division, so that nothing wraps.
  const std::uint64_t block_size = std::uint64_t{128} * r;
  const std::uint64_t block_limit = kMaxScryptMemory / block_size;
  if (log2_n > 31 || (std::uint64_t{1} << log2_n) > block_limit || p > block_limit) {
    return KdfError::kLimits;
  }
  const std::uint64_t n = std::uint64_t{1} << log2_n;
  const std::uint64_t memory = block_size * (n + p + 2);
  const int done = EVP_PBE_scrypt(as_text(passphrase).data(), passphrase.size(), as_uchar(salt),
                                  salt.size(), n, r, p, memory, as_uchar(out), out.size());
  if (done != 1) return KdfError::kOutOfMemory;
  return success();
}

}  // namespace sealane::crypto
