// Goal: the key derivations are the published ones and refuse what would cost too much. Method: RFC
// vectors; keys made by ssh-keygen; the limits from both sides.
#include "crypto/kdf.h"

#include <gtest/gtest.h>

#include "tests/crypto/vector_file.h"

namespace sealane::crypto {
namespace {

using testing::read_vector_file;

TEST(Hkdf, MatchesThePublishedVectors) {
  const auto vectors = read_vector_file("crypto/hkdf.txt");
  EXPECT_EQ(vectors.size(), 3u);
  for (const auto& vector : vectors) {
    SCOPED_TRACE(vector.text("comment"));
    const Bytes expected = vector.bytes("output");
    Bytes out(expected.size());
    hkdf_sha256(vector.bytes("key"), vector.bytes("salt"), vector.bytes("info"), out);
    EXPECT_EQ(to_hex(out), to_hex(expected));
  }
}

TEST(Hkdf, GivesPrefixesOfOneStreamUpToItsLimit) {
  const Bytes key = to_bytes(std::string_view("key material"));
  const Bytes info = to_bytes(std::string_view("info"));
  Bytes whole(255 * 64);
  hkdf_sha512(key, {}, info, whole);
  for (std::size_t size = 0; size <= 130; ++size) {
    Bytes part(size);
    hkdf_sha512(key, {}, info, part);
    EXPECT_TRUE(std::ranges::equal(part, ByteSpan(whole).first(size))) << size;
  }
}

TEST(Scrypt, MatchesThePublishedVectors) {
  const auto vectors = read_vector_file("crypto/scrypt.txt");
  EXPECT_EQ(vectors.size(), 3u);
  for (const auto& vector : vectors) {
    SCOPED_TRACE(vector.text("comment"));
    Bytes out(vector.bytes("output").size());
    const auto done = scrypt(vector.bytes("passphrase"), vector.bytes("salt"),
                             static_cast<unsigned>(vector.number("log2_n")),
                             static_cast<std::uint32_t>(vector.number("r")),
                             static_cast<std::uint32_t>(vector.number("p")), out);
    ASSERT_TRUE(done.has_value());
    EXPECT_EQ(to_hex(out), vector.text("output"));
  }
}

TEST(Scrypt, RefusesWhatCostsTooMuchMemory) {
  struct Case {
    unsigned log2_n;
    std::uint32_t r, p;
  };
  Bytes out(32);
  for (const Case& c : {Case{22, 8, 1},              // 4 GiB
                        Case{63, 8, 1},              // more than an address space
                        Case{16, 1, 1},              // N must be below 2^(16 r)
                        Case{4, 1, 0xffffffffu},     // p * r above 2^30 - 1
                        Case{4, 8, (1u << 30) / 9},  // p blocks of 1 KiB
                        Case{1, 0xffffffffu, 1}}) {
    const auto done = scrypt(as_bytes("p"), as_bytes("s"), c.log2_n, c.r, c.p, out);
    ASSERT_FALSE(done.has_value()) << c.log2_n << ' ' << c.r << ' ' << c.p;
    EXPECT_EQ(done.error(), KdfError::kLimits);
  }
}

}  // namespace
}  // namespace sealane::crypto
