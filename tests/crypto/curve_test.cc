// Goal: X25519 and Ed25519 are the published ones and refuse points that give secrets away. Method:
// RFC vectors, the points of small order, both ways from Ed25519 to X25519 against each other.
#include "sealane/crypto/curve.h"

#include <gtest/gtest.h>

#include "tests/crypto/vector_file.h"

namespace sealane::crypto {
namespace {

using testing::read_vector_file;

// Counts up from its start, so that two draws differ.
class CountingRandom final : public RandomSource {
 public:
  void fill(MutableByteSpan out) override {
    for (std::byte& b : out) b = static_cast<std::byte>(next_++);
  }

 private:
  unsigned next_ = 1;
};

TEST(X25519, MatchesThePublishedVectors) {
  const auto vectors = read_vector_file("crypto/x25519.txt");
  EXPECT_EQ(vectors.size(), 4u);
  for (const auto& vector : vectors) {
    SCOPED_TRACE(vector.text("comment"));
    const X25519Private key(vector.array<32>("private"));
    const auto shared = x25519(key, vector.array<32>("public"));
    ASSERT_TRUE(shared.has_value());
    EXPECT_EQ(to_hex(shared.value().expose()), vector.text("shared"));
    if (vector.has("own_public")) {
      EXPECT_EQ(to_hex(x25519_public(key)), vector.text("own_public"));
    }
  }
}

TEST(X25519, RefusesPointsOfLowOrder) {
  const X25519Private key(ByteArray<32>{std::byte{9}});
  // 0, 1, p - 1, p, p + 1, and the two points of order 8.
  for (const char* point : {"0000000000000000000000000000000000000000000000000000000000000000",
                            "0100000000000000000000000000000000000000000000000000000000000000",
                            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
                            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"}) {
    X25519Public peer;
    std::ranges::copy(*from_hex(point), peer.begin());
    const auto shared = x25519(key, peer);
    ASSERT_FALSE(shared.has_value()) << point;
    EXPECT_EQ(shared.error(), CurveError::kLowOrder);
  }
}

TEST(Ed25519, MatchesThePublishedVectors) {
  const auto vectors = read_vector_file("crypto/ed25519.txt");
  EXPECT_EQ(vectors.size(), 4u);
  for (const auto& vector : vectors) {
    SCOPED_TRACE(vector.text("comment"));
    const Ed25519Seed seed(vector.array<32>("seed"));
    const Ed25519Public key = ed25519_public(seed);
    const Bytes message = vector.bytes("message");
    EXPECT_EQ(to_hex(key.bytes), vector.text("public"));
    EXPECT_EQ(to_hex(ed25519_sign(seed, message)), vector.text("signature"));
    EXPECT_TRUE(ed25519_verify(key, message, vector.array<64>("signature")).has_value());
    const auto converted = ed25519_to_x25519(key);
    ASSERT_TRUE(converted.has_value());
    EXPECT_EQ(to_hex(converted.value()), vector.text("x25519"));
    EXPECT_EQ(converted.value(), x25519_public(ed25519_to_x25519(seed)));
  }
}

TEST(Ed25519, RefusesEveryFlippedBit) {
  CountingRandom random;
  const Ed25519Seed seed = ed25519_generate(random);
  const Ed25519Public key = ed25519_public(seed);
  const Bytes message = to_bytes(std::string_view("message"));
  const Ed25519Signature signature = ed25519_sign(seed, message);
  for (std::size_t bit = 0; bit < 8 * signature.size(); ++bit) {
    Ed25519Signature flipped = signature;
    flipped[bit / 8] ^= std::byte{1} << (bit % 8);
    const auto verified = ed25519_verify(key, message, flipped);
    ASSERT_FALSE(verified.has_value()) << bit;
    EXPECT_EQ(verified.error(), CurveError::kBadSignature);
  }
  EXPECT_FALSE(ed25519_verify(key, as_bytes("massage"), signature).has_value());
}

TEST(Ed25519, RefusesBadPoints) {
  // The neutral element, a point of order 2, y = 2 (not on the curve) and p + 1 (not canonical).
  for (const char* point : {"0100000000000000000000000000000000000000000000000000000000000000",
                            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                            "0200000000000000000000000000000000000000000000000000000000000000",
                            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"}) {
    Ed25519Public key;
    std::ranges::copy(*from_hex(point), key.bytes.begin());
    // S = 0 and R = the neutral element verify under a key of small order, for any message, where
    // nobody looks at the key.
    Ed25519Signature signature{std::byte{1}};
    const auto verified = ed25519_verify(key, as_bytes("any"), signature);
    ASSERT_FALSE(verified.has_value()) << point;
    EXPECT_EQ(verified.error(), CurveError::kBadPoint) << point;
    const auto converted = ed25519_to_x25519(key);
    ASSERT_FALSE(converted.has_value()) << point;
    EXPECT_EQ(converted.error(), CurveError::kBadPoint);
  }
}

TEST(Curves, DrawKeysFromTheGivenRandomness) {
  CountingRandom random;
  const X25519Private first = x25519_generate(random);
  const X25519Private second = x25519_generate(random);
  EXPECT_EQ(to_hex(first.expose()).substr(0, 8), "01020304");
  EXPECT_EQ(to_hex(second.expose()).substr(0, 8), "21222324");
  const auto one = x25519(first, x25519_public(second));
  const auto other = x25519(second, x25519_public(first));
  ASSERT_TRUE(one.has_value() && other.has_value());
  EXPECT_EQ(to_hex(one.value().expose()), to_hex(other.value().expose()));
}

}  // namespace
}  // namespace sealane::crypto
