// Goal: AES-128-CBC with PKCS#7 is the published one by either engine, many pieces at once are the
// same as one after the other, and padding is judged as RFC 5652 says. Method: vectors; both
// engines against each other; every padding there is.
#include "crypto/aes_cbc.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/crypto/vector_file.h"

namespace sealane::crypto {
namespace {

class AesCbcBy : public ::testing::TestWithParam<AesCbcEngine> {
 protected:
  void SetUp() override {
    if (!aes_cbc_engine_available(GetParam())) {
      GTEST_SKIP() << "libipsec-mb: not in this build, no AES in this CPU, or SEALANE_CPU=generic";
    }
  }
  std::unique_ptr<AesCbc> make(std::span<const std::byte, 16> key,
                               std::span<const std::byte, 16> iv) const {
    return make_aes_cbc(AesCbcKey(key), AesCbcIv(iv), GetParam());
  }
  static Bytes encrypt(AesCbc& cipher, ByteSpan plaintext) {
    Bytes out(AesCbc::padded_size(plaintext.size()));
    const AesCbc::Piece piece{plaintext, out};
    cipher.encrypt(std::span(&piece, 1));
    return out;
  }
  ByteArray<16> key_{std::byte{7}};
  ByteArray<16> iv_{std::byte{9}};
};
INSTANTIATE_TEST_SUITE_P(Engines, AesCbcBy,
                         ::testing::Values(AesCbcEngine::kOpenSsl, AesCbcEngine::kIpsecMb),
                         [](const auto& param) {
                           return param.param == AesCbcEngine::kOpenSsl ? "OpenSsl" : "IpsecMb";
                         });

TEST_P(AesCbcBy, MatchesThePublishedVectors) {
  for (const auto& vector : testing::read_vector_file("crypto/aes_cbc.txt")) {
    SCOPED_TRACE(vector.text("source"));
    const auto cipher = make(vector.array<16>("key"), vector.array<16>("iv"));
    const Bytes input = vector.bytes("input");
    const Bytes sealed = encrypt(*cipher, input);
    EXPECT_EQ(to_hex(ByteSpan(sealed).first(input.size())), vector.text("output"));
    Bytes opened(sealed.size());
    const AesCbc::Opened result = cipher->decrypt(sealed, opened);
    EXPECT_TRUE(result.padding_good);
    EXPECT_EQ(to_hex(ByteSpan(opened).first(result.size)), vector.text("input"));
  }
}

TEST_P(AesCbcBy, ThereAndBackAtEverySizeAlsoInPlace) {
  const auto cipher = make(key_, iv_);
  std::mt19937_64 engine(1);
  for (std::size_t size = 0; size <= 300; ++size) {
    Bytes plaintext(size);
    for (std::byte& b : plaintext) b = static_cast<std::byte>(engine());
    Bytes sealed = encrypt(*cipher, plaintext);
    ASSERT_EQ(sealed.size(), AesCbc::padded_size(size));
    Bytes opened(sealed.size());
    const AesCbc::Opened result = cipher->decrypt(sealed, opened);
    ASSERT_TRUE(result.padding_good);
    ASSERT_EQ(result.size, size);
    EXPECT_TRUE(std::ranges::equal(ByteSpan(opened).first(size), plaintext));
    EXPECT_TRUE(cipher->decrypt(sealed, sealed).padding_good);
    EXPECT_EQ(sealed, opened);
  }
}

// Of any number and of any sizes, as OpenSSL does them one by one.
TEST_P(AesCbcBy, ManyPiecesAtOnceAreTheSameAsOneByOne) {
  const auto cipher = make(key_, iv_);
  const auto reference = make_aes_cbc(AesCbcKey(key_), AesCbcIv(iv_), AesCbcEngine::kOpenSsl);
  std::mt19937_64 engine(2);
  for (const std::size_t count : {0UL, 1UL, 2UL, 7UL, 8UL, 16UL, 17UL, 128UL, 129UL, 300UL}) {
    std::vector<Bytes> plaintexts(count);
    std::vector<Bytes> sealed(count);
    std::vector<AesCbc::Piece> pieces;
    for (std::size_t i = 0; i < count; ++i) {
      plaintexts[i].resize(engine() % 5 == 0 ? engine() % 16 : engine() % 3000);
      for (std::byte& b : plaintexts[i]) b = static_cast<std::byte>(engine());
      sealed[i].resize(AesCbc::padded_size(plaintexts[i].size()));
      pieces.push_back({plaintexts[i], sealed[i]});
    }
    cipher->encrypt(pieces);
    for (std::size_t i = 0; i < count; ++i) {
      EXPECT_EQ(sealed[i], encrypt(*reference, plaintexts[i])) << i << " of " << count;
    }
  }
}

TEST_P(AesCbcBy, EveryPaddingIsJudged) {
  const auto cipher = make(key_, iv_);
  // Two blocks, of which a third is cut off: so the last block is ours to choose.
  for (unsigned pad = 0; pad <= 255; ++pad) {
    for (unsigned wrong_at = 0; wrong_at <= 17; ++wrong_at) {  // from the end; 0: none
      Bytes plaintext(32, std::byte{0xaa});
      for (unsigned i = 1; i <= std::min(pad, 32U); ++i) {
        plaintext[32 - i] = static_cast<std::byte>(pad);
      }
      if (pad == 0) plaintext[31] = std::byte{0};
      if (wrong_at >= 2) plaintext[32 - wrong_at] ^= std::byte{1};
      Bytes sealed = encrypt(*cipher, plaintext);
      sealed.resize(32);
      Bytes opened(32);
      const AesCbc::Opened result = cipher->decrypt(sealed, opened);
      const bool good = pad >= 1 && pad <= 16 && (wrong_at < 2 || wrong_at > pad);
      ASSERT_EQ(result.padding_good, good) << pad << ", wrong at " << wrong_at;
      ASSERT_EQ(result.size, good ? 32 - pad : 0) << pad;
      ASSERT_EQ(opened, plaintext);
    }
  }
}

TEST_P(AesCbcBy, ChecksItsCallers) {
  const auto cipher = make(key_, iv_);
  Bytes bytes(32);
  EXPECT_DEATH(cipher->decrypt(ByteSpan(bytes).first(15), MutableByteSpan(bytes).first(15)),
               "kBlockSize");
  EXPECT_DEATH(cipher->decrypt({}, {}), "empty");
  const AesCbc::Piece short_out{bytes, bytes};
  EXPECT_DEATH(cipher->encrypt(std::span(&short_out, 1)), "padded_size");
}

}  // namespace
}  // namespace sealane::crypto
