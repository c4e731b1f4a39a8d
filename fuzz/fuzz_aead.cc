// Every engine of an AEAD against OpenSSL: any key, nonce, lengths and contents, in place and not;
// and what one bit changes is refused and wiped.
#include <algorithm>

#include "base/check.h"
#include "crypto/aead.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sealane;
  using namespace sealane::crypto;
  constexpr std::size_t kHead = kAeadKeySize + kAeadNonceSize + 2;
  if (size < kHead) return 0;
  const ByteSpan input = std::as_bytes(std::span(data, size));
  const AeadKey key(input.first<kAeadKeySize>());
  AeadNonce nonce;
  std::ranges::copy(input.subspan(kAeadKeySize, kAeadNonceSize), nonce.begin());
  const std::size_t split = data[kHead - 2];
  const std::size_t flipped = data[kHead - 1];
  const ByteSpan rest = input.subspan(kHead);
  const ByteSpan associated_data = rest.first(std::min(split, rest.size()));
  const ByteSpan plaintext = rest.subspan(associated_data.size());

  for (const auto algorithm : {AeadAlgorithm::kAes256Gcm, AeadAlgorithm::kChaCha20Poly1305}) {
    Bytes expected(plaintext.size() + kAeadTagSize);
    make_aead(algorithm, key, AeadEngine::kOpenSsl)
        ->seal(nonce, associated_data, plaintext, expected);
    for (const auto engine : {AeadEngine::kIpsecMb, AeadEngine::kVaes}) {
      if (!aead_engine_available(algorithm, engine)) continue;
      const auto aead = make_aead(algorithm, key, engine);
      Bytes sealed(expected.size());
      aead->seal(nonce, associated_data, plaintext, sealed);
      SEALANE_CHECK(sealed == expected);
      std::ranges::copy(plaintext, sealed.begin());
      aead->seal(nonce, associated_data, ByteSpan(sealed).first(plaintext.size()), sealed);
      SEALANE_CHECK(sealed == expected);
      Bytes opened(plaintext.size());
      SEALANE_CHECK(aead->open(nonce, associated_data, sealed, opened).has_value());
      SEALANE_CHECK(std::ranges::equal(opened, plaintext));
      sealed[flipped % sealed.size()] ^= static_cast<std::byte>(1U << (flipped % 8));
      SEALANE_CHECK(!aead->open(nonce, associated_data, sealed, opened).has_value());
      SEALANE_CHECK(std::ranges::all_of(opened, [](std::byte b) { return b == std::byte{0}; }));
    }
  }
  return 0;
}
