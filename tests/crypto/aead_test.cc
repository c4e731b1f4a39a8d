// Goal: all engines are AES-256-GCM and ChaCha20-Poly1305, nothing forged gets through.
// Method: published vectors; every engine against OpenSSL at all small sizes and some big ones;
// flips.
#include "crypto/aead.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "crypto/hash.h"
#include "tests/crypto/vector_file.h"

namespace sealane::crypto {
namespace {

struct Engine {
  AeadAlgorithm algorithm;
  AeadEngine engine;
  const char* name;
};
constexpr Engine kEngines[] = {
    {AeadAlgorithm::kAes256Gcm, AeadEngine::kOpenSsl, "GcmOpenSsl"},
    {AeadAlgorithm::kAes256Gcm, AeadEngine::kIpsecMb, "GcmIpsecMb"},
    {AeadAlgorithm::kAes256Gcm, AeadEngine::kVaes, "GcmVaes"},
    {AeadAlgorithm::kChaCha20Poly1305, AeadEngine::kOpenSsl, "ChaChaOpenSsl"},
    {AeadAlgorithm::kChaCha20Poly1305, AeadEngine::kIpsecMb, "ChaChaIpsecMb"},
};

Bytes pattern(std::size_t size, unsigned seed) {
  Bytes out(size);
  std::uint32_t state = seed * 2654435761u + 1;
  for (std::byte& b : out) {
    state = state * 1664525 + 1013904223;
    b = static_cast<std::byte>(state >> 24);
  }
  return out;
}
AeadKey key_of(unsigned seed) { return AeadKey(std::span<const std::byte, 32>(pattern(32, seed))); }
AeadNonce nonce_of(unsigned seed) {
  AeadNonce nonce;
  std::ranges::copy(pattern(nonce.size(), seed + 1000), nonce.begin());
  return nonce;
}
Bytes sealed(Aead& aead, const AeadNonce& nonce, ByteSpan associated_data, ByteSpan plaintext) {
  Bytes out(plaintext.size() + kAeadTagSize);
  aead.seal(nonce, associated_data, plaintext, out);
  return out;
}
bool all_zero(ByteSpan bytes) {
  return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; });
}

class AeadTest : public ::testing::TestWithParam<Engine> {
 protected:
  void SetUp() override {
    if (!aead_engine_available(GetParam().algorithm, GetParam().engine)) {
      GTEST_SKIP() << "not in this build, or the CPU lacks what it needs, or SEALANE_CPU=generic";
    }
  }
  std::unique_ptr<Aead> make(unsigned seed) const {
    return make_aead(GetParam().algorithm, key_of(seed), GetParam().engine);
  }
};
INSTANTIATE_TEST_SUITE_P(Engines, AeadTest, ::testing::ValuesIn(kEngines),
                         [](const auto& engine) { return std::string(engine.param.name); });

TEST_P(AeadTest, MatchesThePublishedVectors) {
  const std::string_view wanted =
      GetParam().algorithm == AeadAlgorithm::kAes256Gcm ? "aes-256-gcm" : "chacha20-poly1305";
  int count = 0;
  for (const auto& vector : testing::read_vector_file("crypto/aead.txt")) {
    if (vector.text("algorithm") != wanted) continue;
    SCOPED_TRACE(vector.text("source"));
    ++count;
    const auto aead =
        make_aead(GetParam().algorithm, AeadKey(vector.array<32>("key")), GetParam().engine);
    const auto nonce = vector.array<12>("nonce");
    const Bytes plaintext = vector.bytes("plaintext");
    const Bytes associated_data = vector.bytes("associated_data");
    const Bytes message = sealed(*aead, nonce, associated_data, plaintext);
    EXPECT_EQ(to_hex(message), vector.text("ciphertext") + vector.text("tag"));
    Bytes opened(plaintext.size());
    ASSERT_TRUE(aead->open(nonce, associated_data, message, opened).has_value());
    EXPECT_EQ(opened, plaintext);
  }
  EXPECT_GE(count, 1);
}

TEST_P(AeadTest, WorksInPlaceAsOutOfPlace) {
  const auto aead = make(1);
  for (const std::size_t size :
       {0u, 1u, 15u, 16u, 17u, 63u, 64u, 255u, 256u, 257u, 1000u, 65536u, 65537u}) {
    const Bytes plaintext = pattern(size, 2);
    const Bytes associated_data = pattern(size % 40, 3);
    const AeadNonce nonce = nonce_of(static_cast<unsigned>(size));
    const Bytes apart = sealed(*aead, nonce, associated_data, plaintext);
    Bytes buffer = plaintext;
    buffer.resize(size + kAeadTagSize);
    aead->seal(nonce, associated_data, ByteSpan(buffer).first(size), buffer);
    EXPECT_EQ(buffer, apart) << size;
    ASSERT_TRUE(aead->open(nonce, associated_data, buffer, MutableByteSpan(buffer).first(size))
                    .has_value());
    EXPECT_TRUE(std::ranges::equal(ByteSpan(buffer).first(size), plaintext)) << size;
  }
}

