// Goal: hashes and HMAC are the published ones however the input is cut. Method: FIPS 180 and RFC
// 4231 vectors, then every cut of a message against the whole.
#include "crypto/hash.h"

#include <gtest/gtest.h>

#include "tests/crypto/vector_file.h"

namespace sealane::crypto {
namespace {

using testing::read_vector_file;

Bytes repeated(const Bytes& message, std::uint64_t times) {
  Bytes whole;
  for (std::uint64_t i = 0; i < times; ++i) {
    whole.insert(whole.end(), message.begin(), message.end());
  }
  return whole;
}

TEST(Sha2, MatchesThePublishedVectors) {
  int count = 0;
  for (const auto& vector : read_vector_file("crypto/sha2.txt")) {
    SCOPED_TRACE(vector.text("comment"));
    const Bytes message = repeated(vector.bytes("message"), vector.number("repeat"));
    if (vector.has("sha256")) {
      EXPECT_EQ(to_hex(sha256(message)), vector.text("sha256"));
      ++count;
    }
    if (vector.has("sha512")) {
      EXPECT_EQ(to_hex(sha512(message)), vector.text("sha512"));
      ++count;
    }
  }
  EXPECT_EQ(count, 8);
}

TEST(Sha2, GivesTheSameForEveryCut) {
  Bytes message(300);
  for (std::size_t i = 0; i < message.size(); ++i) message[i] = static_cast<std::byte>(i * 7);
  const Sha256Digest whole_256 = sha256(message);
  const Sha512Digest whole_512 = sha512(message);
  // The same two objects throughout: after finish() they are as new.
  Sha256 hash_256;
  Sha512 hash_512;
  for (std::size_t cut = 0; cut <= message.size(); ++cut) {
    const ByteSpan first = ByteSpan(message).first(cut);
    const ByteSpan rest = ByteSpan(message).subspan(cut);
    hash_256.update(first);
    hash_256.update(rest);
    EXPECT_EQ(hash_256.finish(), whole_256) << cut;
    hash_512.update(first);
    hash_512.update(rest);
    EXPECT_EQ(hash_512.finish(), whole_512) << cut;
  }
}

TEST(Sha2, MovesWithItsState) {
  Sha256 hash;
  hash.update(as_bytes("ab"));
  Sha256 moved = std::move(hash);
  moved.update(as_bytes("c"));
  EXPECT_EQ(moved.finish(), sha256(as_bytes("abc")));
  hash = std::move(moved);
  hash.update(as_bytes("abc"));
  EXPECT_EQ(hash.finish(), sha256(as_bytes("abc")));
}

TEST(Hmac, MatchesThePublishedVectors) {
  const auto vectors = read_vector_file("crypto/hmac.txt");
  EXPECT_EQ(vectors.size(), 6u);
  for (const auto& vector : vectors) {
    SCOPED_TRACE(vector.text("comment"));
    const Bytes key = vector.bytes("key");
    const Bytes data = vector.bytes("data");
    EXPECT_EQ(to_hex(hmac_sha256(key, data)), vector.text("sha256"));
    EXPECT_EQ(to_hex(hmac_sha512(key, data)), vector.text("sha512"));
  }
}

// FIPS 202 example values of NIST: the empty message, "abc", and 200 bytes of a3.
TEST(Sha3, MatchesThePublishedVectors) {
  EXPECT_EQ(to_hex(sha3_256({})),
            "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a");
  EXPECT_EQ(to_hex(sha3_256(as_bytes("abc"))),
            "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532");
  EXPECT_EQ(to_hex(sha3_256(Bytes(200, std::byte{0xa3}))),
            "79f38adec5c20307a98ef76e8324afbfd46cfd81b22e3973c65fa1bd9de31787");
}

TEST(ConstantTimeEqual, ComparesContentAndSize) {
  EXPECT_TRUE(constant_time_equal({}, {}));
  EXPECT_TRUE(constant_time_equal(as_bytes("abc"), as_bytes("abc")));
  EXPECT_FALSE(constant_time_equal(as_bytes("abc"), as_bytes("abd")));
  EXPECT_FALSE(constant_time_equal(as_bytes("abc"), as_bytes("ab")));
  EXPECT_FALSE(constant_time_equal(as_bytes("ab"), as_bytes("abc")));
  EXPECT_FALSE(constant_time_equal(as_bytes("a"), {}));
}

}  // namespace
}  // namespace sealane::crypto