TEST_P(AeadTest, RefusesEveryFlippedBitAndShowsNothing) {
  const auto aead = make(4);
  const AeadNonce nonce = nonce_of(4);
  const Bytes associated_data = pattern(9, 5);
  for (const std::size_t size : {0u, 1u, 40u}) {
    const Bytes message = sealed(*aead, nonce, associated_data, pattern(size, 6));
    for (std::size_t bit = 0; bit < 8 * message.size(); ++bit) {
      Bytes flipped = message;
      flipped[bit / 8] ^= std::byte{1} << (bit % 8);
      Bytes out(size, std::byte{0xee});
      const auto opened = aead->open(nonce, associated_data, flipped, out);
      ASSERT_FALSE(opened.has_value()) << size << ' ' << bit;
      EXPECT_EQ(opened.error(), AeadError::kNotAuthentic);
      EXPECT_TRUE(all_zero(out)) << size << ' ' << bit;
    }
    Bytes out(size, std::byte{0xee});
    EXPECT_FALSE(aead->open(nonce, pattern(8, 5), message, out).has_value());
    EXPECT_TRUE(all_zero(out));
    EXPECT_FALSE(aead->open(nonce_of(5), associated_data, message, out).has_value());
    EXPECT_FALSE(make(5)->open(nonce, associated_data, message, out).has_value());
    // The failures have left nothing behind in the object.
    ASSERT_TRUE(aead->open(nonce, associated_data, message, out).has_value());
    EXPECT_EQ(out, pattern(size, 6));
  }
}

TEST_P(AeadTest, RefusesWhatIsShorterThanATag) {
  const auto aead = make(7);
  const Bytes message = sealed(*aead, nonce_of(7), {}, {});
  for (std::size_t size = 0; size < kAeadTagSize; ++size) {
    EXPECT_FALSE(aead->open(nonce_of(7), {}, ByteSpan(message).first(size), {}).has_value());
  }
  EXPECT_TRUE(aead->open(nonce_of(7), {}, message, {}).has_value());
}

TEST_P(AeadTest, ClonesWorkAloneAndOutliveTheOriginal) {
  auto original = make(8);
  const Bytes plaintext = pattern(100, 9);
  const Bytes message = sealed(*original, nonce_of(8), {}, plaintext);
  const auto clone = original->clone();
  const auto second = clone->clone();
  original.reset();
  EXPECT_EQ(sealed(*clone, nonce_of(8), {}, plaintext), message);
  Bytes out(plaintext.size());
  EXPECT_TRUE(second->open(nonce_of(8), {}, message, out).has_value());
  EXPECT_EQ(out, plaintext);
}

TEST_P(AeadTest, AgreesWithOpenSslAtEverySize) {
  std::vector<std::size_t> sizes;
  for (std::size_t size = 0; size <= 1100; ++size) sizes.push_back(size);
  for (const std::size_t size :
       {4095u, 4096u, 4097u, 65535u, 65536u, 65537u, 1u << 20, (1u << 22) + 3}) {
    sizes.push_back(size);
  }
  const auto openssl = make_aead(GetParam().algorithm, key_of(10), AeadEngine::kOpenSsl);
  const auto aead = make(10);
  for (const std::size_t size : sizes) {
    const Bytes plaintext = pattern(size, 11);
    const Bytes associated_data = pattern(size % 300, 12);
    const AeadNonce nonce = nonce_of(static_cast<unsigned>(size));
    const Bytes message = sealed(*openssl, nonce, associated_data, plaintext);
    ASSERT_EQ(message, sealed(*aead, nonce, associated_data, plaintext)) << size;
    Bytes in_place = plaintext;
    in_place.resize(size + kAeadTagSize);
    aead->seal(nonce, associated_data, ByteSpan(in_place).first(size), in_place);
    ASSERT_EQ(in_place, message) << size;
    Bytes out(size);
    ASSERT_TRUE(aead->open(nonce, associated_data, message, out).has_value()) << size;
    ASSERT_EQ(out, plaintext) << size;
    ASSERT_TRUE(aead->open(nonce, associated_data, in_place, MutableByteSpan(in_place).first(size))
                    .has_value())
        << size;
    ASSERT_TRUE(std::ranges::equal(ByteSpan(in_place).first(size), plaintext)) << size;
  }
}

// Of many keys, some have a hash key whose top bit is set and some that of its square.
TEST_P(AeadTest, AgreesWithOpenSslUnderManyKeys) {
  for (unsigned seed = 0; seed < 500; ++seed) {
    const Bytes plaintext = pattern(seed * 7 % 900, seed);
    const Bytes associated_data = pattern(seed % 40, seed + 1);
    const auto openssl = make_aead(GetParam().algorithm, key_of(seed), AeadEngine::kOpenSsl);
    ASSERT_EQ(sealed(*make(seed), nonce_of(seed), associated_data, plaintext),
              sealed(*openssl, nonce_of(seed), associated_data, plaintext))
        << seed;
  }
}

TEST(AeadEngines, ObeyTheEnvironment) {
  const char* before = std::getenv("SEALANE_CPU");
  const std::string saved = before == nullptr ? "" : before;
  setenv("SEALANE_CPU", "generic", 1);
  for (const auto algorithm : {AeadAlgorithm::kAes256Gcm, AeadAlgorithm::kChaCha20Poly1305}) {
    EXPECT_FALSE(aead_engine_available(algorithm, AeadEngine::kIpsecMb));
    EXPECT_FALSE(aead_engine_available(algorithm, AeadEngine::kVaes));
    EXPECT_TRUE(aead_engine_available(algorithm, AeadEngine::kOpenSsl));
    EXPECT_TRUE(aead_engine_available(algorithm, AeadEngine::kAutomatic));
    EXPECT_EQ(automatic_aead_engine(algorithm), AeadEngine::kOpenSsl);
  }
  if (before == nullptr) {
    unsetenv("SEALANE_CPU");
  } else {
    setenv("SEALANE_CPU", saved.c_str(), 1);
  }
  EXPECT_TRUE(aead_engine_available(AeadAlgorithm::kAes256Gcm,
                                    automatic_aead_engine(AeadAlgorithm::kAes256Gcm)));
}

TEST(AeadEngines, OfVaesIsForAesOnly) {
  EXPECT_FALSE(aead_engine_available(AeadAlgorithm::kChaCha20Poly1305, AeadEngine::kVaes));
}

}  // namespace
}  // namespace sealane::crypto
